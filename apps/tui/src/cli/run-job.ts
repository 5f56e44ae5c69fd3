import { EmbeddedEngine } from "../engine/embedded-engine.ts";
import { toDisplay } from "./display-options.ts";
import type { JobFlags } from "./job-options.ts";
import { JobView } from "./job-view.ts";
import { runInView, type JobTask } from "./run-in-view.ts";

/** Runs a job where its user sees it, or with `--detach` in the background, and returns the exit status. */
export async function runJob(task: JobTask, flags: JobFlags, given: Partial<JobFlags>): Promise<number> {
  if (flags.detach === true) {
    // Loaded here: a job in the foreground needs no daemon.
    const { runDetached } = await import("../detach/run-detached.ts");
    return runDetached(task, flags, given);
  }
  const engine = new EmbeddedEngine(flags.allowBacking);
  return runInView(task, flags, { engine, view: new JobView(engine, toDisplay(flags)) });
}
