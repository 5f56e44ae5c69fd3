import type { JobNode, NewJobProblem, NewJobRequest, NewJobReview } from "../job-source/job-source.ts";
import { formatOfName, type ImageFormat } from "../images/image-format.ts";
import { isNbdUri } from "../images/is-nbd-uri.ts";
import { removeUnused, seeFile } from "./created-target.ts";
import { createOnPeer, watchForEnd } from "./peer-job.ts";
import { PeerSources, type PeerSource } from "./peer-sources.ts";
import { type MadeTarget, targetOptions } from "./peer-target.ts";
import type { QmpPeer } from "./qmp-peer.ts";

const EXISTS = "exists; set Existing to yes to overwrite it, or name another";

/** How many nodes a message about a missing one lists. */
const NODES_LISTED = 8;

/** Starts mirrors on a peer: the source is one of its nodes, the target a file or an NBD export that it opens. */
export class PeerMirror {
  readonly #peer: QmpPeer;
  readonly #sources: PeerSources;

  constructor(peer: QmpPeer) {
    this.#peer = peer;
    this.#sources = new PeerSources(peer);
  }

  /** Names that a source may have, the likeliest first. */
  sourceNames(): Promise<readonly string[]> {
    return this.#sources.names();
  }

  /** Looks at a request without side effects. */
  async validate(request: NewJobRequest): Promise<NewJobReview> {
    const source = await this.#sources.find(request.sourcePath);
    const problems: NewJobProblem[] = [];
    if (source === undefined) problems.push({ field: "sourcePath", message: await this.#noSuchNode() });
    if (request.replaces !== undefined && !(await this.#sources.has(request.replaces)))
      problems.push({ field: "replaces", message: await this.#noSuchNode() });
    const ofTarget = await targetProblem(request);
    if (ofTarget !== undefined) problems.push({ field: "targetPath", message: ofTarget });
    if (source !== undefined && problems.length === 0) problems.push(...partialProblems(request, source));
    if (problems.length > 0 || !request.existing) return { problems };
    return { problems, destroys: { target: request.targetPath } };
  }

  /**
   * Opens (or creates) the target on the peer and starts the job. When that is refused the target is taken away again,
   * with the file if it was created; when the job has ended the node is, unless the peer uses it from then on.
   * @throws Error in the peer's words.
   */
  async start(request: NewJobRequest): Promise<string> {
    const source = await this.#sources.find(request.sourcePath);
    if (source === undefined) throw new Error(`there is no node '${request.sourcePath}'`);
    const nodeName = `${request.id}-target`;
    const undo: (() => Promise<void>)[] = [];
    try {
      const [problem] = partialProblems(request, source);
      if (problem !== undefined) throw new Error(problem.message);
      const made = request.existing ? undefined : await this.#createTarget(request, source, undo);
      await this.#peer.execute("blockdev-add", await targetOptions(request, nodeName, made));
      undo.push(() => this.#removeNode(nodeName));
      if (made === undefined) await this.#checkStands(request, source, nodeName);
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

  async #noSuchNode(): Promise<string> {
    const names = (await this.#sources.names()).slice(0, NODES_LISTED);
    return `no such node; ${names.length === 0 ? "the peer has none with a name" : `there are ${names.join(", ")}`}`;
  }

  /**
   * Makes the target's file on the peer, and the image in it.
   * @throws Error also when there is one: a peer would make it empty without a word.
   */
  async #createTarget(
    request: NewJobRequest,
    source: PeerSource,
    undo: (() => Promise<void>)[],
  ): Promise<MadeTarget> {
    const { id, targetPath: filename } = request;
    if ((await seeFile(filename)) !== undefined) throw new Error(`${filename}: ${EXISTS}`);
    const format = formatOf(request, source);
    const backing = backingOf(request, source);
    const size = source.node.size ?? 0;
    const file = { driver: "file", filename };
    try {
      await createOnPeer(this.#peer, `${id}-create`, { ...file, size: format === "raw" ? size : 0 });
      if (format === "qcow2") {
        const standsOn = backing?.filename === undefined ? {} : namesOf(backing.filename, backing.driver);
        await createOnPeer(this.#peer, `${id}-format`, { driver: "qcow2", file, size, ...standsOn });
      }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`${filename} cannot be created: ${reason}`, { cause: error });
    } finally {
      // It may be there although it could not be made as it should be.
      const made = await seeFile(filename);
      if (made !== undefined) undo.push(() => removeUnused(filename, made));
    }
    return { format, backing: backing?.name };
  }

  /**
   * What an export stands on is its server's business, and cannot be seen from here.
   * @throws Error when the copy would show zeroes in place of what the source stands on.
   */
  async #checkStands({ sync, targetPath }: NewJobRequest, source: PeerSource, target: string): Promise<void> {
    if (sync !== "top" || source.backing === undefined || isNbdUri(targetPath)) return;
    if ((await this.#sources.find(target))?.backing !== undefined) return;
    throw new Error(
      `${targetPath} stands on nothing: with Sync top it would lack what the source stands on; set Sync to full, or name an overlay of ${source.backing.filename ?? source.backing.name}`,
    );
  }

  #removeAtEnd(job: string, nodeName: string): void {
    const end = watchForEnd(this.#peer, job);
    void end.promise
      .then(() => this.#removeNode(nodeName))
      .catch(() => {})
      .finally(end.cancel);
  }

  /** Refused while the node is in use, and that is what it should be: guests may have been switched to it. */
  async #removeNode(nodeName: string): Promise<void> {
    await this.#peer.execute("blockdev-del", { "node-name": nodeName }).catch(() => {});
  }
}

async function targetProblem({ targetPath, existing }: NewJobRequest): Promise<string | undefined> {
  if (isNbdUri(targetPath)) return existing ? undefined : "an export cannot be made; set Existing to yes";
  if (!targetPath.startsWith("/")) return "the peer needs an absolute path, or an nbd:// address";
  return !existing && (await seeFile(targetPath)) !== undefined ? EXISTS : undefined;
}

/** What is wrong with a target that does not get everything from the job. */
function* partialProblems(request: NewJobRequest, source: PeerSource): Generator<NewJobProblem> {
  const { sync, existing } = request;
  if (existing || sync === "full") return;
  if (sync === "none") {
    const remedy = "set Existing to yes and name an image that holds the source's content already";
    yield { field: "existing", message: `Sync none copies nothing that is there; ${remedy}` };
  } else if (!source.tellsBacking) {
    const remedy = "set Existing to yes and name an overlay of it";
    yield { field: "existing", message: `this peer does not tell what the source stands on; ${remedy}` };
  } else if (source.backing !== undefined && formatOf(request, source) === "raw") {
    const what = "with Sync top it holds only what the top layer does and needs to name the rest";
    yield { field: "targetPath", message: `cannot be raw: ${what}; set Format to qcow2` };
  } else if (source.backing !== undefined && !meansTheSameAnywhere(source.backing.filename)) {
    const name = source.backing.filename ?? source.backing.name;
    const remedy = "set Existing to yes and name an overlay of it";
    yield {
      field: "existing",
      message: `the target cannot record ${name}, a name within the peer; ${remedy}`,
    };
  }
}

/** Whether an image in any directory can record the name: an absolute path, an address, or a description. */
function meansTheSameAnywhere(filename: string | undefined): boolean {
  return filename !== undefined && /^(?:\/|[A-Za-z][A-Za-z0-9+.-]*:)/u.test(filename);
}

function formatOf({ targetFormat, targetPath }: NewJobRequest, source: PeerSource): ImageFormat {
  return targetFormat ?? formatOfName(targetPath) ?? source.format;
}

/** What a new target stands on. */
function backingOf({ sync }: NewJobRequest, source: PeerSource): JobNode | undefined {
  return sync === "top" ? source.backing : undefined;
}

function namesOf(filename: string, format: string | undefined): Readonly<Record<string, unknown>> {
  return { "backing-file": filename, ...(format !== undefined && { "backing-fmt": format }) };
}
