import { spawn } from "node:child_process";
import { performance } from "node:perf_hooks";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { PeakMemory } from "./peak-memory.ts";

/** The program itself, to be run by Node. */
export const PROGRAM: string = fileURLToPath(
  new URL("bin/blockmirror.js", import.meta.resolve("blockmirror/package.json")),
);

/** How long one run of `blockmirror mirror` took, and what it took. */
export interface MirrorRun {
  /** From the job's creation to READY, by the program's own event timestamps. */
  readonly readyMs: number;
  /** From the job's creation to its completion, by the same. */
  readonly completedMs: number;
  /** From starting the process to its exit. */
  readonly processMs: number;
  /** Highest resident size of the process; `undefined` where the system does not tell. */
  readonly peakBytes: number | undefined;
}

interface TimedEvent {
  readonly name: string;
  readonly status: string;
  readonly atMs: number;
}

function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null
    ? Object.getOwnPropertyDescriptor(value, name)?.value
    : undefined;
}

function parseEvent(line: string): TimedEvent {
  const message: unknown = JSON.parse(line);
  const timestamp = member(message, "timestamp");
  const seconds = Number(member(timestamp, "seconds"));
  const microseconds = Number(member(timestamp, "microseconds"));
  return {
    name: String(member(message, "event")),
    status: String(member(member(message, "data"), "status")),
    atMs: seconds * 1000 + microseconds / 1000,
  };
}

function timeOf(events: readonly TimedEvent[], what: string, wanted: (event: TimedEvent) => boolean): number {
  const found = events.find((event) => wanted(event));
  if (found === undefined) throw new Error(`blockmirror mirror reported no ${what}`);
  return found.atMs;
}

/**
 * Mirrors onto an existing target with the program itself, as an operator would, up to completion.
 *
 * @param args More options, as `["--speed", "200M"]`.
 * @throws Error with the program's stderr when it fails.
 */
export async function runMirror(
  source: string,
  target: string,
  args: readonly string[] = [],
): Promise<MirrorRun> {
  const started = performance.now();
  const options = ["--existing", "--when-ready", "complete", "--output", "json", "--source-format", "raw"];
  const child = spawn(
    process.execPath,
    [PROGRAM, "mirror", source, target, ...options, "--target-format", "raw", ...args],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const memory = new PeakMemory(child.pid ?? 0);
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const events: TimedEvent[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => events.push(parseEvent(line)));
  const [exitCode, processMs] = await new Promise<[number | null, number]>((resolve, reject) => {
    let exitedMs = 0;
    child.once("error", reject);
    child.once("exit", () => (exitedMs = performance.now()));
    child.once("close", (code) => resolve([code, exitedMs - started]));
  });
  const peakBytes = memory.stop();
  if (exitCode !== 0) throw new Error(`blockmirror mirror: exit status ${exitCode}\n${stderr}`);

  const createdMs = timeOf(
    events,
    "creation",
    (event) => event.name === "JOB_STATUS_CHANGE" && event.status === "created",
  );
  return {
    readyMs: timeOf(events, "READY", (event) => event.name === "BLOCK_JOB_READY") - createdMs,
    completedMs: timeOf(events, "completion", (event) => event.name === "BLOCK_JOB_COMPLETED") - createdMs,
    processMs,
    peakBytes,
  };
}
