import { describeBytes } from "../../format/bytes.ts";
import type { JobNode, NewJobRequest } from "../../job-source/job-source.ts";
import type { JobView } from "../model/job-view.ts";
import type { JobAction, PendingVerb } from "./pending.ts";
import type { TextField } from "./text-field.ts";

/** What a confirmation dialog is about. */
export type Intent =
  | { readonly kind: "action"; readonly action: JobAction; readonly jobId: string }
  | { readonly kind: "start"; readonly request: NewJobRequest; readonly destroys: string }
  | {
      readonly kind: "quit";
      readonly liveJobs: number;
      /** Those of them that are READY: cancelled, they still leave a copy. */
      readonly readyJobs: number;
      readonly clients: number;
    };

/** A dialog waiting for a decision. `focus` starts at the safe button. */
export interface Confirmation {
  readonly intent: Intent;
  readonly focus: "cancel" | "confirm";
  readonly typed: TextField;
}

/** What a dialog says. */
export interface DialogText {
  readonly title: string;
  readonly lines: readonly string[];
  readonly confirmLabel: string;
  readonly cancelLabel: string;
}

/**
 * Whether an action needs a dialog at all. Harmless and reversible ones do not; nor does dismissing what ended well.
 */
export function needsConfirmation(action: JobAction, view: JobView): boolean {
  switch (action) {
    case "pause":
    case "resume":
    case "set-speed":
      return false;
    case "dismiss":
      return view.word !== "DONE";
    case "complete":
    case "cancel":
    case "force-cancel":
    case "finalize":
      return true;
  }
}

/**
 * The name that has to be typed before data is destroyed: overwriting a target, or breaking off while users are
 * already being switched. Judged on the job as it is now, so a dialog gets stricter when its job moves on.
 */
export function requiredName(
  intent: Intent,
  view: JobView | undefined,
  pending: PendingVerb | undefined,
): string | undefined {
  if (intent.kind === "start") return intent.request.id;
  if (intent.kind === "quit" || intent.action !== "force-cancel" || view === undefined) return undefined;
  const { status } = view.snapshot;
  const switching = status === "waiting" || status === "pending" || pending?.action === "complete";
  return switching ? intent.jobId : undefined;
}

function sideText(name: string, node: JobNode | undefined): string {
  if (node === undefined) return `${name}  unknown`;
  const size = node.size === undefined ? "" : `  ${describeBytes(node.size)}`;
  return `${name}  ${node.filename ?? node.name}${size}`;
}

function actionText(action: JobAction, view: JobView): DialogText {
  const { snapshot: job } = view;
  const sides = [sideText("source", job.source), sideText("target", job.target)];
  const remaining = describeBytes(view.progress.remainingBytes);
  const base = { cancelLabel: "Keep running" };
  switch (action) {
    case "complete":
      return {
        ...base,
        title: `Complete ${job.id}?`,
        lines: [
          "Users of the source switch to the target.",
          ...sides,
          `state   ${view.word}, ${remaining} dirty`,
        ],
        confirmLabel: "Complete",
      };
    case "cancel":
      return {
        ...base,
        title: `Cancel ${job.id}?`,
        lines: view.progress.finished
          ? ["The target stays as a consistent copy of this moment; users stay on the source.", ...sides]
          : [`The copy is unfinished (${remaining} left) and becomes useless.`, ...sides],
        confirmLabel: "Cancel the job",
      };
    case "force-cancel":
      return {
        ...base,
        title: `Force-cancel ${job.id}?`,
        lines: ["Work in flight is thrown away; the target is not a consistent copy.", ...sides],
        confirmLabel: "Force-cancel",
      };
    case "finalize":
      return {
        ...base,
        title: `Finalize ${job.id}?`,
        lines: ["Makes the outcome permanent; users switch to the target.", ...sides],
        confirmLabel: "Finalize",
      };
    default:
      return {
        cancelLabel: "Keep it",
        title: `Dismiss ${job.id}?`,
        lines: [`It ended as ${view.word}.`, job.error?.message ?? "Its record disappears from the list."],
        confirmLabel: "Dismiss",
      };
  }
}

function cancelledText(liveJobs: number, readyJobs: number): string {
  const cancels = `Quitting cancels ${liveJobs === 1 ? "it" : "them"}`;
  if (readyJobs === 0) return `${cancels}.`;
  if (readyJobs < liveJobs) return `${cancels}; what is READY leaves a copy.`;
  return `${cancels}; ${readyJobs === 1 ? "its target stays a copy" : "their targets stay copies"}.`;
}

function quitText({ liveJobs, readyJobs, clients }: Intent & { readonly kind: "quit" }): DialogText {
  const lines: string[] = [];
  if (liveJobs > 0) {
    const jobs = liveJobs === 1 ? "One job is" : `${liveJobs} jobs are`;
    lines.push(`${jobs} still running in this program.`, cancelledText(liveJobs, readyJobs));
  }
  if (clients > 0) {
    const who = clients === 1 ? "One client uses" : `${clients} clients use`;
    lines.push(`${who} what this program exports.`, `Quitting disconnects ${clients === 1 ? "it" : "them"}.`);
  }
  const confirmLabel = liveJobs > 0 ? "Quit and cancel" : "Quit and disconnect";
  return { title: "Quit?", lines, confirmLabel, cancelLabel: "Stay" };
}

/** The words of a dialog; `undefined` when its job is gone. */
export function dialogText(intent: Intent, view: JobView | undefined): DialogText | undefined {
  if (intent.kind === "quit") {
    return quitText(intent);
  }
  if (intent.kind === "start") {
    return {
      title: "Overwrite the target?",
      lines: ["Everything in this image is replaced by the copy:", intent.destroys],
      confirmLabel: "Overwrite",
      cancelLabel: "Back to the form",
    };
  }
  return view === undefined ? undefined : actionText(intent.action, view);
}
