import type { JobControl } from "@blockmirror/blockjob";
import { Convergence } from "./convergence.ts";
import { CopyEngine } from "./copy-engine.ts";
import { Failures } from "./failures.ts";
import { GuestHold } from "./guest-hold.ts";
import { GuestReach } from "./guest-reach.ts";
import { GuestWrites } from "./guest-writes.ts";
import type { MirrorJobInit } from "./mirror-job-init.ts";
import { ProgressMeter } from "./progress-meter.ts";
import { Silence } from "./silence.ts";
import { TargetFlush } from "./target-flush.ts";
import { isTraced, trace } from "./tracing.ts";
import { ZeroMap } from "./zero-map.ts";

/** What a mirror job is made of, and who tells whom: the copy, the guests' writes, the errors of both, and what is known of them. */
export class MirrorParts {
  /** Bytes to keep equal. */
  readonly size: number;
  readonly zeroMap: ZeroMap;
  readonly failures: Failures;
  readonly silence: Silence = new Silence(() => this.nowMs);
  readonly flush: TargetFlush;
  readonly engine: CopyEngine;
  readonly meter: ProgressMeter;
  readonly guestWrites: GuestWrites;
  readonly convergence: Convergence;
  readonly hold: GuestHold;
  /** The job; undefined until it runs. */
  control: JobControl | undefined;

  /** @throws BlockError `EINVAL` when the buffer cannot be allocated. */
  constructor(init: MirrorJobInit) {
    const { id, graph, source, target, dirty, granularity, tuning, guestRequests } = init;
    const { size } = source.info;
    const { switchPauseMs } = tuning;
    const zeroMap = new ZeroMap(size, granularity);
    this.size = size;
    this.zeroMap = zeroMap;
    this.failures = new Failures({
      tuning,
      control: () => this.control,
      copiedBytes: () => this.engine.bytesCopied,
      onFatal: () => this.guestWrites.giveUp(),
    });
    this.flush = new TargetFlush(
      target,
      this.silence,
      () => {
        if (isTraced("before_flush")) trace("before_flush", { job: id });
      },
      (error) => this.failures.note("write", error),
    );
    this.engine = new CopyEngine({
      job: id,
      source,
      target,
      size,
      granularity,
      // No more than the disk has: memory that is never used still has to be found and cleared.
      bufferSize: Math.max(Math.min(tuning.bufferSize, size), granularity),
      dirty,
      zeroMap,
      silence: this.silence,
      detectZeroes: tuning.detectZeroes ?? source.info.can.status !== "exact",
      onError: (side, error) => this.failures.note(side, error),
      onEnd: () => this.control?.kick(),
      isOver: () => this.control?.isForceCancelled === true,
      onSubmit: (bytes) => {
        this.flush.noteWrite();
        this.control?.charge(bytes);
      },
    });
    const { engine } = this;
    const reach = new GuestReach(size, granularity);
    this.meter = new ProgressMeter(engine, dirty, reach, this.silence);
    this.guestWrites = new GuestWrites({
      target,
      size,
      granularity,
      dirty,
      zeroMap,
      engine,
      reach,
      silence: this.silence,
      wholeChunksOnly: init.wholeChunksOnly,
      follows: () => !this.failures.any && this.control?.isForceCancelled !== true,
      isTargetDrained: init.isTargetDrained,
      onError: (error) => {
        this.failures.note("write", error);
        this.control?.kick();
      },
      onWrite: () => this.flush.noteWrite(),
      onLeave: () => this.control?.kick(),
    });
    const convergence = new Convergence({
      engine,
      dirty,
      meter: this.meter,
      reach,
      switchPauseMs,
      guestRequests,
    });
    this.convergence = convergence;
    this.hold = new GuestHold({
      id,
      graph,
      source,
      dirty,
      engine,
      convergence,
      switchPauseMs,
      mayCopy: () => this.control !== undefined && this.#mayCopyHeld(this.control),
      hasFailed: () => this.failures.any,
      flush: () => this.flush.run(),
    });
  }

  /** The job's time in milliseconds; 0 before it runs. */
  get nowMs(): number {
    return this.control?.clock.now() ?? 0;
  }

  /** Nothing is submitted while the I/O status is not ok (mirror rule S18.1), or before the time of a retry. */
  mayCopy(job: JobControl): boolean {
    return !job.shouldPause && this.#mayCopyHeld(job);
  }

  /** The same while the job itself drains its source, which pauses everybody and must not pause it. */
  #mayCopyHeld(job: JobControl): boolean {
    if (this.failures.any || job.isForceCancelled || job.ioStatus !== "ok") return false;
    return !this.failures.delayRetry(job);
  }
}
