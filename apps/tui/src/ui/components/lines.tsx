import { Text } from "ink";
import { createElement, Fragment, memo, type ReactNode, use } from "react";
import { joinTones, type Line } from "../draw/line.ts";
import { StyleContext } from "../style-context.ts";
import type { Theme } from "../theme.ts";

// Rows and segments have a place and no identity, so they are passed as positional children, without keys.
function drawLine(line: Line, theme: Theme): ReactNode {
  const parts = joinTones(line, (tone) => theme[tone].inverse === true).map((part) =>
    createElement(Text, { ...theme[part.tone] }, part.text),
  );
  return createElement(Text, { wrap: "truncate-end" }, ...(parts.length === 0 ? [" "] : parts));
}

/** Lines of toned text, one terminal row each. They are drawn to their width already and never wrap. */
export const Lines: (props: { readonly lines: readonly Line[] }) => ReactNode = memo(({ lines }) => {
  const { theme } = use(StyleContext);
  return createElement(Fragment, null, ...lines.map((line) => drawLine(line, theme)));
});
