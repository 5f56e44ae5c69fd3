import { truncateMiddle, wrapText } from "../../format/text.ts";
import { type Line, segment } from "../draw/line.ts";
import type { Glyphs } from "../glyphs.ts";
import type { Keymap } from "../key-bindings.ts";
import { showName } from "../model/cells.ts";
import { adviceOf, nodeName, remedyOf } from "../model/fields.ts";
import type { JobSnapshot } from "../../job-source/job-source.ts";
import type { JobView } from "../model/job-view.ts";
import { type Area, innerWidth, type Overlay } from "./overlay.ts";

const PANEL_WIDTH = 66;
const LABEL_WIDTH = 15;

/** The last error of a job: code, message, count and what the job does about errors. */
export function drawErrorPanel(view: JobView, area: Area, keymap: Keymap, glyphs: Glyphs): Overlay {
  const { snapshot: job } = view;
  const inner = innerWidth(PANEL_WIDTH, area);
  const wrapped = (text: string): Line[] =>
    wrapText(showName(text, glyphs), inner).map((part) => [segment(part)]);
  const advice = adviceOf(view, keymap);
  const remedy = remedyOf(job);
  const lines: Line[] = [
    [],
    ...(job.error === undefined ? [] : [[segment(job.error.code, "failure")], ...wrapped(job.error.message)]),
    ...(remedy === undefined ? [] : [[], ...wrapped(remedy)]),
    ...(job.error === undefined || job.cleanupError === undefined
      ? []
      : [[], [segment("could not clean up", "warning")], ...wrapped(job.cleanupError)]),
    ...(advice === undefined || job.error !== undefined ? [] : wrapped(advice.text)),
    ...(job.error === undefined && job.ioStatus !== "ok" ? sideLines(job, inner, glyphs) : []),
    [],
    [segment("errors so far  ", "dim"), segment(String(job.errorCount))],
    ...policyLine(job),
    [],
  ];
  return { title: `Error of ${showName(job.id, glyphs)}`, lines, width: PANEL_WIDTH, tone: "failure" };
}

/** The images between which the job stopped: that is where to look. */
function sideLines({ source, target }: JobSnapshot, width: number, glyphs: Glyphs): Line[] {
  const sides = [
    ["source", source],
    ["target", target],
  ] as const;
  const known = sides.flatMap(([label, node]) => {
    if (node === undefined) return [];
    const name = truncateMiddle(showName(nodeName(node), glyphs), width - LABEL_WIDTH, glyphs.ellipsis);
    return [[segment(label.padEnd(LABEL_WIDTH), "dim"), segment(name)]];
  });
  return known.length === 0 ? [] : [[], ...known];
}

/** QMP peers do not tell what a job does about errors. */
function policyLine({ onSourceError, onTargetError }: JobSnapshot): Line[] {
  if (onSourceError === undefined && onTargetError === undefined) return [];
  const text = `source ${onSourceError ?? "unknown"}, target ${onTargetError ?? "unknown"}`;
  return [[segment("policy         ", "dim"), segment(text)]];
}
