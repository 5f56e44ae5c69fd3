import { Text } from "ink";
import { memo, type ReactNode, use } from "react";
import type { Line } from "../draw/line.ts";
import { StyleContext } from "../style-context.ts";

/** Lines of toned text, one terminal row each. They are drawn to their width already and never wrap. */
export const Lines: (props: { readonly lines: readonly Line[] }) => ReactNode = memo(({ lines }) => {
  const { theme } = use(StyleContext);
  return lines.map((line, row) => (
    <Text key={row} wrap="truncate-end">
      {line.length === 0
        ? " "
        : line.map((part, index) => (
            <Text key={index} {...theme[part.tone]}>
              {part.text}
            </Text>
          ))}
    </Text>
  ));
});
