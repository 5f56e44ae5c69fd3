import path from "node:path";
import { expandPattern, ownPatterns } from "../attach/find-sockets.ts";
import type { JobSource } from "../job-source/job-source.ts";
import { knownJobs, type KnownJob } from "../detach/job-records.ts";
import { outcomeEvent, outcomeLines } from "../detach/outcome-lines.ts";
import { runtimeDirectory } from "../terminal/runtime-directory.ts";
import { EXIT, UsageError } from "./exit-status.ts";
import type { OutputMode } from "./display.ts";

/** How many outcomes are told when nothing runs. */
const MOST_TOLD = 10;
/** A job's end is told to clients a moment before it is written down. */
const RECORD_WAIT_MS = 2000;
const RECORD_POLL_MS = 50;

/** Sockets of jobs in the background, those first that have run longest. Dead sockets of killed ones are taken away. */
export async function detachedSockets(): Promise<readonly string[]> {
  await knownJobs(process.env);
  return (await Promise.all(ownPatterns(process.env).map(expandPattern))).flat();
}

/** Whether an address is where a job in the background has its socket: its process ends with the job. */
export function isDetachedSocket(address: string): boolean {
  return path.dirname(path.resolve(address)) === path.resolve(runtimeDirectory(process.env));
}

/**
 * Tells how jobs in the background ended, the latest last, and which run.
 * @throws UsageError when there never was one.
 */
export async function tellOutcomes(output: OutputMode | undefined): Promise<number> {
  const jobs = await knownJobs(process.env);
  if (jobs.length === 0) {
    throw new UsageError(
      "no job runs in the background, nor did one lately; name a QMP socket, or start a job with mirror --detach",
    );
  }
  for (const job of jobs.slice(-MOST_TOLD)) tell(job, output === "json");
  return EXIT.done;
}

function tell(job: KnownJob, asJson: boolean): void {
  for (const line of asJson ? [outcomeEvent(job)] : outcomeLines(job)) process.stdout.write(`${line}\n`);
}

/** Resolves when every job that a source shows has ended, or the source is gone. */
export function allEnded(source: JobSource): Promise<void> {
  return new Promise((resolve) => {
    let seen = false;
    const look = (): void => {
      const jobs = source.list();
      seen ||= jobs.length > 0;
      const { state } = source.endpoint;
      const gone = state === "dead" || state === "ended";
      if (!gone && !(seen && jobs.every(({ status }) => status === "concluded"))) return;
      end();
      resolve();
    };
    const end = source.subscribe(look);
    look();
  });
}

/** Tells what became of jobs that were watched in the terminal UI, if they have ended. */
export async function tellEnded(sockets: readonly string[]): Promise<void> {
  for (const job of await watched(sockets)) if (job.state !== "running") tell(job, false);
}

/** The exit status for jobs that were watched to their end: that of the one which went worst. */
export async function statusOf(sockets: readonly string[]): Promise<number> {
  const deadline = Date.now() + RECORD_WAIT_MS;
  let jobs = await watched(sockets);
  while (jobs.some(({ record }) => record.end === undefined) && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, RECORD_POLL_MS));
    jobs = await watched(sockets);
  }
  const statuses = jobs.map(({ record }) => record.end?.status ?? EXIT.failed);
  return statuses.includes(EXIT.failed) ? EXIT.failed : Math.max(EXIT.done, ...statuses);
}

async function watched(sockets: readonly string[]): Promise<readonly KnownJob[]> {
  return (await knownJobs(process.env)).filter(({ record }) => sockets.includes(record.socket));
}
