import { type Context, createContext } from "react";
import { type Glyphs, glyphsFor } from "./glyphs.ts";
import { type Theme, themeOf } from "./theme.ts";

/** How everything on the screen is drawn. */
export interface UiStyle {
  readonly theme: Theme;
  readonly glyphs: Glyphs;
}

/** The style of the tree below. */
export const StyleContext: Context<UiStyle> = createContext<UiStyle>({
  theme: themeOf("default"),
  glyphs: glyphsFor(false),
});
