import { performance } from "node:perf_hooks";

import { PeerError } from "./error.ts";
import { objectOrEmpty, type QmpConnection, type QmpObject } from "./qmp-connection.ts";

/** Arguments of `blockdev-mirror`, spelled as in QMP; more than these may be given. */
export interface MirrorArguments {
  readonly "job-id": string;
  /** Node name of the source. */
  readonly device: string;
  /** Node name of the target. */
  readonly target: string;
  readonly sync: "full" | "top" | "none";
  /** Bytes per second, 0 for no limit. */
  readonly speed?: number;
  readonly granularity?: number;
  readonly "buf-size"?: number;
  readonly "copy-mode"?: "background" | "write-blocking";
  readonly [argument: string]: unknown;
}

/** How a mirror is ended once it is READY. */
export interface MirrorOptions {
  /**
   * `complete` switches to the target, `cancel` keeps the target as a consistent copy, `abandon` gives up at once.
   * Default `complete`.
   */
  readonly finish?: "complete" | "cancel" | "abandon";
  /** Awaited between READY and the end; its time is not counted. */
  readonly atReady?: () => Promise<void>;
  /** For each wait, in milliseconds. Default 600 000. */
  readonly timeoutMs?: number;
}

/** How long a mirror took, on this process's clock. */
export interface MirrorTiming {
  /** From sending the command to the READY state's arrival. */
  readonly readyMs: number;
  /** From sending the verb that ends it to the concluded state's arrival. */
  readonly finishMs: number;
  /** `len` and `offset` of query-block-jobs at READY, in bytes. */
  readonly lengthAtReady: number;
  readonly offsetAtReady: number;
  /** Every job status on the way, in order. */
  readonly statuses: readonly string[];
  /** `BLOCK_JOB_COMPLETED` or `BLOCK_JOB_CANCELLED`. */
  readonly finalEvent: string;
}

const DEFAULT_TIMEOUT_MS = 600_000;

function listOfObjects(value: unknown): readonly QmpObject[] {
  return Array.isArray(value) ? value.map((item) => objectOrEmpty(item)) : [];
}

/** Collects a job's states up to `wanted`; stops with the job's error when it ends before. */
async function waitForStatus(
  qmp: QmpConnection,
  jobId: string,
  wanted: string,
  statuses: string[],
  timeoutMs: number,
): Promise<void> {
  let status: string;
  do {
    const { data } = await qmp.waitForEvent("JOB_STATUS_CHANGE", { match: { id: jobId }, timeoutMs });
    status = String(data["status"]);
    statuses.push(status);
    if (status === "concluded" && wanted !== "concluded") {
      const jobs = listOfObjects(await qmp.execute("query-jobs"));
      const reason = jobs.find((job) => job["id"] === jobId)?.["error"];
      await qmp.execute("job-dismiss", { id: jobId });
      const message = `mirror ${jobId}: concluded before ${wanted}: ${typeof reason === "string" ? reason : "no error given"}`;
      throw new PeerError("PEER_FAILED", message);
    }
  } while (status !== wanted);
}

function endJob(
  qmp: QmpConnection,
  jobId: string,
  finish: "complete" | "cancel" | "abandon",
): Promise<unknown> {
  if (finish === "complete") return qmp.execute("job-complete", { id: jobId });
  return qmp.execute("block-job-cancel", { device: jobId, force: finish === "abandon" });
}

/**
 * Runs `blockdev-mirror` to READY, ends it, dismisses it.
 *
 * @throws {@link PeerError} `QMP_ERROR` when a command is refused, `PEER_FAILED` with the job's error when it ends
 * before READY, `PEER_TIMEOUT`, `PEER_GONE`.
 */
export async function mirrorToEnd(
  qmp: QmpConnection,
  args: MirrorArguments,
  options: MirrorOptions = {},
): Promise<MirrorTiming> {
  const { finish = "complete", timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  const jobId = args["job-id"];
  const statuses: string[] = [];

  const started = performance.now();
  await qmp.execute("blockdev-mirror", { ...args, "auto-dismiss": false });
  await waitForStatus(qmp, jobId, "ready", statuses, timeoutMs);
  const readyMs = performance.now() - started;

  const jobs = listOfObjects(await qmp.execute("query-block-jobs"));
  const atReady = jobs.find((job) => job["device"] === jobId) ?? {};
  await options.atReady?.();

  const ending = performance.now();
  await endJob(qmp, jobId, finish);
  await waitForStatus(qmp, jobId, "concluded", statuses, timeoutMs);
  const finishMs = performance.now() - ending;

  const match = { device: jobId };
  const final = await qmp.waitForEvent(["BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED"], { match, timeoutMs });
  await qmp.execute("job-dismiss", { id: jobId });
  return {
    readyMs,
    finishMs,
    lengthAtReady: Number(atReady["len"]),
    offsetAtReady: Number(atReady["offset"]),
    statuses,
    finalEvent: final.event,
  };
}
