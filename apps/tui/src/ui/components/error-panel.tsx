import { type ReactNode, use } from "react";
import { wrapText } from "../../format/text.ts";
import { type Line, segment } from "../draw/line.ts";
import { showName } from "../model/cells.ts";
import { adviceOf } from "../model/fields.ts";
import type { JobView } from "../model/job-view.ts";
import { StyleContext } from "../style-context.ts";
import { type Area, OverlayBox } from "./overlay-box.tsx";

const PANEL_WIDTH = 66;

/** The last error of a job: code, message, count and what the job does about errors. */
export function ErrorPanel({ view, area }: { readonly view: JobView; readonly area: Area }): ReactNode {
  const { glyphs } = use(StyleContext);
  const { snapshot: job } = view;
  const inner = Math.min(PANEL_WIDTH, area.width) - 4;
  const wrapped = (text: string): Line[] =>
    wrapText(showName(text, glyphs), inner).map((part) => [segment(part)]);
  const advice = adviceOf(view);
  const lines: Line[] = [
    [],
    ...(job.error === undefined ? [] : [[segment(job.error.code, "failure")], ...wrapped(job.error.message)]),
    ...(advice === undefined || job.error !== undefined ? [] : wrapped(advice.text)),
    [],
    [segment("errors so far  ", "dim"), segment(String(job.errorCount))],
    [
      segment("policy         ", "dim"),
      segment(`source ${job.onSourceError ?? "unknown"}, target ${job.onTargetError ?? "unknown"}`),
    ],
    [],
  ];
  return (
    <OverlayBox
      area={area}
      title={`Error of ${showName(job.id, glyphs)}`}
      lines={lines}
      width={PANEL_WIDTH}
      tone="failure"
    />
  );
}
