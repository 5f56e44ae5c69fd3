import { asObject, asObjects, textOf } from "./peer-answers.ts";
import type { QmpPeer } from "./qmp-peer.ts";

/** Waits for a job of a peer to be over; made before the job is, so that nothing is missed. */
export interface JobEnd {
  /** Resolves when it is concluded; rejects when the connection is lost. */
  readonly promise: Promise<void>;
  /** Waits no longer. */
  readonly cancel: () => void;
}

/** Waits until `job` is concluded. */
export function watchForEnd(peer: QmpPeer, job: string): JobEnd {
  const watches: (() => void)[] = [];
  const promise = new Promise<void>((resolve, reject) => {
    watches.push(
      peer.onEvent(({ event, data }) => {
        const body = asObject(data);
        if (event !== "JOB_STATUS_CHANGE" || textOf(body, "id") !== job) return;
        if (textOf(body, "status") === "concluded") resolve();
      }),
      peer.onState(() => {
        if (peer.state !== "connected") reject(new Error("the connection to the peer was lost"));
      }),
    );
  });
  const cancel = (): void => {
    for (const end of watches) end();
  };
  // Nobody waits for it when the command itself is refused.
  promise.catch(() => {});
  return { promise, cancel };
}

/**
 * Runs `blockdev-create` on a peer to its end.
 * @throws Error with the peer's reason when it does not succeed.
 */
export async function createOnPeer(
  peer: QmpPeer,
  job: string,
  options: Readonly<Record<string, unknown>>,
): Promise<void> {
  const end = watchForEnd(peer, job);
  try {
    await peer.execute("blockdev-create", { "job-id": job, options });
    await end.promise;
  } finally {
    end.cancel();
  }
  const jobs = asObjects(await peer.execute("query-jobs"));
  const error = textOf(
    jobs.find((each) => textOf(each, "id") === job),
    "error",
  );
  await peer.execute("job-dismiss", { id: job });
  if (error !== undefined) throw new Error(error);
}
