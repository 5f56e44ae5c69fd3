import { printable } from "../../format/printable.ts";
import type { Keymap } from "../key-bindings.ts";
import type { PendingVerb } from "../state/pending.ts";
import { adviceOf, nodeText } from "./fields.ts";
import type { JobView } from "./job-view.ts";

/** What a sentence depends on besides its job. */
export interface SentenceContext {
  readonly selected: boolean;
  readonly pending: PendingVerb | undefined;
  readonly detailed: boolean;
}

const STEP_PERCENT = 10;

/**
 * A job in one sentence. Progress comes in steps of ten percent and there are no rates, because every change of the
 * sentence is read aloud.
 */
export function sentenceOf(view: JobView, context: SentenceContext, keymap: Keymap): string {
  const { snapshot: job, progress } = view;
  const parts = [`${printable(job.id)}, ${job.type}, ${view.word.toLowerCase()}`];
  if (!progress.known) parts.push("progress not known yet");
  else if (progress.finished) parts.push("100 percent");
  else parts.push(`${Math.floor((progress.done * 100) / STEP_PERCENT) * STEP_PERCENT} percent`);
  if (context.pending !== undefined) parts.push(`${context.pending.action} was asked for`);
  if (job.errorCount > 0) parts.push(`${job.errorCount} errors`);
  const advice = adviceOf(view, keymap);
  const extra = advice === undefined ? "" : ` ${printable(advice.text)}`;
  const nodes =
    context.detailed && context.selected
      ? ` Source ${printable(nodeText(job.source) ?? "unknown")}, target ${printable(nodeText(job.target) ?? "unknown")}.`
      : "";
  return `${context.selected ? "Selected: " : ""}${parts.join(", ")}.${extra}${nodes}`;
}
