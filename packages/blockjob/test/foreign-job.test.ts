import { FakeClock } from "@blockmirror/ratelimit";
import { describe, expect, it } from "vitest";
import { type ErrorPolicy, type JobControl, type JobDriver, JobManager } from "../src/index.ts";

/** The little of a disk that the job below needs. */
interface Disk {
  readonly size: number;
  /** Resolves to whether the chunk is good; rejects on I/O errors. */
  verify(offset: number, length: number): Promise<boolean>;
}

interface ScrubDetails {
  readonly bad: readonly number[];
}

/**
 * A job type written with nothing but the public exports: reads a whole disk and notes the bad chunks. Not a copy job, has
 * no READY, and keeps several operations in flight.
 */
class ScrubJob implements JobDriver<ScrubDetails> {
  static readonly CHUNK = 65_536;
  static readonly IN_FLIGHT = 4;

  readonly type = "scrub";
  readonly #disk: Disk;
  readonly #onError: ErrorPolicy;
  readonly #bad: number[] = [];
  readonly #inFlight = new Set<Promise<void>>();
  readonly #again: number[] = [];
  #next = 0;
  #failure: unknown;
  released = false;

  constructor(disk: Disk, onError: ErrorPolicy) {
    this.#disk = disk;
    this.#onError = onError;
  }

  async run(job: JobControl): Promise<void> {
    job.setProgress(0, this.#disk.size);
    while (job.offset < this.#disk.size && !job.isForceCancelled && this.#failure === undefined) {
      const offset = this.#again[0] ?? this.#next;
      const mayStart = offset < this.#disk.size && this.#inFlight.size < ScrubJob.IN_FLIGHT;
      if (mayStart && job.limitDelayMs === 0) this.#start(job, offset);
      else if (this.#inFlight.size > 0) await Promise.race(this.#inFlight);
      else await job.sleepForLimit();
      await job.pausePoint();
    }
    await this.pause();
    if (this.#failure !== undefined) throw this.#failure;
  }

  async pause(): Promise<void> {
    await Promise.all(this.#inFlight);
  }

  clean(): void {
    this.released = true;
  }

  details(): ScrubDetails {
    return { bad: this.#bad };
  }

  #start(job: JobControl, offset: number): void {
    if (this.#again.shift() === undefined) this.#next += ScrubJob.CHUNK;
    const length = Math.min(ScrubJob.CHUNK, this.#disk.size - offset);
    job.charge(length);
    const operation = this.#verify(job, offset, length).finally(() => this.#inFlight.delete(operation));
    this.#inFlight.add(operation);
  }

  async #verify(job: JobControl, offset: number, length: number): Promise<void> {
    try {
      if (!(await this.#disk.verify(offset, length))) this.#bad.push(offset);
      job.setProgress(job.offset + length, this.#disk.size);
    } catch (error) {
      const action = job.handleError(error, { operation: "read", policy: this.#onError });
      if (action === "report") this.#failure ??= error;
      else this.#again.push(offset);
    }
  }
}

/** A disk with bad chunks, latency, and reads that fail as often as told. */
class SlowDisk implements Disk {
  readonly size = 40 * ScrubJob.CHUNK + 1000;
  readonly #clock: FakeClock;
  failures = 0;
  inFlight = 0;

  constructor(clock: FakeClock) {
    this.#clock = clock;
  }

  async verify(offset: number, length: number): Promise<boolean> {
    expect(offset + length).toBeLessThanOrEqual(this.size);
    this.inFlight += 1;
    await new Promise<void>((resolve) => {
      this.#clock.schedule(3, resolve);
    });
    this.inFlight -= 1;
    if (offset === 10 * ScrubJob.CHUNK && this.failures > 0) {
      this.failures -= 1;
      throw Object.assign(new Error("medium error"), { code: "EIO" });
    }
    return offset !== 5 * ScrubJob.CHUNK && offset !== 40 * ScrubJob.CHUNK;
  }
}

function startScrub(
  onError: ErrorPolicy,
  options: { readonly speed?: number; readonly failures?: number } = {},
) {
  const clock = new FakeClock();
  const manager = new JobManager({ clock });
  const disk = new SlowDisk(clock);
  disk.failures = options.failures ?? 0;
  const driver = new ScrubJob(disk, onError);
  const job = manager.create(driver, { id: "scrub0", speed: options.speed ?? 0, autoDismiss: false });
  job.start();
  return { clock, disk, driver, job };
}

describe("a job type of one's own", () => {
  it("runs to its end and tells its findings", async () => {
    const { clock, disk, driver, job } = startScrub("report");
    expect(await clock.run(job.done)).toEqual({ outcome: "completed" });
    const { details, offset, length, type } = job.snapshot();
    expect({ type, offset, length }).toEqual({ type: "scrub", offset: disk.size, length: disk.size });
    expect(details?.bad).toEqual([5 * ScrubJob.CHUNK, 40 * ScrubJob.CHUNK]);
    expect(driver.released).toBe(true);
  });

  it("is paused with nothing in flight", async () => {
    const { clock, disk, job } = startScrub("report");
    await clock.advance(4);
    expect(disk.inFlight).toBeGreaterThan(1);
    await clock.run(Promise.resolve(job.drainBegin()));
    expect(disk.inFlight).toBe(0);
    expect(job.status).toBe("paused");
    await clock.advance(1000);
    expect(disk.inFlight).toBe(0);
    job.drainEnd();
    expect((await clock.run(job.done)).outcome).toBe("completed");
  });

  it("stops on an error and goes on after resume", async () => {
    const { clock, job } = startScrub("stop", { failures: 1 });
    await clock.advance(1000);
    expect(job.snapshot()).toMatchObject({ status: "paused", ioStatus: "failed", errorCounts: { read: 1 } });
    job.resume();
    expect((await clock.run(job.done)).outcome).toBe("completed");
    expect(job.snapshot()).toMatchObject({ offset: job.snapshot().length, ioStatus: "ok" });
  });

  it("fails on an error that is to be reported", async () => {
    const { clock, disk, job } = startScrub("report", { failures: 1 });
    expect(await clock.run(job.done)).toMatchObject({ outcome: "failed", error: { code: "EIO" } });
    expect(disk.inFlight).toBe(0);
  });

  it("retries an error that is to be ignored", async () => {
    const { clock, job } = startScrub("ignore", { failures: 3 });
    expect((await clock.run(job.done)).outcome).toBe("completed");
    expect(job.snapshot().errorCounts.read).toBe(3);
  });

  it("keeps to its speed", async () => {
    const { clock, disk, job } = startScrub("report", { speed: 500_000 });
    await clock.run(job.done);
    expect(clock.now()).toBeGreaterThan((disk.size / 500_000) * 1000 * 0.9);
    expect(clock.now()).toBeLessThan((disk.size / 500_000) * 1000 * 1.1);
  });

  it("is cancelled by force, having no say, with nothing left in flight", async () => {
    const { clock, disk, job, driver } = startScrub("report");
    await clock.advance(4);
    job.cancel();
    expect((await clock.run(job.done)).outcome).toBe("cancelled");
    expect([disk.inFlight, driver.released]).toEqual([0, true]);
  });
});
