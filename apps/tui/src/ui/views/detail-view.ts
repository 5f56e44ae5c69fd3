import { describeBytes, describeRate } from "../../format/bytes.ts";
import { formatTimeOfDay } from "../../format/duration.ts";
import { fit, textWidth, truncateMiddle } from "../../format/text.ts";
import type { JobMap, JobNode, NoJobMap } from "../../job-source/job-source.ts";
import type { Frame } from "../frame.ts";
import { drawPlot } from "../draw/chart.ts";
import { drawDiskMap, drawMapLegend } from "../draw/disk-map.ts";
import { beside, fitLine, type Line, lineWidth, segment, spread } from "../draw/line.ts";
import { type Glyphs, spell } from "../glyphs.ts";
import { progressCell, showName, stateCell } from "../model/cells.ts";
import { detailLayout } from "../model/detail-layout.ts";
import { adviceOf, fieldsOf, nodeFacts, nodeName } from "../model/fields.ts";
import type { JobView } from "../model/job-view.ts";
import { STATE_WIDTH } from "../model/state-word.ts";
import { TREND_PERIOD_MS } from "../model/trend.ts";
import { entryText, type LogEntry } from "../state/event-log.ts";
import type { Area } from "./overlay.ts";

/** Reads the picture of a job's disk, the same one again for the same view. */
export type ReadMap = (view: JobView, cellCount: number) => JobMap | NoJobMap | undefined;

/** Columns that a name keeps, whatever stands beside it. */
const LEAST_NAME = 16;

/** What stands behind the job's name: what it is and does, and what a person has to know. */
function titleRest(frame: Frame, view: JobView, glyphs: Glyphs): Line {
  const { id, type, phase } = view.snapshot;
  const state = stateCell(view, frame.state.pending.get(id), STATE_WIDTH);
  const advice = adviceOf(view, frame.keymap);
  return [
    segment(`  ${showName(type, glyphs)}  `, "dim"),
    segment(state.text.trimEnd(), state.tone),
    ...(phase === undefined || view.concluded || phase === "ready" ? [] : [segment(`  ${phase}`, "dim")]),
    ...(advice === undefined
      ? []
      : [segment(`  ${spell(showName(advice.text, glyphs), glyphs)}`, advice.tone)]),
  ];
}

/** Whether the title has to cut what a person has to know: the remedy stands at its end. */
export function cutsAdvice(frame: Frame, view: JobView, width: number, glyphs: Glyphs): boolean {
  const name = Math.min(LEAST_NAME, textWidth(showName(view.snapshot.id, glyphs)));
  return 1 + name + lineWidth(titleRest(frame, view, glyphs)) > width;
}

function titleLine(frame: Frame, view: JobView, width: number, glyphs: Glyphs): Line {
  const rest = titleRest(frame, view, glyphs);
  // A long name gives way to what a person has to know.
  const room = Math.max(LEAST_NAME, width - 1 - lineWidth(rest));
  const name = truncateMiddle(showName(view.snapshot.id, glyphs), room, glyphs.ellipsis);
  return fitLine([segment(" "), segment(name, "strong"), ...rest], width, glyphs.ellipsis);
}

function nodeLine(label: string, node: JobNode | undefined, width: number, glyphs: Glyphs): Line[] {
  if (node === undefined) return [];
  const name = showName(nodeName(node), glyphs);
  const facts = showName(nodeFacts(node), glyphs);
  const room = width - 10;
  // The name is cut, not the text as a whole: a path's last part says which image it is.
  const beside = room - textWidth(facts);
  const shown =
    beside < LEAST_NAME && textWidth(name) > beside
      ? truncateMiddle(name, room, glyphs.ellipsis)
      : truncateMiddle(name, beside, glyphs.ellipsis) + facts;
  return [fitLine([segment(` ${label.padEnd(8)} `, "dim"), segment(shown)], width, glyphs.ellipsis)];
}

function fieldLines(view: JobView, width: number, columns: number, glyphs: Glyphs): Line[] {
  const fields = fieldsOf(view);
  const cell = Math.floor((width - 1) / columns);
  const rows = Math.ceil(fields.length / columns);
  // Behind the last column stands nothing: at 80 columns a mode in full needs what is left there.
  const valueWidth = (column: number): number =>
    column === columns - 1 ? width - 1 - column * cell - 13 : cell - 13;
  return Array.from({ length: rows }, (_, row) => {
    const line = [segment(" ")];
    for (let column = 0; column < columns; column++) {
      const entry = fields[column * rows + row];
      if (entry === undefined) continue;
      const value = spell(entry.value, glyphs);
      line.push(
        segment(fit(entry.label, 12), "dim"),
        segment(`${fit(value, valueWidth(column), "left", glyphs.ellipsis)} `, entry.tone),
      );
    }
    return fitLine(line, width, glyphs.ellipsis);
  });
}

function mapLines(
  view: JobView,
  map: JobMap | NoJobMap | undefined,
  width: number,
  columns: number,
  glyphs: Glyphs,
): Line[] {
  if (map === undefined) return [];
  if ("reason" in map) {
    const reason = segment(`  ${showName(map.reason, glyphs)}`, "dim");
    return [fitLine([segment(" DISK", "strong"), reason], width, glyphs.ellipsis)];
  }
  const size = view.snapshot.source?.size ?? view.snapshot.length;
  const title = [
    segment(" DISK", "strong"),
    segment(`  ${spell(describeBytes(size / map.cellCount), glyphs)} per cell`, "dim"),
  ];
  const legend = [segment("  "), ...drawMapLegend(glyphs), segment(" ")];
  const fits = lineWidth(legend) + 6 <= width;
  const heading = fits
    ? spread(title, legend, width, glyphs.ellipsis)
    : fitLine(drawMapLegend(glyphs), width, glyphs.ellipsis);
  return [heading, ...drawDiskMap(map, columns, glyphs).map((line) => [segment(" ")].concat(line))];
}

function plotLines(view: JobView, width: number, height: number, glyphs: Glyphs): Line[] {
  const sideBySide = width >= 70;
  const plotWidth = sideBySide ? Math.floor((width - 3) / 2) : width - 1;
  const common = { periodSec: TREND_PERIOD_MS / 1000, width: plotWidth, height, glyphs };
  const rate = drawPlot({
    ...common,
    title: " RATE",
    note: spell(describeRate(view.rateBytesPerSec), glyphs),
    values: view.rateTrend.latest(plotWidth),
    tone: "rate",
    perSecond: true,
  });
  const dirty = drawPlot({
    ...common,
    title: view.snapshot.ready ? " LAG" : " DIRTY",
    note: spell(describeBytes(view.progress.remainingBytes), glyphs),
    values: view.dirtyTrend.latest(plotWidth),
    tone: "dirty",
    perSecond: false,
  });
  if (!sideBySide) return rate;
  return beside(
    [
      { lines: rate, width: plotWidth },
      { lines: dirty, width: plotWidth },
    ],
    1,
  );
}

function logLines(
  log: readonly LogEntry[],
  id: string,
  count: number,
  width: number,
  glyphs: Glyphs,
): Line[] {
  const tail = log.filter((entry) => entry.jobId === id).slice(-Math.max(1, count));
  return tail.map((entry) =>
    fitLine(
      [
        segment(` ${formatTimeOfDay(entry.atMs)}  `, "dim"),
        segment(showName(entryText(entry), glyphs), entry.tone),
      ],
      width,
      glyphs.ellipsis,
    ),
  );
}

/** One job in full: facts, both nodes, the picture of its disk, rate and dirty plots, and what happened to it. */
export function drawDetails(
  frame: Frame,
  view: JobView,
  { width, height }: Area,
  readMap: ReadMap,
  glyphs: Glyphs,
): Line[] {
  const { id } = view.snapshot;
  const layout = detailLayout(width, height, fieldsOf(view).length);
  const cells = layout.mapRows * layout.mapColumns;
  const map = cells === 0 || view.concluded ? undefined : readMap(view, cells);
  const lines: Line[] = [
    titleLine(frame, view, width, glyphs),
    fitLine([segment(" "), ...progressCell(view, width - 2, glyphs)], width),
    ...nodeLine("source", view.snapshot.source, width, glyphs),
    ...nodeLine("target", view.snapshot.target, width, glyphs),
    ...fieldLines(view, width, layout.fieldColumns, glyphs),
  ];
  const blank: Line[] = layout.airy ? [[]] : [];
  const add = (block: readonly Line[]): void => {
    if (block.length > 0 && lines.length + block.length + blank.length <= height)
      lines.push(...blank, ...block);
  };
  add(mapLines(view, map, width, layout.mapColumns, glyphs));
  if (layout.plotHeight > 0 && !view.concluded) add(plotLines(view, width, layout.plotHeight, glyphs));
  add(logLines(frame.state.log, id, height - lines.length - blank.length, width, glyphs));
  return Array.from({ length: height }, (_, row) => lines[row] ?? []);
}
