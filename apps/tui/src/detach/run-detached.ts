import type { EngineJob } from "../engine/engine-job.ts";
import { EmbeddedEngine } from "../engine/embedded-engine.ts";
import { describeEnd } from "../output/describe-end.ts";
import { toDisplay } from "../cli/display-options.ts";
import { UsageError } from "../cli/exit-status.ts";
import type { JobFlags } from "../cli/job-options.ts";
import { JobView } from "../cli/job-view.ts";
import { remedyOf, runInView, type JobHost, type JobTask } from "../cli/run-in-view.ts";
import { ControlSocket } from "./control-socket.ts";
import { recordFileOf } from "./job-records.ts";
import { writeJobRecord, type JobRecord } from "./job-record.ts";
import { BACKGROUND_VARIABLE, startInBackground } from "./start-in-background.ts";

/** Seconds between two lines of progress in a log, which may grow for weeks. */
const LOG_INTERVAL_SEC = 60;

/**
 * Runs a job in the background: in the process that the user started, starts the one that runs it, and in that one, runs
 * it with a QMP socket for others to steer it by. That process ends when the job has ended and nobody is attached.
 */
export async function runDetached(task: JobTask, flags: JobFlags, given: Partial<JobFlags>): Promise<number> {
  if (flags.output === "tui")
    throw new UsageError("--detach shows nothing; leave --output tui out, and attach");
  const log = process.env[BACKGROUND_VARIABLE];
  if (log === undefined) return startInBackground(flags.jobId, flags.output ?? "plain");
  // Programs that the job starts are not in our place.
  delete process.env[BACKGROUND_VARIABLE];
  return runInBackground(task, { ...flags, interval: given.interval ?? LOG_INTERVAL_SEC }, log);
}

async function runInBackground(task: JobTask, flags: JobFlags, log: string): Promise<number> {
  const control = await ControlSocket.open(flags.jobId, flags.allowBacking);
  const { graph, jobs } = control.daemon;
  const engine = new EmbeddedEngine([], { graph, jobs: jobs.manager });
  const view = new JobView(engine, { ...toDisplay(flags), output: flags.output ?? "plain" }, true);
  process.once("disconnect", abandoned);
  const recordFile = recordFileOf(log);
  const startedAt = new Date().toISOString();
  const recordOf = ({ request }: EngineJob): JobRecord => ({
    id: flags.jobId,
    type: task.name,
    source: request.source,
    target: request.target,
    pid: process.pid,
    socket: control.path,
    log,
    startedAt,
  });
  const host: JobHost = {
    engine,
    view,
    started: (entry) => {
      control.show(entry);
      writeJobRecord(recordFile, recordOf(entry));
      process.off("disconnect", abandoned);
      process.send?.("running");
      // No directory has to stay mounted for us.
      process.chdir("/");
    },
    ended: (entry, { outcome, error, cleanupError }, status) => {
      const end = {
        outcome,
        status,
        summary: describeEnd(engine.snapshot(entry), outcome),
        ...(error !== undefined && { error: error.message + remedyOf(task, entry, error) }),
        ...(cleanupError !== undefined && { cleanupError: cleanupError.message }),
        at: new Date().toISOString(),
      };
      writeJobRecord(recordFile, { ...recordOf(entry), end });
    },
    unused: () => control.untilUnused(),
  };
  try {
    return await runInView(task, flags, host);
  } finally {
    process.off("disconnect", abandoned);
    // The channel to a parent that still listens keeps a process alive.
    if (process.connected) process.disconnect();
    await control.close();
  }
}

/** Whoever started us has gone before anything was said: nobody would know of the job. */
function abandoned(): void {
  process.kill(process.pid, "SIGTERM");
}
