import { closeSync, openSync, readdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { homedir } from "node:os";
import path from "node:path";
import { makeOwnDirectory } from "../terminal/own-directory.ts";
import { stateDirectory } from "../terminal/state-directory.ts";
import { readJobRecord, type JobRecord } from "./job-record.ts";

/** Ended jobs that are kept, with their logs. */
const MOST_KEPT = 50;

/** A record, and whether its daemon still answers. */
export interface KnownJob {
  readonly record: JobRecord;
  /** `lost`: the daemon is gone and has not said how the job ended. */
  readonly state: "running" | "ended" | "lost";
}

/** Directory of the records and logs of jobs in the background. */
function recordDirectory(env: NodeJS.ProcessEnv): string {
  return path.join(stateDirectory(env, homedir()), "jobs");
}

/** The file of a record, beside the log of the same job. */
export function recordFileOf(log: string): string {
  return log.replace(/\.log$/u, ".json");
}

/**
 * Makes the log of a new job, and room for it. The name tells the job and the time: `mirror0-20260131T120000Z.log`.
 * @throws RequestError when there is no room to be had.
 */
export function createLog(
  jobId: string,
  env: NodeJS.ProcessEnv,
): { readonly log: string; readonly fd: number } {
  const directory = recordDirectory(env);
  makeOwnDirectory(directory, "XDG_STATE_HOME");
  const stamp = new Date().toISOString().replaceAll(/[-:]|\.\d+/gu, "");
  for (let attempt = 1; ; attempt += 1) {
    const log = path.join(directory, `${jobId}-${stamp}${attempt === 1 ? "" : `-${attempt}`}.log`);
    try {
      return { log, fd: openSync(log, "ax", 0o600) };
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    }
  }
}

/** Gives back the log of a job that never ran. */
export function dropLog(log: string, fd: number): void {
  closeSync(fd);
  rmSync(log, { force: true });
}

/** Every job that is known to have run in the background, oldest first. Forgets the oldest that have ended. */
export async function knownJobs(env: NodeJS.ProcessEnv): Promise<readonly KnownJob[]> {
  const found = await Promise.all(
    recordFiles(recordDirectory(env)).map(async (file) => {
      const record = readJobRecord(file);
      return record === undefined ? [] : [{ file, record, state: await stateOf(record) }];
    }),
  );
  const jobs = found
    .flat()
    .toSorted((one, other) => (one.record.startedAt < other.record.startedAt ? -1 : 1));
  const over = jobs.filter(({ state }) => state !== "running");
  for (const { file, record } of over.slice(0, Math.max(0, over.length - MOST_KEPT))) {
    for (const each of [file, record.log]) rmSync(each, { force: true });
  }
  return jobs.map(({ record, state }) => ({ record, state }));
}

function recordFiles(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
      .filter((name) => name.endsWith(".json"))
      .map((name) => path.join(directory, name));
  } catch {
    return [];
  }
}

async function stateOf({ end, socket }: JobRecord): Promise<KnownJob["state"]> {
  if (end !== undefined) return "ended";
  if (await isAnswered(socket)) return "running";
  // Whoever was killed could not take it away; it would be found, and found dead, for ever.
  rmSync(socket, { force: true });
  return "lost";
}

/** Whether somebody accepts connections there. */
function isAnswered(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    const answer = (answered: boolean): void => {
      socket.destroy();
      resolve(answered);
    };
    socket.once("connect", () => answer(true));
    // A refusal is the only certain sign that nobody is there; a full queue is none.
    socket.once("error", (error) =>
      answer("code" in error && error.code !== "ECONNREFUSED" && error.code !== "ENOENT"),
    );
  });
}
