import { Box } from "ink";
import { type ReactNode, use } from "react";
import { drawPanel } from "../draw/panel.ts";
import type { Line } from "../draw/line.ts";
import { StyleContext } from "../style-context.ts";
import type { Tone } from "../theme.ts";
import { Lines } from "./lines.tsx";

/** Space that an overlay may take. */
export interface Area {
  readonly width: number;
  readonly height: number;
}

/** Properties of {@link OverlayBox}. */
export interface OverlayBoxProps {
  readonly area: Area;
  readonly title: string;
  readonly lines: readonly Line[];
  /** Wanted width with the frame; less when the area is narrower. */
  readonly width: number;
  readonly tone?: Tone;
}

/** A framed box in the middle of the screen, over whatever is there. Never larger than its area. */
export function OverlayBox({ area, title, lines, width, tone }: OverlayBoxProps): ReactNode {
  const { glyphs } = use(StyleContext);
  const boxWidth = Math.min(width, area.width);
  const content = lines.slice(0, Math.max(0, area.height - 2));
  const panel = drawPanel(title, content, boxWidth, glyphs, tone ?? "heading");
  const top = Math.max(0, Math.floor((area.height - panel.length) / 2));
  const left = Math.max(0, Math.floor((area.width - boxWidth) / 2));
  return (
    <Box position="absolute" top={top} left={left} width={boxWidth} flexDirection="column">
      <Lines lines={panel} />
    </Box>
  );
}
