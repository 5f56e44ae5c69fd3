import path from "node:path";
import { BlockGraph, createDefaultRegistry, skipFilters, type BlockNode } from "@blockmirror/block-driver";
import { nbdDriver } from "@blockmirror/nbd";
import { JobManager, type Job, type JobEvent as EngineEvent } from "@blockmirror/blockjob";
import { startMirror, type MirrorDetails } from "@blockmirror/mirror";
import {
  createJobMap,
  type EndpointInfo,
  type JobMap,
  type JobSnapshot,
  type JobSource,
  type JobSourceEvent,
  type JobVerb,
  type NewJobRequest,
  type NewJobReview,
  type PathPurpose,
  type VerbPermission,
} from "../job-source/job-source.ts";
import type { CreationOptions } from "../images/creation-options.ts";
import { imageSpec } from "../images/image-location.ts";
import { createImage } from "../images/create-image.ts";
import { removeFile } from "../images/image-session.ts";
import { suggestPath } from "../images/suggest-path.ts";
import type { ImageFormat } from "../images/image-format.ts";
import type { OpenImage } from "./image-file.ts";
import type { EngineJob } from "./engine-job.ts";
import { backingModeOf, standsOnSource, type MirrorRequest } from "./mirror-request.ts";
import { RequestError } from "./request-error.ts";
import { provideBitmap } from "./source-bitmap.ts";
import { reviewRequest } from "./review-request.ts";
import { toSnapshot } from "./to-snapshot.ts";
import { verbReason } from "./verb-reason.ts";
import { gateFor } from "../images/allowed-directories.ts";

/** An image that is open for others. */
interface SharedImage extends OpenImage {
  readonly node: BlockNode;
}

/** The embedded engine: block graph and jobs in this process, as a {@link JobSource}. */
export class EmbeddedEngine implements JobSource {
  readonly endpoint: EndpointInfo = { name: "embedded", kind: "embedded", state: "connected" };
  readonly syncModes = ["full", "top", "bitmap", "none"] as const;
  readonly newJobOptions = {
    copyModes: ["background", "write-blocking", "auto"],
    largerTargets: ["refuse", "zero", "leave"],
    unmap: false,
    detectZeroes: true,
    formats: ["raw", "qcow2"],
    backingModes: ["leave", "open-chain", "source-chain"],
    // Nothing stands between an image here and its users.
    replaces: false,
  } as const;
  readonly graph: BlockGraph;
  readonly jobs: JobManager;
  readonly #mirrors = new Map<string, EngineJob>();
  readonly #listeners = new Set<(event: JobSourceEvent) => void>();
  readonly #closing = new Set<Promise<void>>();
  /** Images that are open for others, by their absolute paths. */
  readonly #shared = new Map<string, SharedImage>();

  /**
   * @param allowed directories in which backing files may lie, beside the image that names them.
   * @param shared graph and jobs that others work on as well; `allowed` has no effect on them.
   */
  constructor(
    allowed: readonly string[] = [],
    shared?: { readonly graph: BlockGraph; readonly jobs: JobManager },
  ) {
    this.graph =
      shared?.graph ??
      new BlockGraph({
        registry: createDefaultRegistry().register(nbdDriver),
        gate: gateFor(allowed),
      });
    this.jobs = shared?.jobs ?? new JobManager();
    this.jobs.subscribe((event) => this.#pass(event));
  }

  list(): readonly JobSnapshot[] {
    const now = Date.now();
    return [...this.#mirrors.values()].map((entry) => toSnapshot(entry, this.endpoint.name, now));
  }

  /** One job as {@link list} tells it, also after it was dismissed. */
  snapshot(entry: EngineJob): JobSnapshot {
    return toSnapshot(entry, this.endpoint.name, Date.now());
  }

  subscribe(listener: (event: JobSourceEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  can(id: string, verb: JobVerb): VerbPermission {
    const entry = this.#mirrors.get(id);
    if (entry === undefined) return { allowed: false, reason: "no such job" };
    const permission = entry.job.can(verb);
    return permission.allowed ? permission : { allowed: false, reason: verbReason(permission.reason) };
  }

  async pause(id: string): Promise<void> {
    this.#job(id).pause();
  }

  async resume(id: string): Promise<void> {
    this.#job(id).resume();
  }

  async setSpeed(id: string, bytesPerSec: number): Promise<void> {
    this.#job(id).setSpeed(bytesPerSec);
    this.#tell({ event: "changed" });
  }

  complete(id: string): Promise<void> {
    return this.#job(id).complete();
  }

  async cancel(id: string, options: { readonly force: boolean }): Promise<void> {
    this.#job(id).cancel(options);
  }

  async finalize(id: string): Promise<void> {
    this.#job(id).finalize();
  }

  async dismiss(id: string): Promise<void> {
    this.#job(id).dismiss();
    this.#mirrors.delete(id);
    this.#tell({ event: "changed" });
  }

  map(id: string, cellCount: number, into?: JobMap): JobMap | undefined {
    const entry = this.#mirrors.get(id);
    if (entry === undefined) return undefined;
    const map = into?.cellCount === cellCount ? into : createJobMap(cellCount);
    entry.mirror.map(cellCount, map);
    return map;
  }

  suggest(typed: string, purpose: PathPurpose): Promise<string | undefined> {
    return suggestPath(typed, purpose);
  }

  validate(request: NewJobRequest): Promise<NewJobReview> {
    return this.review(fromForm(request));
  }

  async start(request: NewJobRequest): Promise<string> {
    const { job } = await this.startMirror(fromForm(request));
    return job.id;
  }

  /** Looks at a request without side effects. */
  review(request: MirrorRequest): Promise<NewJobReview> {
    return reviewRequest(request, this.graph, this.#sharedImage(request.source));
  }

  /**
   * Says that an image is open already, for users of its own: a mirror of it follows their writes, and completion leads them
   * to the target.
   */
  share(image: string, node: BlockNode, format: ImageFormat): void {
    this.#shared.set(path.resolve(image), { node, format, size: node.size });
  }

  /**
   * Starts a mirror of two files. A target that was created is removed again if the job cannot start.
   * @param useSource attaches a user of the source before the job starts, so that the job follows its writes.
   * @throws RequestError with the first problem the review finds; BlockError and JobError from below.
   */
  async startMirror(asked: MirrorRequest, useSource?: (source: BlockNode) => void): Promise<EngineJob> {
    const { problems, formats } = await reviewRequest(asked, this.graph, this.#sharedImage(asked.source));
    const [problem] = problems;
    if (problem !== undefined) throw new RequestError(problem.message);
    const resolved = { ...asked, sourceFormat: formats.source, targetFormat: formats.target };
    const backingMode = backingModeOf(resolved);
    const request = { ...resolved, backingMode };
    const source =
      this.#sharedImage(request.source)?.node ??
      (await this.graph.open(
        imageSpec(request.source, formats.source, request.writableSource !== true, {
          bitmap: request.bitmap,
        }),
      ));
    let created: readonly string[] = [];
    let target: BlockNode | undefined;
    try {
      if (request.bitmap !== undefined) await provideBitmap(source, request.bitmap, request.source);
      if (!request.existing) {
        created = await createImage(this.graph, {
          filename: request.target,
          format: formats.target,
          size: source.size,
          options: { ...request.targetOptions, ...standOn(source, request) },
          overwrite: false,
        });
      }
      target = await this.graph.open({
        ...imageSpec(request.target, formats.target, false, { unflushedWrites: request.unflushedWrites }),
        ...(backingMode === "leave" || formats.target !== "qcow2" ? {} : backingWhileCopying(request)),
      });
      useSource?.(source);
      const mirror = await startMirror({
        ...request,
        graph: this.graph,
        jobs: this.jobs,
        source,
        target,
        autoDismiss: false,
        targetIsZero: !request.existing && request.sync !== "top" && !standsOnSource(request),
      });
      return this.adopt({ mirror, job: mirror.job, request, source, target });
    } catch (error) {
      // A user of the source may hold it open; what is left is closed with the engine.
      for (const node of [target, source]) if (node?.parents.size === 0) await this.graph.close(node);
      for (const filename of created) await removeFile(filename);
      throw error;
    }
  }

  /** Takes over a job that runs in this engine's graph: shows it, and closes its images when it has ended. */
  adopt(entry: EngineJob): EngineJob {
    this.#mirrors.set(entry.job.id, entry);
    this.#track(entry);
    this.#tell({ event: "changed" });
    return entry;
  }

  /** The job and its images, or undefined. */
  find(id: string): EngineJob | undefined {
    return this.#mirrors.get(id);
  }

  /** An id that no job has: `mirror0`, `mirror1` and so on. */
  freeId(): string {
    for (let number = 0; ; number += 1) {
      const id = `mirror${number}`;
      if (this.jobs.find(id) === undefined) return id;
    }
  }

  /**
   * Asks every live job to end: a job that is READY finishes its copy, others stop. With `force` all stop at once.
   * Resolves when they have ended.
   */
  async cancelAll(options: { readonly force: boolean }): Promise<void> {
    for (const { job } of this.#mirrors.values()) {
      if (job.can("cancel").allowed) job.cancel(options);
    }
    await Promise.all([...this.#mirrors.values()].map(({ job }) => job.done));
  }

  /**
   * Force-cancels what still runs and closes every image.
   * @throws BlockError when an image could not be closed, so that what was written to it is not certain to be there.
   */
  async close(): Promise<void> {
    await this.jobs.close();
    try {
      await Promise.all(this.#closing);
    } finally {
      await this.graph.closeAll();
    }
  }

  /**
   * When a job has ended its images are closed, unless somebody else uses them (guests that were switched to the target).
   */
  #track(entry: EngineJob): void {
    const closing = entry.job.done.then(async () => {
      // The target first: it may stand on the source.
      for (const node of [entry.target, entry.source]) {
        if (node.parents.size === 0) await this.graph.close(node);
      }
      this.#tell({ event: "changed" });
    });
    this.#closing.add(closing);
    // An image that cannot be closed is told by `close`; until then it must not end the process.
    closing.catch(() => {});
  }

  /** Its users may have been led elsewhere since, and the node be closed. */
  #sharedImage(image: string): SharedImage | undefined {
    const shared = this.#shared.get(path.resolve(image));
    return shared !== undefined && this.graph.find(shared.node.name) === shared.node ? shared : undefined;
  }

  #job(id: string): Job<MirrorDetails> {
    const entry = this.#mirrors.get(id);
    if (entry === undefined) throw new RequestError(`there is no job '${id}'`);
    return entry.job;
  }

  #pass(event: EngineEvent): void {
    if (event.event !== "JOB_STATUS_CHANGE") {
      this.#tell(event);
      return;
    }
    const { id, status } = event.data;
    // Somebody who works on the same jobs may have dismissed it.
    if (status === "null") this.#mirrors.delete(id);
    // The state before a job exists is never told.
    if (status !== "undefined") this.#tell({ ...event, data: { id, status } });
  }

  #tell(event: JobSourceEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}

function fromForm(request: NewJobRequest): MirrorRequest {
  return {
    askedBy: "form",
    id: request.id,
    source: request.sourcePath,
    target: request.targetPath,
    existing: request.existing,
    sync: request.sync,
    ...(request.bitmap !== undefined && { bitmap: request.bitmap }),
    speed: request.speed,
    granularity: request.granularity ?? 0,
    bufferSize: request.bufferSize ?? 0,
    ...(request.copyMode !== undefined && { copyMode: request.copyMode }),
    ...(request.targetFormat !== undefined && { targetFormat: request.targetFormat }),
    ...(request.detectZeroes === true && { detectZeroes: true }),
    ...(request.largerTarget !== undefined && { largerTarget: request.largerTarget }),
    ...(request.backingMode !== undefined && { backingMode: request.backingMode }),
    onSourceError: request.onSourceError ?? "report",
    onTargetError: request.onTargetError ?? "report",
  };
}

/** What a target that is not a whole copy stands on: the source's backing image or the source, as seen from its directory. */
function standOn(source: BlockNode, request: MirrorRequest): CreationOptions {
  const image = skipFilters(source);
  const ofTop = request.sync === "top" ? image.child("backing")?.node : undefined;
  const backing = standsOnSource(request) ? image : ofTop;
  const filename = backing?.info.filename;
  if (backing === undefined || filename === undefined) return {};
  const backingFile = path.relative(path.dirname(path.resolve(request.target)), filename);
  return { backingFile, backingFormat: backing.info.driver };
}

/** What a partial copy stands on is not needed to write it, and must not be trusted to be there; it comes with the switch. */
function backingWhileCopying(request: MirrorRequest): { readonly backing?: null } {
  const isPartial = request.sync === "top" || standsOnSource(request);
  return isPartial || request.backingMode === "open-chain" ? { backing: null } : {};
}
