import { readFileSync, renameSync, writeFileSync } from "node:fs";

/** How a job in the background ended. */
export interface JobRecordEnd {
  readonly outcome: "completed" | "cancelled" | "failed";
  /** Exit status that the command would have had in the foreground. */
  readonly status: number;
  /** The outcome, what it means for the images, and the figures of the whole run: one line. */
  readonly summary: string;
  /** Why it failed. */
  readonly error?: string;
  /** Why something that it held could not be given back. */
  readonly cleanupError?: string;
  /** ISO 8601. */
  readonly at: string;
}

/** What is kept of a job that runs, or ran, in the background. */
export interface JobRecord {
  readonly id: string;
  /** `mirror` or `commit`. */
  readonly type: string;
  readonly source: string;
  readonly target: string;
  /** Process of the daemon. */
  readonly pid: number;
  /** Its QMP socket. */
  readonly socket: string;
  /** File with what it told. */
  readonly log: string;
  /** ISO 8601. */
  readonly startedAt: string;
  /** Left out while the job runs, and for good when its daemon was killed. */
  readonly end?: JobRecordEnd;
}

/** Writes a record at one instant: who reads it sees the old one or the new one. Readable by its user only. */
export function writeJobRecord(file: string, record: JobRecord): void {
  writeFileSync(`${file}.new`, `${JSON.stringify(record)}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** Reads a record; undefined when there is none, or none of ours. */
export function readJobRecord(file: string): JobRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
  return isJobRecord(value) ? value : undefined;
}

const TEXTS = ["id", "type", "source", "target", "socket", "log", "startedAt"] as const;
const OUTCOMES: ReadonlySet<unknown> = new Set<JobRecordEnd["outcome"]>(["completed", "cancelled", "failed"]);

function isJobRecord(value: unknown): value is JobRecord {
  if (!isObject(value) || typeof value["pid"] !== "number") return false;
  return TEXTS.every((name) => typeof value[name] === "string") && (!("end" in value) || isEnd(value["end"]));
}

function isEnd(value: unknown): value is JobRecordEnd {
  return (
    isObject(value) &&
    OUTCOMES.has(value["outcome"]) &&
    typeof value["status"] === "number" &&
    typeof value["summary"] === "string" &&
    typeof value["at"] === "string"
  );
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
