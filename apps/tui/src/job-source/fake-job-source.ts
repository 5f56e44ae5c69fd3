import type { Clock } from "./clock.ts";
import { FakeJob, type FakeJobScript, type JobEventBody } from "./fake-job.ts";
import {
  createJobMap,
  type EndpointInfo,
  type JobMap,
  type JobSnapshot,
  type JobSource,
  type JobSourceEvent,
  type JobVerb,
  type NewJobProblem,
  type NewJobRequest,
  type NewJobReview,
  type PathPurpose,
  type SyncMode,
  type VerbPermission,
} from "./job-source.ts";
import { verbPermission } from "./verb-rules.ts";

/** Settings of a {@link FakeJobSource}. */
export interface FakeJobSourceOptions {
  /** Everything happens on this clock; give a `FakeClock` to own it. */
  readonly clock: Clock;
  readonly endpoint?: EndpointInfo | undefined;
  readonly syncModes?: readonly SyncMode[] | undefined;
  /** Paths that {@link FakeJobSource.validate} takes for existing files, with their sizes in bytes. */
  readonly files?: ReadonlyMap<string, number> | undefined;
  /** Time between two steps of the simulation. Default 100 ms. */
  readonly stepMs?: number | undefined;
}

/**
 * A job source with scripted jobs and no I/O: for tests, screenshots and demonstrations. It obeys the verb and
 * transition tables, keeps the promise that verbs take effect later than they are accepted, and moves only when its
 * clock does.
 */
export class FakeJobSource implements JobSource {
  endpoint: EndpointInfo;
  readonly syncModes: readonly SyncMode[];
  /** Every verb that was accepted, oldest first: `["cancel", "vm-disk", {force: true}]`. */
  readonly accepted: (readonly [verb: JobVerb | "start", id: string, detail?: unknown])[] = [];
  /** When set, the next verb rejects with this error, once. */
  refuseNext: Error | undefined;

  readonly #clock: Clock;
  readonly #stepMs: number;
  readonly #files: ReadonlyMap<string, number>;
  readonly #jobs = new Map<string, FakeJob>();
  readonly #listeners = new Set<(event: JobSourceEvent) => void>();
  #stop: (() => void) | undefined;
  #lastReportMs: number;
  #silent = false;

  constructor(options: FakeJobSourceOptions) {
    this.#clock = options.clock;
    this.#stepMs = options.stepMs ?? 100;
    this.#files = options.files ?? new Map();
    this.#lastReportMs = this.#clock.now();
    this.syncModes = options.syncModes ?? ["full", "top", "none"];
    this.endpoint = options.endpoint ?? { name: "embedded", kind: "embedded", state: "connected" };
    this.#scheduleStep();
  }

  /** Ends the simulation; the jobs stay as they are. */
  close(): void {
    this.#stop?.();
    this.#stop = undefined;
  }

  /** Adds a job. @throws RangeError when the id is taken. */
  add(script: FakeJobScript): void {
    if (this.#jobs.has(script.id)) throw new RangeError(`there is a job "${script.id}" already`);
    const job = new FakeJob(script, this.#clock.now(), (body) => {
      this.#emit(body);
    });
    this.#jobs.set(script.id, job);
    this.#notify({ event: "changed" });
  }

  /** Takes a job away without any event but `changed`, as a daemon does that forgets it. */
  remove(id: string): void {
    this.#jobs.delete(id);
    this.#notify({ event: "changed" });
  }

  /** A silent endpoint keeps its last snapshots: rows go stale. */
  setSilent(silent: boolean): void {
    this.#silent = silent;
  }

  list(): readonly JobSnapshot[] {
    if (!this.#silent) this.#lastReportMs = this.#clock.now();
    return Array.from(this.#jobs.values(), (job) => job.snapshot(this.endpoint.name, this.#lastReportMs));
  }

  subscribe(listener: (event: JobSourceEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  can(id: string, verb: JobVerb): VerbPermission {
    return verbPermission(this.#jobs.get(id)?.snapshot(this.endpoint.name, 0), verb);
  }

  async pause(id: string): Promise<void> {
    this.#accept(id, "pause").userPaused = true;
  }

  async resume(id: string): Promise<void> {
    const job = this.#accept(id, "resume");
    job.userPaused = false;
    job.clearIoStatus();
  }

  async setSpeed(id: string, bytesPerSec: number): Promise<void> {
    this.#accept(id, "set-speed", bytesPerSec).speed = bytesPerSec;
  }

  async complete(id: string): Promise<void> {
    this.#accept(id, "complete").completeRequested = true;
  }

  async cancel(id: string, options: { readonly force: boolean }): Promise<void> {
    this.#accept(id, "cancel", options).cancelRequested = options.force ? "force" : "soft";
  }

  async finalize(id: string): Promise<void> {
    this.#accept(id, "finalize").finalizeRequested = true;
  }

  async dismiss(id: string): Promise<void> {
    this.#accept(id, "dismiss");
    this.#jobs.delete(id);
    this.#emit({ event: "JOB_STATUS_CHANGE", data: { id, status: "null" } });
  }

  map(id: string, cellCount: number, into?: JobMap): JobMap | undefined {
    const job = this.#jobs.get(id);
    if (job === undefined) return undefined;
    const map = into?.cellCount === cellCount ? into : createJobMap(cellCount);
    job.fillMap(map);
    return map;
  }

  async suggest(typed: string, purpose: PathPurpose): Promise<string | undefined> {
    if (typed === "" || purpose === "place") return undefined;
    const found = [...this.#files.keys()].find((file) => file.startsWith(typed) && file !== typed);
    return found?.slice(typed.length);
  }

  async validate(request: NewJobRequest): Promise<NewJobReview> {
    const problems: NewJobProblem[] = [];
    const size = this.#files.get(request.sourcePath);
    if (size === undefined) {
      problems.push({ field: "sourcePath", message: "no such file; check the path" });
    }
    const targetSize = this.#files.get(request.targetPath);
    if (request.existing && targetSize === undefined) {
      problems.push({ field: "targetPath", message: 'no such file; set "existing" to no to create it' });
    }
    if (!request.existing && targetSize !== undefined) {
      problems.push({ field: "targetPath", message: 'file exists; set "existing" to yes to overwrite it' });
    }
    if (this.#jobs.has(request.id)) {
      problems.push({ field: "id", message: "a job of this name exists; choose another" });
    }
    if (problems.length > 0 || !request.existing) return { problems };
    return { problems, destroys: { target: request.targetPath, size: targetSize } };
  }

  async start(request: NewJobRequest): Promise<string> {
    this.#throwIfRefused();
    this.accepted.push(["start", request.id, request]);
    const size = this.#files.get(request.sourcePath) ?? 2 ** 30;
    this.add({
      id: request.id,
      size,
      copyRateBytesPerSec: 200 * 2 ** 20,
      speed: request.speed,
      granularity: request.granularity,
      source: { name: "source", driver: "file", size, filename: request.sourcePath },
      target: { name: "target", driver: "file", size, filename: request.targetPath },
    });
    return request.id;
  }

  #accept(id: string, verb: JobVerb, detail?: unknown): FakeJob {
    this.#throwIfRefused();
    const job = this.#jobs.get(id);
    const permission = this.can(id, verb);
    if (job === undefined || !permission.allowed) {
      throw new Error(permission.allowed ? `no job "${id}"` : permission.reason);
    }
    this.accepted.push(detail === undefined ? [verb, id] : [verb, id, detail]);
    this.#notify({ event: "changed" });
    return job;
  }

  #throwIfRefused(): void {
    const refusal = this.refuseNext;
    this.refuseNext = undefined;
    if (refusal !== undefined) throw refusal;
  }

  #scheduleStep(): void {
    this.#stop = this.#clock.schedule(this.#stepMs, () => {
      for (const job of this.#jobs.values()) job.simulate(this.#stepMs);
      for (const [id, job] of this.#jobs) {
        if (!job.isLive && job.script.autoDismiss === true) {
          this.#jobs.delete(id);
          this.#emit({ event: "JOB_STATUS_CHANGE", data: { id, status: "null" } });
        }
      }
      if (this.#jobs.size > 0) this.#notify({ event: "changed" });
      this.#scheduleStep();
    });
  }

  #emit(body: JobEventBody): void {
    const nowMs = this.#clock.now();
    const timestamp = { seconds: Math.floor(nowMs / 1000), microseconds: (nowMs % 1000) * 1000 };
    this.#notify({ ...body, timestamp });
  }

  #notify(event: JobSourceEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
