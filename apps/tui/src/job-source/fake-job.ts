import type {
  BlockJobEventData,
  JobError,
  JobEvent,
  JobIoStatus,
  JobMap,
  JobNode,
  JobPhase,
  JobSnapshot,
  JobStatus,
} from "./job-source.ts";

/** An I/O error that a fake job meets once its progress reaches `atShare`. */
export interface FakeJobFailure {
  /** Share of the disk copied (0..1) at which the error strikes. */
  readonly atShare: number;
  /** `stop` parks the job until resumed; `report` fails it. */
  readonly action: "stop" | "report";
  readonly operation?: "read" | "write" | undefined;
  readonly ioStatus?: Exclude<JobIoStatus, "ok"> | undefined;
  readonly error?: JobError | undefined;
}

/** What a fake job is and how it will behave. */
export interface FakeJobScript {
  readonly id: string;
  readonly type?: string | undefined;
  /** Size of the disk, bytes. */
  readonly size: number;
  readonly copyRateBytesPerSec: number;
  /** How fast a pretended writer dirties the disk. */
  readonly dirtyRateBytesPerSec?: number | undefined;
  /** Share of the disk (0..1) that is unallocated and skipped by the scan. */
  readonly sparseShare?: number | undefined;
  /** Share of the disk (0..1) already copied at the start. */
  readonly copiedShare?: number | undefined;
  readonly speed?: number | undefined;
  /** `created` stays there; anything else starts at once. */
  readonly start?: "created" | "running" | undefined;
  readonly autoFinalize?: boolean | undefined;
  readonly autoDismiss?: boolean | undefined;
  readonly failure?: FakeJobFailure | undefined;
  readonly granularity?: number | undefined;
  readonly copyMode?: "background" | "write-blocking" | undefined;
  readonly source?: JobNode | undefined;
  readonly target?: JobNode | undefined;
}

/** An event before it gets its timestamp. */
export type JobEventBody = JobEvent extends infer Event
  ? Event extends JobEvent
    ? Omit<Event, "timestamp">
    : never
  : never;

const RANGES = 1024;
const MAX_OPERATIONS = 16;

/** A linear congruential generator: tiny, seeded, good enough to scatter writes over a picture. */
function createRandom(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 0x1_0000_0000;
  };
}

function hash(text: string): number {
  let value = 2_166_136_261;
  for (let index = 0; index < text.length; index++) {
    value = Math.imul(value ^ text.charCodeAt(index), 16_777_619);
  }
  return value >>> 0;
}

/**
 * One pretended mirror job: a disk of {@link RANGES} ranges, a copier that sweeps over it and a writer that dirties it
 * again. It obeys the transition table; it does no I/O.
 */
export class FakeJob {
  readonly script: FakeJobScript;
  status: JobStatus = "created";
  speed: number;
  userPaused = false;
  cancelRequested: "none" | "soft" | "force" = "none";
  completeRequested = false;
  finalizeRequested = false;
  error: JobError | undefined;

  #dirty: Float32Array = new Float32Array(RANGES);
  #failed: Float32Array = new Float32Array(RANGES);
  #everCopied: Uint8Array = new Uint8Array(RANGES);
  #cursor = 0;
  #copied = 0;
  #recopied = 0;
  #skipped = 0;
  #written = 0;
  #ioStatus: JobIoStatus = "ok";
  #errorCount = 0;
  #failureLeft: boolean;
  #cancelled = false;
  #elapsedMs = 0;
  #pausedMs = 0;
  #copyRate = 0;
  readonly #startedAtMs: number;
  readonly #random: () => number;
  readonly #rangeBytes: number;
  readonly #emit: (body: JobEventBody) => void;

  constructor(script: FakeJobScript, startedAtMs: number, emit: (body: JobEventBody) => void) {
    this.script = script;
    this.speed = script.speed ?? 0;
    this.#startedAtMs = startedAtMs;
    this.#emit = emit;
    this.#random = createRandom(hash(script.id));
    this.#rangeBytes = script.size / RANGES;
    this.#failureLeft = script.failure !== undefined;
    const copied = Math.round(RANGES * (script.copiedShare ?? 0));
    for (let range = 0; range < RANGES; range++) {
      const sparse = this.#random() < (script.sparseShare ?? 0);
      if (sparse) this.#skipped += this.#rangeBytes;
      else if (range < copied) this.#copied += this.#rangeBytes;
      else this.#dirty[range] = 1;
      if (sparse || range < copied) this.#everCopied[range] = 1;
    }
    this.#cursor = copied % RANGES;
  }

  get isLive(): boolean {
    return this.status !== "concluded";
  }

  /** Bytes still to copy. */
  get dirtyBytes(): number {
    let sum = 0;
    for (const share of this.#dirty) sum += share;
    return sum * this.#rangeBytes;
  }

  get ready(): boolean {
    return this.status === "ready" || this.status === "standby";
  }

  setStatus(status: JobStatus): void {
    if (this.status === status) return;
    this.status = status;
    this.#emit({ event: "JOB_STATUS_CHANGE", data: { id: this.script.id, status } });
  }

  /** Resets the I/O status, as resuming does. */
  clearIoStatus(): void {
    this.#ioStatus = "ok";
    this.#failed.fill(0);
  }

  /** Lets `ms` milliseconds pass. At most one transition happens per call. */
  simulate(ms: number): void {
    if (!this.isLive) return;
    this.#elapsedMs += ms;
    if (this.status === "paused" || this.status === "standby") this.#pausedMs += ms;
    this.#writeGuestData(ms);
    if (this.#transition()) return;
    if (this.status === "running" || this.status === "ready") this.#copy(ms);
    else this.#copyRate = 0;
    if (this.status === "running" && this.dirtyBytes < 1) {
      this.setStatus("ready");
      this.#emit({ event: "BLOCK_JOB_READY", data: this.#eventData() });
    }
  }

  #transition(): boolean {
    const before = this.status;
    if (this.cancelRequested !== "none" && before !== "aborting") this.#cancelStep();
    else if (before === "created" && this.script.start !== "created") this.setStatus("running");
    else if (before === "running" && this.userPaused) this.setStatus("paused");
    else if (before === "ready" && this.userPaused) this.setStatus("standby");
    else if (before === "paused" && !this.userPaused) this.setStatus("running");
    else if (before === "standby" && !this.userPaused) this.setStatus("ready");
    else if (this.completeRequested && before === "ready") this.setStatus("waiting");
    else if (before === "waiting") this.#enterPending();
    else if (before === "pending" && (this.script.autoFinalize !== false || this.finalizeRequested)) {
      this.#conclude();
    } else if (before === "aborting") this.#conclude();
    return this.status !== before;
  }

  #cancelStep(): void {
    const soft = this.cancelRequested === "soft" && this.ready;
    this.userPaused = false;
    if (this.status === "paused") this.setStatus("running");
    else if (this.status === "standby") this.setStatus("ready");
    else if (soft) {
      this.cancelRequested = "none";
      this.setStatus("waiting");
    } else if (this.cancelRequested === "soft" && (this.status === "waiting" || this.status === "pending")) {
      // The work is done already: a soft cancel comes too late.
      this.cancelRequested = "none";
    } else {
      this.#cancelled = true;
      this.setStatus("aborting");
    }
  }

  #enterPending(): void {
    this.setStatus("pending");
    if (this.script.autoFinalize === false) {
      this.#emit({ event: "BLOCK_JOB_PENDING", data: { type: this.type, id: this.script.id } });
    }
  }

  #conclude(): void {
    if (this.#cancelled) this.#emit({ event: "BLOCK_JOB_CANCELLED", data: this.#eventData() });
    else this.#emit({ event: "BLOCK_JOB_COMPLETED", data: this.#eventData() });
    this.#copyRate = 0;
    this.setStatus("concluded");
  }

  get type(): string {
    return this.script.type ?? "mirror";
  }

  #eventData(): BlockJobEventData {
    return {
      type: this.type,
      device: this.script.id,
      len: this.length,
      offset: this.offset,
      speed: this.speed,
      ...(this.error === undefined ? {} : { error: this.error.message }),
    };
  }

  get length(): number {
    return Math.round(this.script.size + this.#written);
  }

  get offset(): number {
    return Math.max(0, Math.round(this.length - this.dirtyBytes));
  }

  #writeGuestData(ms: number): void {
    const rate = this.script.dirtyRateBytesPerSec ?? 0;
    if (rate === 0 || this.status === "waiting" || this.status === "pending" || this.status === "aborting")
      return;
    let budget = (rate * ms) / 1000;
    while (budget > 0) {
      // Writers have favourites: most writes land near the first third of the disk.
      const position =
        this.#random() < 0.7 ? (this.#random() + this.#random() + this.#random()) / 6 : this.#random();
      const range = Math.min(RANGES - 1, Math.floor(position * RANGES));
      const amount = Math.min(budget, this.#rangeBytes / 8);
      budget -= amount;
      const before = this.#dirty[range] ?? 0;
      const after = Math.min(1, before + amount / this.#rangeBytes);
      this.#dirty[range] = after;
      if (this.#everCopied[range] === 1) this.#written += (after - before) * this.#rangeBytes;
    }
  }

  #copy(ms: number): void {
    if (this.#ioStatus !== "ok") return;
    const wanted = this.speed === 0 ? Infinity : this.speed;
    // A little unevenness, as on real disks.
    const rate = Math.min(wanted, this.script.copyRateBytesPerSec * (0.85 + 0.3 * this.#random()));
    let budget = (rate * ms) / 1000;
    let moved = 0;
    for (let visited = 0; budget > 0 && visited < RANGES; visited++) {
      const range = this.#cursor;
      const dirty = this.#dirty[range] ?? 0;
      if (dirty > 0) {
        if (this.#strike(range)) break;
        const amount = Math.min(budget, dirty * this.#rangeBytes);
        const left = dirty - amount / this.#rangeBytes;
        this.#dirty[range] = left < 1e-6 ? 0 : left;
        budget -= amount;
        moved += amount;
        if (this.#everCopied[range] === 1) this.#recopied += amount;
        if (left >= 1e-6) break;
        this.#everCopied[range] = 1;
      }
      this.#cursor = (range + 1) % RANGES;
    }
    this.#copied += moved;
    const instant = (moved * 1000) / ms;
    this.#copyRate += (instant - this.#copyRate) * Math.min(1, ms / 2000);
  }

  #strike(range: number): boolean {
    const failure = this.script.failure;
    if (failure === undefined || !this.#failureLeft) return false;
    if (this.offset / this.length < failure.atShare) return false;
    this.#failureLeft = false;
    this.#errorCount++;
    this.#failed[range] = 1;
    this.#emit({
      event: "BLOCK_JOB_ERROR",
      data: {
        device: this.script.id,
        operation: failure.operation ?? "write",
        action: failure.action,
      },
    });
    if (failure.action === "stop") {
      this.#ioStatus = failure.ioStatus ?? "failed";
      this.userPaused = true;
    } else {
      this.error = failure.error ?? { code: "EIO", message: "Input/output error" };
      this.setStatus("aborting");
    }
    return true;
  }

  get #phase(): JobPhase {
    if (this.ready) return "ready";
    if (this.status === "waiting" || this.status === "pending") return "switch";
    if (this.status === "created") return "scan";
    return this.#recopied > 0 ? "converge" : "copy";
  }

  /** The job as of `nowMs`. */
  snapshot(endpoint: string, nowMs: number): JobSnapshot {
    const dirtyBytes = Math.round(this.dirtyBytes);
    const moving = (this.status === "running" || this.status === "ready") && this.#ioStatus === "ok";
    const inFlightBytes = moving ? Math.min(dirtyBytes, MAX_OPERATIONS * 2 ** 20) : 0;
    const rate = this.#copyRate;
    const dirtyRate = this.script.dirtyRateBytesPerSec ?? 0;
    const closing = rate - dirtyRate;
    return {
      id: this.script.id,
      type: this.type,
      status: this.status,
      endpoint,
      offset: this.offset,
      length: this.length,
      speed: this.speed,
      ioStatus: this.#ioStatus,
      errorCount: this.#errorCount,
      error: this.error,
      cancelled: this.#cancelled,
      paused: this.userPaused || this.status === "created",
      userPaused: this.userPaused,
      busy: moving,
      ready: this.ready,
      autoFinalize: this.script.autoFinalize ?? true,
      autoDismiss: this.script.autoDismiss ?? false,
      phase: this.#phase,
      bytesCopied: Math.round(this.#copied),
      bytesSkipped: Math.round(this.#skipped),
      bytesRecopied: Math.round(this.#recopied),
      dirtyBytes,
      inFlightBytes,
      inFlightOperations: Math.ceil(inFlightBytes / 2 ** 20),
      maxInFlightOperations: MAX_OPERATIONS,
      copyRateBytesPerSec: rate,
      dirtyRateBytesPerSec: dirtyRate,
      etaSec: rate === 0 ? undefined : closing <= 0 ? "never" : dirtyBytes / closing,
      copyMode: this.script.copyMode ?? "background",
      activelySynced: this.script.copyMode === "write-blocking" && this.ready,
      granularity: this.script.granularity ?? 65_536,
      source: this.script.source,
      target: this.script.target,
      onSourceError: "report",
      onTargetError: this.script.failure?.action === "stop" ? "stop" : "report",
      startedAtMs: this.#startedAtMs,
      elapsedMs: this.#elapsedMs,
      pausedMs: this.#pausedMs,
      updatedAtMs: nowMs,
    };
  }

  /** Fills `map` with the present picture of the disk. */
  fillMap(map: JobMap): void {
    const rangesPerCell = RANGES / map.cellCount;
    const moving = this.status === "running" || this.status === "ready";
    for (let cell = 0; cell < map.cellCount; cell++) {
      const from = Math.floor(cell * rangesPerCell);
      const until = Math.max(from + 1, Math.floor((cell + 1) * rangesPerCell));
      let dirty = 0;
      let failed = 0;
      let inFlight = 0;
      for (let range = from; range < until; range++) {
        const share = this.#dirty[range] ?? 0;
        dirty += share;
        failed += this.#failed[range] ?? 0;
        const ahead = (range - this.#cursor + RANGES) % RANGES;
        if (moving && share > 0 && ahead < 4) inFlight++;
      }
      const count = until - from;
      map.dirty[cell] = dirty / count;
      map.copied[cell] = 1 - dirty / count;
      map.failed[cell] = failed / count;
      map.inFlight[cell] = inFlight / count;
    }
  }
}
