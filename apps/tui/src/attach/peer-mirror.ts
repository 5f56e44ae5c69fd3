import type { NewJobProblem, NewJobRequest, NewJobReview } from "../job-source/job-source.ts";
import { asObject, asObjects, textOf } from "./peer-answers.ts";
import { removeUnused, seeFile } from "./created-target.ts";
import { describeNodes } from "./peer-nodes.ts";
import { isNbdUri } from "../images/is-nbd-uri.ts";
import { targetOptions } from "./peer-target.ts";
import type { QmpPeer } from "./qmp-peer.ts";

const EXISTS = "exists; set Existing to yes to overwrite it, or name another";

/** How many nodes a message about a missing one lists. */
const NODES_LISTED = 8;

/** Starts mirrors on a peer: the source is one of its nodes, the target a file or an NBD export that it opens. */
export class PeerMirror {
  readonly #peer: QmpPeer;

  constructor(peer: QmpPeer) {
    this.#peer = peer;
  }

  /** Looks at a request without side effects. */
  async validate(request: NewJobRequest): Promise<NewJobReview> {
    const problems: NewJobProblem[] = [];
    const nodes = await this.#nodes();
    for (const field of ["sourcePath", "replaces"] as const) {
      const node = request[field];
      if (node === undefined || nodes.has(node)) continue;
      const names = [...nodes.keys()].filter((name) => !name.startsWith("#")).slice(0, NODES_LISTED);
      const known = names.length === 0 ? "the peer has none" : `there are ${names.join(", ")}`;
      problems.push({ field, message: `no such node; ${known}` });
    }
    if (isNbdUri(request.targetPath) && !request.existing) {
      problems.push({ field: "targetPath", message: "an export cannot be made; set Existing to yes" });
    } else if (!isNbdUri(request.targetPath) && !request.targetPath.startsWith("/")) {
      problems.push({
        field: "targetPath",
        message: "the peer needs an absolute path, or an nbd:// address",
      });
    } else if (!request.existing && (await seeFile(request.targetPath)) !== undefined) {
      problems.push({ field: "targetPath", message: EXISTS });
    }
    if (problems.length > 0 || !request.existing) return { problems };
    return { problems, destroys: { target: request.targetPath } };
  }

  /**
   * Opens (or creates) the target on the peer and starts the job. When that is refused the target is taken away again,
   * with the file if it was created; when the job has ended the node is, unless the peer uses it from then on.
   * @throws Error in the peer's words.
   */
  async start(request: NewJobRequest): Promise<string> {
    const source = (await this.#nodes()).get(request.sourcePath);
    if (source === undefined) throw new Error(`there is no node '${request.sourcePath}'`);
    const nodeName = `${request.id}-target`;
    const undo: (() => Promise<void>)[] = [];
    try {
      if (!request.existing) await this.#createTarget(request, source.size ?? 0, undo);
      await this.#peer.execute(
        "blockdev-add",
        await targetOptions(request.targetPath, nodeName, request.unmap ?? true),
      );
      undo.push(() => this.#removeNode(nodeName));
      await this.#peer.execute("blockdev-mirror", {
        "job-id": request.id,
        device: request.sourcePath,
        target: nodeName,
        sync: request.sync,
        speed: request.speed,
        ...(request.granularity !== undefined && { granularity: request.granularity }),
        ...(request.bufferSize !== undefined && { "buf-size": request.bufferSize }),
        ...(request.copyMode !== undefined && { "copy-mode": request.copyMode }),
        ...(request.onSourceError !== undefined && { "on-source-error": request.onSourceError }),
        ...(request.onTargetError !== undefined && { "on-target-error": request.onTargetError }),
        ...(request.replaces !== undefined && { replaces: request.replaces }),
        // Its outcome waits for us, even if we look away meanwhile.
        "auto-dismiss": false,
      });
    } catch (error) {
      for (const step of undo.toReversed()) await step();
      throw error;
    }
    this.#removeAtEnd(request.id, nodeName);
    return request.id;
  }

  async #nodes(): Promise<ReturnType<typeof describeNodes>> {
    return describeNodes(await this.#peer.execute("query-named-block-nodes", { flat: true }));
  }

  /**
   * Creates the target's file on the peer.
   * @throws Error also when there is one: a peer would make it empty without a word.
   */
  async #createTarget(request: NewJobRequest, size: number, undo: (() => Promise<void>)[]): Promise<void> {
    const { targetPath } = request;
    if ((await seeFile(targetPath)) !== undefined) throw new Error(`${targetPath}: ${EXISTS}`);
    try {
      await this.#createFile(request, size);
    } finally {
      // It may be there although it could not be made as large as it should be.
      const made = await seeFile(targetPath);
      if (made !== undefined) undo.push(() => removeUnused(targetPath, made));
    }
  }

  /** Creates a file on the peer, by a job of its own that is waited for. */
  async #createFile({ id, targetPath }: NewJobRequest, size: number): Promise<void> {
    const job = `${id}-create`;
    const ended = this.#concluded(job);
    try {
      await this.#peer.execute("blockdev-create", {
        "job-id": job,
        options: { driver: "file", filename: targetPath, size },
      });
      await ended.promise;
    } finally {
      ended.cancel();
    }
    const entry = asObjects(await this.#peer.execute("query-jobs")).find(
      (each) => textOf(each, "id") === job,
    );
    await this.#peer.execute("job-dismiss", { id: job });
    const error = textOf(entry, "error");
    if (error !== undefined) throw new Error(`${targetPath} cannot be created: ${error}`);
  }

  #concluded(job: string): { readonly promise: Promise<void>; readonly cancel: () => void } {
    const watches: (() => void)[] = [];
    const promise = new Promise<void>((resolve, reject) => {
      watches.push(
        this.#peer.onEvent(({ event, data }) => {
          const body = asObject(data);
          if (event !== "JOB_STATUS_CHANGE" || textOf(body, "id") !== job) return;
          if (textOf(body, "status") === "concluded") resolve();
        }),
        this.#peer.onState(() => {
          if (this.#peer.state !== "connected") reject(new Error("the connection to the peer was lost"));
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

  #removeAtEnd(job: string, nodeName: string): void {
    const ended = this.#concluded(job);
    void ended.promise
      .then(() => this.#removeNode(nodeName))
      .catch(() => {})
      .finally(ended.cancel);
  }

  /** Refused while the node is in use, and that is what it should be: guests may have been switched to it. */
  async #removeNode(nodeName: string): Promise<void> {
    await this.#peer.execute("blockdev-del", { "node-name": nodeName }).catch(() => {});
  }
}
