import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, readFileSync } from "node:fs";
import { EXIT } from "../cli/exit-status.ts";
import { createLog, dropLog, recordFileOf } from "./job-records.ts";
import { readJobRecord, type JobRecord } from "./job-record.ts";

/** Set for the process in the background: the log that its output goes to. */
export const BACKGROUND_VARIABLE = "BLOCKMIRROR_BACKGROUND_LOG";

/**
 * Starts this program once more with the same arguments, in a session of its own, and waits until its job runs or has
 * been refused. What it has to say until then is said here.
 * @returns the exit status: 0 when the job runs, otherwise that of the process, never 0.
 */
export async function startInBackground(jobId: string, output: "plain" | "json"): Promise<number> {
  const { log, fd } = createLog(jobId, process.env);
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    detached: true,
    // Only the channel is shared: whoever waits for the end of this program's output must not wait for the daemon's.
    stdio: ["ignore", fd, fd, "ipc"],
    env: { ...process.env, [BACKGROUND_VARIABLE]: log },
  });
  const status = await untilRunning(child);
  for (const line of readFileSync(log, "utf8").split("\n")) {
    if (line.startsWith("blockmirror: ")) process.stderr.write(`${line}\n`);
  }
  const record = status === EXIT.done ? readJobRecord(recordFileOf(log)) : undefined;
  if (record === undefined) {
    dropLog(log, fd);
    return status === EXIT.done ? EXIT.failed : status;
  }
  closeSync(fd);
  child.unref();
  process.stdout.write(output === "json" ? `${detachedEvent(record)}\n` : directions(record));
  return EXIT.done;
}

function untilRunning(child: ChildProcess): Promise<number> {
  return new Promise((resolve) => {
    child.once("message", () => {
      child.disconnect();
      resolve(EXIT.done);
    });
    child.once("error", () => resolve(EXIT.failed));
    child.once("exit", (code) => resolve(code === null || code === EXIT.done ? EXIT.failed : code));
  });
}

function directions({ id, pid, socket, log }: JobRecord): string {
  return [
    `${id} runs in the background, process ${pid}`,
    "  blockmirror attach            watch and steer it, or learn how it ended",
    `  kill ${pid}`.padEnd(32) + "cancel it in order",
    `  socket ${socket}`,
    `  log    ${log}`,
    "",
  ].join("\n");
}

function detachedEvent({ id, type, pid, socket, log }: JobRecord): string {
  const now = Date.now();
  const timestamp = { seconds: Math.floor(now / 1000), microseconds: (now % 1000) * 1000 };
  return JSON.stringify({ event: "DETACHED", data: { id, type, pid, socket, log }, timestamp });
}
