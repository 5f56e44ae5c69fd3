import type { Glyphs } from "../glyphs.ts";
import type { Progress } from "../model/progress.ts";
import { segment, type Segment } from "./line.ts";

/**
 * A progress bar of exactly `width` columns: done, then what is in flight, then what is still dirty. It is full only
 * when the job converged, and shows at least one cell of work in flight while there is any.
 */
export function drawBar(progress: Progress, width: number, glyphs: Glyphs): Segment[] {
  if (width <= 0) return [];
  if (!progress.known) return [segment(glyphs.barUnknown.repeat(width), "dim")];
  const eighths = glyphs.barEighths.length + 1;
  let steps = Math.floor(progress.done * width * eighths);
  if (!progress.finished) steps = Math.min(steps, width * eighths - 1);
  const whole = Math.floor(steps / eighths);
  const partial = glyphs.barEighths[(steps % eighths) - 1] ?? "";
  const left = width - whole - partial.length;
  const inFlight =
    progress.inFlight > 0 ? Math.min(left, Math.max(1, Math.round(progress.inFlight * width))) : 0;
  const segments: Segment[] = [];
  if (whole > 0 || partial !== "") segments.push(segment(glyphs.barDone.repeat(whole) + partial, "done"));
  if (inFlight > 0) segments.push(segment(glyphs.barInFlight.repeat(inFlight), "in-flight"));
  if (left > inFlight) segments.push(segment(glyphs.barDirty.repeat(left - inFlight), "dim"));
  return segments;
}
