import { Box, Text, useWindowSize } from "ink";
import { memo, type ReactNode, useEffect, useMemo, useSyncExternalStore } from "react";
import type { UiController } from "../controller.ts";
import { ansiWriter } from "../draw/ansi-line.ts";
import { joinTones, type Line } from "../draw/line.ts";
import type { ScreenStyle } from "../screen-style.ts";
import { drawScreen, reachOf } from "../views/screen.ts";
import { MapReader } from "../map-reader.ts";

/** Properties of {@link Picture}. */
export interface PictureProps {
  readonly controller: UiController;
  readonly style: ScreenStyle;
  /** Show an empty screen: what is drawn after it is written in full. */
  readonly blank: boolean;
}

// A row that is the same text is not looked at again.
const Row = memo(({ text }: { readonly text: string }): ReactNode => <Text wrap="truncate-end">{text}</Text>);

/** The whole screen: the views draw lines, and each line is one row of text. */
export function Picture({ controller, style, blank }: PictureProps): ReactNode {
  const { theme, glyphs, color } = style;
  const frame = useSyncExternalStore(controller.subscribe, controller.frame, controller.frame);
  const { columns, rows } = useWindowSize();
  const maps = useMemo(() => new MapReader(controller), [controller]);
  const write = useMemo(() => {
    const toAnsi = ansiWriter(theme, color);
    return (line: Line): string => toAnsi(joinTones(line, (tone) => theme[tone].inverse === true));
  }, [theme, color]);
  useEffect(() => {
    controller.setReach(reachOf(frame, { columns, rows, glyphs }));
  }, [controller, frame, columns, rows, glyphs]);
  const { refusal } = controller;
  const lines = blank ? [] : drawScreen(frame, { columns, rows, glyphs, refusal, readMap: maps.read });
  return (
    <Box width={columns} height={rows} flexDirection="column" overflow="hidden">
      {Array.from({ length: rows }, (_, row) => {
        const text = write(lines[row] ?? []);
        return <Row key={row} text={text === "" ? " " : text} />;
      })}
    </Box>
  );
}
