import { describeBytes, describeRate } from "../../format/bytes.ts";
import { describeDuration, formatElapsed } from "../../format/duration.ts";
import type { JobNode, JobSnapshot } from "../../job-source/job-source.ts";
import { describeSilence } from "../../job-source/stall.ts";
import type { Keymap } from "../key-bindings.ts";
import type { Tone } from "../theme.ts";
import type { JobView } from "./job-view.ts";

/** A labelled value of the details. */
export interface Field {
  readonly label: string;
  readonly value: string;
  readonly tone: Tone;
}

function field(label: string, value: string | undefined, tone: Tone = "plain"): Field[] {
  return value === undefined ? [] : [{ label, value, tone }];
}

function bytes(label: string, value: number | undefined): Field[] {
  return field(label, value === undefined ? undefined : describeBytes(value));
}

function etaField(view: JobView): Field[] {
  if (view.stalledMs !== undefined) {
    return field("no answer", describeDuration(view.stalledMs / 1000), "failure");
  }
  if (view.progress.finished || view.concluded) return [];
  if (view.etaSec === "never") return field("ETA", "∞ diverging", "warning");
  return field("ETA", describeDuration(view.etaSec));
}

function inFlight(view: JobView): string | undefined {
  const { inFlightBytes, inFlightOperations: operations, maxInFlightOperations: limit } = view.snapshot;
  if (inFlightBytes === undefined && operations === undefined) return undefined;
  if (operations === undefined) return describeBytes(inFlightBytes);
  return `${operations}${limit === undefined ? "" : `/${limit}`} ops`;
}

/** The short facts of a job, most asked-for first. What a source does not know is left out. */
export function fieldsOf(view: JobView): Field[] {
  const { snapshot: job } = view;
  const limited = job.speed > 0;
  return [
    ...field("rate", view.concluded ? undefined : describeRate(view.rateBytesPerSec)),
    ...field("dirtied", describeRateOrNone(view.dirtyRateBytesPerSec)),
    ...etaField(view),
    ...field("limit", limited ? describeRate(job.speed) : "none", view.throttled ? "warning" : "plain"),
    ...bytes(job.ready ? "lag" : "dirty", view.progress.remainingBytes),
    ...field("in flight", inFlight(view)),
    ...bytes("copied", job.bytesCopied),
    ...bytes("re-copied", job.bytesRecopied),
    ...bytes("skipped", job.bytesSkipped),
    ...bytes("zeroed", job.bytesZeroed),
    ...field("phase", view.concluded ? undefined : job.phase),
    ...field("elapsed", formatElapsed(job.elapsedMs).trim()),
    ...field("paused", formatElapsed(job.pausedMs).trim()),
    ...field("errors", errorsText(view), ioTone(view)),
    ...field("on error", policies(view)),
    ...field("mode", copyModeText(job), slowsGuests(job) ? "warning" : "plain"),
    ...field("sync", job.sync),
    ...bytes("granularity", job.granularity),
    ...field("synced", job.activelySynced === undefined ? undefined : job.activelySynced ? "yes" : "no"),
    ...field("finalize", job.autoFinalize ? "automatic" : "by hand"),
    ...field("dismiss", job.autoDismiss ? "automatic" : "by hand"),
  ];
}

/** The mode in force, and whether the job chose it. */
function copyModeText({ copyMode, copyModeIsAutomatic }: JobSnapshot): string | undefined {
  if (copyMode === undefined || copyModeIsAutomatic !== true) return copyMode;
  // Short: the title says why.
  return copyMode === "background" ? "auto: backgr." : "auto: blocking";
}

/** The job has gone over to write-blocking by itself. */
function slowsGuests({ copyMode, copyModeIsAutomatic }: JobSnapshot): boolean {
  return copyModeIsAutomatic === true && copyMode === "write-blocking";
}

function describeRateOrNone(rate: number | undefined): string | undefined {
  return rate === undefined ? undefined : describeRate(rate);
}

/** How many there were, and how it stands: a job that has ended stands nowhere, and "1 ok" is no sentence. */
function errorsText({ snapshot: job, concluded }: JobView): string {
  if (job.errorCount === 0 || concluded) return String(job.errorCount);
  if (job.ioStatus !== "ok") return `${job.errorCount} ${job.ioStatus}`;
  return ignoresErrors(job) ? `${job.errorCount}, ignored` : `${job.errorCount}, now ok`;
}

/** The job goes on after errors, so that they are nowhere but in their count. */
function ignoresErrors({ onSourceError, onTargetError }: JobSnapshot): boolean {
  return onSourceError === "ignore" || onTargetError === "ignore";
}

function ioTone(view: JobView): Tone {
  return view.snapshot.ioStatus === "ok" ? "plain" : "failure";
}

function policies(view: JobView): string | undefined {
  const { onSourceError: source, onTargetError: target } = view.snapshot;
  if (source === undefined || target === undefined) return undefined;
  return `${source}/${target}`;
}

/** One side of a job in a line. */
export function nodeText(node: JobNode | undefined): string | undefined {
  return node === undefined ? undefined : nodeName(node) + nodeFacts(node);
}

/** What a person calls one side of a job. */
export function nodeName(node: JobNode): string {
  return node.filename ?? node.name;
}

/** What else is known of one side of a job, to stand behind its name. */
export function nodeFacts(node: JobNode): string {
  const extras = [node.driver, node.size === undefined ? undefined : describeBytes(node.size)];
  const known = extras.filter((extra) => extra !== undefined).join(", ");
  return known === "" ? "" : `  (${known})`;
}

/** A job's end that left something behind, in a sentence. */
function cleanupText(reason: string): string {
  return `Ended, but could not clean up: ${reason}`;
}

/** Whether the error panel has something to say of a job. */
export function hasErrors({ error, cleanupError, ioStatus, errorCount }: JobSnapshot): boolean {
  return error !== undefined || cleanupError !== undefined || ioStatus !== "ok" || errorCount > 0;
}

/** What a person should know or do about a job now, if anything. */
export function adviceOf(
  view: JobView,
  keymap: Keymap,
): { readonly text: string; readonly tone: Tone } | undefined {
  const { snapshot: job } = view;
  if (view.stale) return { text: "No news of this job; what is shown may be old.", tone: "warning" };
  if (job.error !== undefined) {
    const text = [`${job.error.code}: ${job.error.message}`, remedyOf(job)].filter(
      (part) => part !== undefined,
    );
    return { text: text.join(". "), tone: "failure" };
  }
  if (job.cleanupError !== undefined) return { text: cleanupText(job.cleanupError), tone: "warning" };
  if (job.ioStatus === "nospace") {
    return {
      text: `Stopped: no space on the target. Make room, then ${keymap.label("resume")} resumes.`,
      tone: "failure",
    };
  }
  if (job.ioStatus === "failed") {
    return {
      text: `Stopped on an I/O error. Repair it, then ${keymap.label("resume")} resumes.`,
      tone: "failure",
    };
  }
  if (view.stalledMs !== undefined) return { text: silence(job, keymap), tone: "failure" };
  if (slowsGuests(job) && !view.concluded && job.status !== "ready") {
    return {
      text: "Writers outran the copy, so auto chose write-blocking: they now wait for the target.",
      tone: "warning",
    };
  }
  if (job.errorCount > 0 && ignoresErrors(job) && !view.concluded && !job.ready) {
    const count = job.errorCount === 1 ? "One error was" : `${job.errorCount} errors were`;
    return { text: `${count} ignored so far; what failed is tried again.`, tone: "warning" };
  }
  if (view.etaSec === "never") {
    return { text: divergence(job, keymap), tone: "warning" };
  }
  if (job.status === "pending") {
    return { text: `The work is done: ${keymap.label("finalize")} finalizes it.`, tone: "ready" };
  }
  if (job.status === "ready") {
    const keys = `${keymap.label("complete")} completes, ${keymap.label("cancel")} keeps a copy`;
    const price = slowsGuests(job) ? " Writers wait for the target." : "";
    return { text: `The target follows: ${keys}.${price}`, tone: "ready" };
  }
  return undefined;
}

/** What to do about the failure of a job, where its error does not say. */
export function remedyOf({ error }: JobSnapshot): string | undefined {
  return error?.code === "ENOSPC"
    ? "Make room on the target and start the job again; with enospc as what it does about target errors it pauses instead."
    : undefined;
}

/** Without a time: whoever has it read aloud would hear nothing else any more. */
function silence(job: JobSnapshot, keymap: Keymap): string {
  const end = job.ready ? "" : `; ${keymap.label("force-cancel")} gives it up`;
  return `Stalled: ${describeSilence(job)} yet${end}.`;
}

function divergence({ speed }: JobSnapshot, keymap: Keymap): string {
  if (speed === 0) return "Does not converge: the disk gets dirty as fast as it is copied.";
  // Short, so that the key is seen behind a job's name in 80 columns.
  return `Does not converge: dirtied as fast as copied; ${keymap.label("limit")} raises the limit.`;
}
