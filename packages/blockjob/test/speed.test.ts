import { SharedRateLimit } from "@blockmirror/ratelimit";
import { describe, expect, it } from "vitest";
import { type JobControl, type JobDriver, JobManager, type JobOptions } from "../src/index.ts";
import { Bench } from "./harness.ts";

/** Charges once, sleeps for the limit, and notes when it could go on. */
function chargeOnce(bytes: number): { readonly driver: JobDriver; readonly wokenAtMs: number[] } {
  const wokenAtMs: number[] = [];
  const driver: JobDriver = {
    type: "charge",
    async run(job) {
      job.charge(bytes);
      await job.sleepForLimit();
      wokenAtMs.push(job.clock.now());
    },
  };
  return { driver, wokenAtMs };
}

/** Copies as fast as its limits let it, READY from the start when told to. */
class Copier implements JobDriver {
  readonly type = "copier";
  readonly #readyFirst: boolean;
  bytes = 0;

  constructor(readyFirst: boolean) {
    this.#readyFirst = readyFirst;
  }

  async run(job: JobControl): Promise<void> {
    if (this.#readyFirst) job.transitionToReady();
    while (!job.isForceCancelled) {
      if (job.limitDelayMs === 0) {
        this.bytes += 65_536;
        job.charge(65_536);
      }
      await job.sleepForLimit();
    }
  }
}

function startCharge(bench: Bench, bytes: number, options: JobOptions) {
  const { driver, wokenAtMs } = chargeOnce(bytes);
  const job = bench.manager.create(driver, { id: "job0", ...options });
  job.start();
  return { job, wokenAtMs };
}

describe("the speed limit", () => {
  it("makes the job sleep as long as its bytes take", async () => {
    const bench = new Bench();
    const { job, wokenAtMs } = startCharge(bench, 10_000, { speed: 1000 });
    expect(job.snapshot()).toMatchObject({ busy: false, speed: 1000 });
    await bench.clock.run(job.done);
    expect(wokenAtMs).toEqual([10_000]);
  });

  it("makes it sleep no longer than the driver wants to, which is asked whenever the job is woken", async () => {
    const bench = new Bench();
    const state = { isOver: false, wokenAtMs: -1 };
    const job = bench.manager.create(
      {
        type: "impatient",
        async run(control) {
          control.charge(10_000);
          await control.sleepForLimit(() => state.isOver);
          state.wokenAtMs = control.clock.now();
        },
      },
      { id: "impatient", speed: 1000 },
    );
    job.start();
    await bench.clock.advance(100);
    job.pause();
    job.resume();
    await bench.clock.advance(100);
    expect(state.wokenAtMs).toBe(-1);
    state.isOver = true;
    job.pause();
    job.resume();
    await bench.clock.run(job.done);
    expect(state.wokenAtMs).toBe(200);
  });

  it("of 0 is none: one sleep of no length", async () => {
    const bench = new Bench();
    const { job, wokenAtMs } = startCharge(bench, 2 ** 40, {});
    expect(wokenAtMs).toEqual([]);
    expect(bench.clock.nextTimerMs).toBe(0);
    await bench.clock.run(job.done);
    expect(wokenAtMs).toEqual([0]);
  });

  it.each([
    ["raised", 2000, 5000],
    ["taken away", 0, 1000],
    ["cut", 500, 20_000],
  ] as const)("%s to %d while the job sleeps applies to that sleep", async (_name, speed, expectedMs) => {
    const bench = new Bench();
    const { job, wokenAtMs } = startCharge(bench, 10_000, { speed: 1000 });
    await bench.clock.advance(1000);
    job.setSpeed(speed);
    await bench.clock.run(job.done);
    expect(wokenAtMs).toEqual([expectedMs]);
  });

  it("a raise does not cut other sleeps' pauses, and a cut does not wake", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("running");
    const { passes } = driver;
    job.setSpeed(5000);
    await bench.clock.settle();
    // Kicked: unlimited to limited counts as a change worth looking at.
    expect(driver.passes).toBe(passes + 1);
    job.setSpeed(4000);
    await bench.clock.settle();
    expect(driver.passes).toBe(passes + 1);
    job.setSpeed(6000);
    await bench.clock.settle();
    expect(driver.passes).toBe(passes + 2);
    expect(driver.calls).toEqual(["run", "setSpeed(5000)", "setSpeed(4000)", "setSpeed(6000)"]);
  });

  it("lets a pause through at once, and what is left of the sleep follows it", async () => {
    const bench = new Bench();
    const { job, wokenAtMs } = startCharge(bench, 10_000, { speed: 1000 });
    await bench.clock.advance(2000);
    job.pause();
    await bench.clock.settle();
    expect(job.status).toBe("paused");
    await bench.clock.advance(3000);
    job.resume();
    await bench.clock.settle();
    expect(job.status).toBe("running");
    expect(wokenAtMs).toEqual([]);
    await bench.clock.run(job.done);
    expect(wokenAtMs).toEqual([10_000]);
  });

  it("does not make a job that was paused through its debt wait again", async () => {
    const bench = new Bench();
    const { job, wokenAtMs } = startCharge(bench, 10_000, { speed: 1000 });
    job.pause();
    await bench.clock.advance(60_000);
    job.resume();
    await bench.clock.run(job.done);
    expect(wokenAtMs).toEqual([60_000]);
  });

  it("is not cut short by resume when the pause had not been reached", async () => {
    const bench = new Bench();
    const { job, wokenAtMs } = startCharge(bench, 10_000, { speed: 1000 });
    await bench.clock.advance(1000);
    job.pause();
    job.resume();
    await bench.clock.run(job.done);
    expect(wokenAtMs).toEqual([10_000]);
  });

  it("ends for a force-cancel", async () => {
    const bench = new Bench();
    const { job, wokenAtMs } = startCharge(bench, 10_000, { speed: 1 });
    await bench.clock.advance(50);
    job.cancel({ force: true });
    await bench.clock.run(job.done);
    expect(wokenAtMs).toEqual([50]);
  });

  it.each([false, true])("holds over many slices, READY: %s", async (readyFirst) => {
    const bench = new Bench();
    const copier = new Copier(readyFirst);
    const job = bench.manager.create(copier, { id: "copier", speed: 1_000_000 });
    job.start();
    await bench.clock.advance(20_000);
    expect(job.status).toBe(readyFirst ? "ready" : "running");
    expect(Math.abs(copier.bytes / 20_000_000 - 1)).toBeLessThan(0.03);
    job.cancel({ force: true });
    await bench.clock.run(job.done);
  });

  it("is refused when negative at creation, before anything exists", () => {
    const bench = new Bench();
    expect(() => bench.create({ speed: -1 })).toThrow(
      expect.objectContaining({ code: "JOB_INVALID_PARAMETER" }),
    );
    expect(bench.manager.list()).toEqual([]);
    expect(bench.events).toEqual([]);
  });
});

describe("a shared limit", () => {
  it("holds for jobs together, besides their own, and is left at the end", async () => {
    const bench = new Bench();
    const sharedLimit = new SharedRateLimit({ speed: 1_000_000, clock: bench.clock });
    const manager = new JobManager({ clock: bench.clock, sharedLimit });
    const copiers = [new Copier(false), new Copier(false), new Copier(false)] as const;
    const jobs = copiers.map((copier, i) =>
      manager.create(copier, { id: `copier${i}`, speed: i === 0 ? 100_000 : 0 }),
    );
    expect(sharedLimit.memberCount).toBe(3);
    for (const job of jobs) job.start();
    await bench.clock.advance(20_000);
    const total = copiers.reduce((sum, copier) => sum + copier.bytes, 0);
    expect(Math.abs(total / 20_000_000 - 1)).toBeLessThan(0.03);
    expect(copiers[0].bytes).toBeLessThan(2_200_000);
    await bench.clock.run(manager.close());
    expect(sharedLimit.memberCount).toBe(0);
  });

  it("wakes its sleeping jobs when it changes", async () => {
    const bench = new Bench();
    const sharedLimit = new SharedRateLimit({ speed: 1000, clock: bench.clock });
    const { job, wokenAtMs } = startCharge(bench, 10_000, { sharedLimit });
    await bench.clock.advance(2000);
    sharedLimit.setSpeed(0);
    await bench.clock.run(job.done);
    expect(wokenAtMs).toEqual([2000]);
  });

  it("of the manager can be declined, and is left by discarded jobs", () => {
    const bench = new Bench();
    const sharedLimit = new SharedRateLimit({ speed: 1000, clock: bench.clock });
    const manager = new JobManager({ clock: bench.clock, sharedLimit });
    const { driver } = chargeOnce(1);
    manager.create(driver, { id: "apart", sharedLimit: null });
    expect(sharedLimit.memberCount).toBe(0);
    manager.create(driver, { id: "member" }).discard();
    expect(sharedLimit.memberCount).toBe(0);
  });
});
