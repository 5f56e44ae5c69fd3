import { BlockError } from "@blockmirror/block-driver";
import type { JobResult } from "@blockmirror/blockjob";
import type { EmbeddedEngine } from "../engine/embedded-engine.ts";
import type { EngineJob } from "../engine/engine-job.ts";
import { describeEnd } from "../output/describe-end.ts";
import { EXIT } from "./exit-status.ts";
import type { JobFlags } from "./job-options.ts";
import type { JobView, ShowResult } from "./job-view.ts";

/** Where a job runs: in this process for its user to see, or in the background. */
export interface JobHost {
  readonly engine: EmbeddedEngine;
  readonly view: JobView;
  /** Told as soon as the job runs. */
  started?(entry: EngineJob): void;
  /** Told when it has ended, with the exit status. */
  ended?(entry: EngineJob, result: JobResult, status: number): void;
  /** Resolves when nobody needs the engine any more. Default: at once. */
  unused?(): Promise<void>;
}

/** A job of a command. */
export interface JobTask {
  /** `mirror` or `commit`, for messages. */
  readonly name: string;
  /** Starts the job. Whatever it throws becomes one line on standard error. */
  start(host: JobHost): Promise<EngineJob>;
  /** What to do about a failure, where there is more to say than its reason says. */
  remedy?(entry: EngineJob, reason: Error | undefined): string | undefined;
  /** What a failure means for the images, and what helps against its reason where only this command knows; behind the reason. */
  whenFailed(entry: EngineJob, reason: Error | undefined): string;
  /** What a cancellation means for the images. */
  whenCancelled(entry: EngineJob): string;
  /** What is left to do for others once the job is over and nobody has interrupted it. */
  afterwards?(host: JobHost, entry: EngineJob): Promise<void>;
  /** Gives back what the task holds, before the engine closes. */
  close?(): Promise<void>;
}

/** Runs a job in an engine, shows it until it has ended, and returns the exit status. Closes engine and view. */
export async function runInView(task: JobTask, flags: JobFlags, host: JobHost): Promise<number> {
  const { engine, view } = host;
  let failure: unknown;
  try {
    const entry = await task.start(host);
    steerWhenReady(engine, entry, flags.whenReady ?? (view.mode === "tui" ? "wait" : "complete"));
    host.started?.(entry);
    const shown = await view.show(entry.job.done, flags.whenReady !== undefined);
    if (shown === "quit") await engine.cancelAll({ force: false });
    const result = await entry.job.done;
    failure = result.error;
    const status = conclude(task, host, entry, result, shown);
    host.ended?.(entry, result, status);
    if (shown === "done") await task.afterwards?.(host, entry);
    if (host.unused !== undefined) await Promise.race([host.unused(), view.interrupted()]);
    return status;
  } finally {
    // Images that cannot be closed are an error; the lines and the signals go all the same, or the program would never end.
    try {
      await close(task, engine, failure);
    } finally {
      view.close();
    }
  }
}

/** @param failure what the job failed with, if it did. */
async function close(task: JobTask, engine: EmbeddedEngine, failure: unknown): Promise<void> {
  try {
    await task.close?.();
    await engine.close();
  } catch (error) {
    // An image that was lost fails its job, and cannot be closed for the same reason: that is said once.
    if (!isEchoOf(failure, error)) throw error;
  }
}

/** The image that failed the job refuses everything since, whatever it said first. Another image's refusal is news. */
function isEchoOf(failure: unknown, error: unknown): boolean {
  if (!(failure instanceof BlockError) || !(error instanceof BlockError)) return false;
  return error.code === "BLK_FENCED" && error.node === failure.node;
}

/** Completes or cancels the job as soon as it is READY. */
function steerWhenReady(
  engine: EmbeddedEngine,
  { job }: EngineJob,
  action: "complete" | "cancel" | "wait",
): void {
  if (action === "wait") return;
  engine.subscribe((event) => {
    if (event.event !== "BLOCK_JOB_READY" || event.data.device !== job.id) return;
    if (action === "cancel") job.cancel();
    // A refusal means that the job is ending already, which its own events tell.
    else job.complete().catch(() => {});
  });
}

/** Says how the job ended: one line for a failure, on standard error. Returns the exit status. */
function conclude(
  task: JobTask,
  { engine, view }: JobHost,
  entry: EngineJob,
  result: JobResult,
  shown: ShowResult,
): number {
  // The lines have told it already, and JSON is for programs.
  if (view.mode === "tui") process.stdout.write(`${describeEnd(engine.snapshot(entry), result.outcome)}\n`);
  if (result.cleanupError !== undefined)
    say(`${task.name} could not clean up: ${result.cleanupError.message}`);
  if (result.outcome === "failed") {
    const reason = `${result.error?.message ?? "unknown error"}${remedyOf(task, entry, result.error)}`;
    say(`${task.name} failed: ${reason}; ${task.whenFailed(entry, result.error)}`);
    return EXIT.failed;
  }
  // On a terminal that is what the summary has just said.
  if (result.outcome === "cancelled" && view.mode !== "tui") say(`cancelled; ${task.whenCancelled(entry)}`);
  return result.outcome === "cancelled" || shown === "interrupted" ? EXIT.interrupted : EXIT.done;
}

/** The remedy for a failure, to stand behind its reason. */
export function remedyOf(task: JobTask, entry: EngineJob, reason: Error | undefined): string {
  const remedy = task.remedy?.(entry, reason);
  return remedy === undefined ? "" : `; ${remedy}`;
}

/** A line for the user, beside the command's output. */
export function say(text: string): void {
  process.stderr.write(`blockmirror: ${text}\n`);
}
