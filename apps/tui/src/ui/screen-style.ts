import type { UiController } from "./controller.ts";
import { lineText } from "./draw/line.ts";
import type { Glyphs } from "./glyphs.ts";
import { MapReader } from "./map-reader.ts";
import type { Theme } from "./theme.ts";
import { drawScreen } from "./views/screen.ts";

/** How a screen is drawn. */
export interface ScreenStyle {
  readonly theme: Theme;
  readonly glyphs: Glyphs;
  readonly color: boolean;
}

/** The screen as text, a line per row, without trailing blanks. */
export function screenText(
  controller: UiController,
  { glyphs }: ScreenStyle,
  { columns, rows }: { readonly columns: number; readonly rows: number },
): string {
  const { refusal } = controller;
  const readMap = new MapReader(controller).read;
  return drawScreen(controller.frame(), { columns, rows, glyphs, refusal, readMap })
    .map((line) => lineText(line).trimEnd())
    .join("\n");
}
