import { describe, expect, it } from "vitest";
import { Bench, createGate } from "./harness.ts";

describe("pause", () => {
  it("parks the job at its next pause point, and resume brings it back to where it was", async () => {
    const bench = new Bench();
    const { job, driver } = bench.start();
    await bench.clock.advance(5);
    job.pause();
    // Asked for, not yet there.
    expect(job.snapshot()).toMatchObject({ status: "running", paused: true, userPaused: true });
    await bench.clock.settle();
    expect(job.snapshot()).toMatchObject({ status: "paused", paused: true, userPaused: true, busy: false });
    const { passes } = driver;
    await bench.clock.advance(1000);
    expect(driver.passes).toBe(passes);
    job.resume();
    await bench.clock.settle();
    expect(job.snapshot()).toMatchObject({ status: "running", paused: false, userPaused: false });
    expect(driver.passes).toBeGreaterThan(passes);
    expect(driver.calls).toEqual(["run", "pause", "userResume", "resume"]);
  });

  it("of a ready job is STANDBY, and back", async () => {
    const bench = new Bench();
    const { job } = await bench.jobIn("standby");
    expect(job.snapshot()).toMatchObject({ ready: true, paused: true });
    job.resume();
    await bench.clock.settle();
    expect(job.status).toBe("ready");
    expect(bench.story()).toEqual(["created", "running", "ready", "BLOCK_JOB_READY", "standby", "ready"]);
  });

  it("before the start parks the job at once, before its first step", async () => {
    const bench = new Bench();
    const { job, driver } = bench.create();
    job.pause();
    job.start();
    await bench.clock.advance(100);
    expect(bench.story()).toEqual(["created", "running", "paused"]);
    expect(driver.calls).toEqual(["pause"]);
    job.resume();
    await bench.clock.settle();
    expect(driver.calls).toEqual(["pause", "userResume", "resume", "run"]);
  });

  it("a created job counts as paused", () => {
    const { job } = new Bench().create();
    expect(job.snapshot()).toMatchObject({ paused: true, userPaused: false, busy: false });
  });

  it("waits for the driver's I/O before the job shows as paused", async () => {
    const bench = new Bench();
    const { job, driver } = bench.start();
    const inFlight = createGate();
    driver.pause = () => inFlight.promise;
    job.pause();
    await bench.clock.advance(100);
    expect(job.status).toBe("running");
    inFlight.open();
    await bench.clock.settle();
    expect(job.status).toBe("paused");
  });

  it("whose reason goes while the driver waits for its I/O never shows", async () => {
    const bench = new Bench();
    const { job, driver } = bench.start();
    const inFlight = createGate();
    driver.pause = () => inFlight.promise;
    job.pause();
    await bench.clock.settle();
    job.resume();
    inFlight.open();
    await bench.clock.advance(20);
    expect(bench.story()).toEqual(["created", "running"]);
    expect(driver.passes).toBeGreaterThan(1);
  });

  it("loses against a force-cancel while the driver waits for its I/O", async () => {
    const bench = new Bench();
    const { job, driver } = bench.start();
    const inFlight = createGate();
    driver.pause = () => inFlight.promise;
    job.pause();
    await bench.clock.settle();
    job.cancel({ force: true });
    inFlight.open();
    await bench.clock.run(job.done);
    expect(bench.story()).not.toContain("paused");
  });

  it("and resume at once leave a sleeping job at most woken early", async () => {
    const bench = new Bench();
    const { job } = bench.start();
    job.pause();
    job.resume();
    await bench.clock.advance(20);
    expect(bench.story()).toEqual(["created", "running"]);
  });

  it("that a failing pause hook prevents fails the job", async () => {
    const bench = new Bench();
    const { job, driver } = bench.start();
    const error = new Error("cannot be quiet");
    driver.pause = () => Promise.reject(error);
    job.pause();
    expect(await bench.clock.run(job.done)).toEqual({ outcome: "failed", error });
  });

  it("is not lifted by kicks, speed changes or a completion", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("standby");
    driver.control?.kick();
    job.setSpeed(1000);
    job.setSpeed(0);
    await job.complete();
    await bench.clock.advance(1000);
    expect(job.status).toBe("standby");
  });

  it("that run does not pass a pause point for is forgotten with its end", async () => {
    const bench = new Bench();
    const gate = createGate();
    const job = bench.manager.create(
      { type: "deaf", run: () => gate.promise },
      { id: "deaf", autoFinalize: false },
    );
    job.start();
    job.pause();
    expect(job.snapshot().userPaused).toBe(true);
    gate.open();
    await bench.clock.settle();
    expect(job.snapshot()).toMatchObject({ status: "pending", userPaused: false, paused: false });
  });

  it("wins against an end of run that was ordered and not begun", async () => {
    const bench = new Bench();
    const { job, driver } = bench.start({ autoFinalize: false });
    driver.orders.finish = true;
    driver.control?.kick();
    job.pause();
    await bench.clock.settle(5);
    // The pause won: run was in its sleep, which passes a pause point.
    expect(job.status).toBe("paused");
    job.resume();
    await bench.clock.settle(5);
    expect(job.snapshot()).toMatchObject({ status: "pending", userPaused: false, paused: false });
  });

  it("takes effect during progress of the clock only at sleeps and pause points", async () => {
    const bench = new Bench();
    const gate = createGate();
    const job = bench.manager.create(
      {
        type: "deaf",
        async run(control) {
          await gate.promise;
          await control.pausePoint();
        },
      },
      { id: "deaf" },
    );
    job.start();
    job.pause();
    await bench.clock.advance(1000);
    expect(job.status).toBe("running");
    gate.open();
    await bench.clock.settle();
    expect(job.status).toBe("paused");
    job.resume();
    await bench.clock.run(job.done);
  });
});

describe("a drained section", () => {
  it("parks the job, tells when it is quiet, and lets it go again", async () => {
    const bench = new Bench();
    const { job, driver } = bench.start();
    const inFlight = createGate();
    driver.pause = () => inFlight.promise;
    let quiet = false;
    const waiting = Promise.resolve(job.drainBegin()).then(() => {
      quiet = true;
    });
    await bench.clock.advance(100);
    expect(quiet).toBe(false);
    inFlight.open();
    await waiting;
    expect(job.snapshot()).toMatchObject({ status: "paused", paused: true, userPaused: false });
    job.drainEnd();
    await bench.clock.settle();
    expect(job.status).toBe("running");
  });

  it("nests, with itself and with the user's pause", async () => {
    const bench = new Bench();
    const { job } = await bench.jobIn("running");
    await job.drainBegin();
    await job.drainBegin();
    job.pause();
    job.drainEnd();
    job.resume();
    await bench.clock.advance(100);
    expect(job.status).toBe("paused");
    job.pause();
    job.drainEnd();
    await bench.clock.advance(100);
    expect(job.status).toBe("paused");
    job.resume();
    await bench.clock.settle();
    expect(job.status).toBe("running");
  });

  it("of a READY job shows as STANDBY", async () => {
    const { job } = await new Bench().jobIn("ready");
    await job.drainBegin();
    expect(job.status).toBe("standby");
  });

  it.each(["created", "paused", "standby", "waiting", "pending", "concluded", "null"] as const)(
    "need not wait for a %s job",
    async (status) => {
      const { job } = await new Bench().jobIn(status);
      expect(job.drainBegin()).toBeUndefined();
      job.drainEnd();
    },
  );

  it("is not left waiting by a job that ends instead", async () => {
    const bench = new Bench();
    const gate = createGate();
    const job = bench.manager.create({ type: "short", run: () => gate.promise }, { id: "short" });
    job.start();
    const quiet = job.drainBegin();
    gate.open();
    await quiet;
    await bench.clock.run(job.done);
    job.drainEnd();
  });

  it("that ends early leaves nobody waiting", async () => {
    const bench = new Bench();
    const gate = createGate();
    const job = bench.manager.create({ type: "deaf", run: () => gate.promise }, { id: "deaf" });
    job.start();
    const quiet = job.drainBegin();
    job.drainEnd();
    await quiet;
    gate.open();
    await bench.clock.run(job.done);
  });

  it("that the job makes itself does not wait for the job", async () => {
    const bench = new Bench();
    const order: string[] = [];
    const job = bench.manager.create(
      {
        type: "drainer",
        async run(control) {
          await control.whileDraining(async () => {
            // What a graph does to the parents of the node that is drained.
            await job.drainBegin();
            order.push("drained");
          });
          job.drainEnd();
          await control.pausePoint();
          order.push("over");
        },
      },
      { id: "drainer" },
    );
    job.start();
    await bench.clock.run(job.done);
    expect(order).toEqual(["drained", "over"]);
    expect(bench.story()).not.toContain("paused");
  });

  it("that somebody else begins while the job drains is told of afterwards, and finds it parked in the end", async () => {
    const bench = new Bench();
    const gate = createGate();
    const seen: boolean[] = [];
    const job = bench.manager.create(
      {
        type: "drainer",
        async run(control) {
          await control.whileDraining(async () => {
            void job.drainBegin();
            await gate.promise;
          });
          seen.push(control.isHeldByOthers);
          job.drainEnd();
          await control.pausePoint();
          await control.whileDraining(async () => void job.drainBegin());
          seen.push(control.isHeldByOthers);
          job.drainEnd();
        },
      },
      { id: "drainer" },
    );
    job.start();
    await job.drainBegin();
    gate.open();
    await bench.clock.settle();
    expect([seen, job.status]).toEqual([[true], "paused"]);
    job.drainEnd();
    await bench.clock.run(job.done);
    expect(seen).toEqual([true, false]);
  });

  it("that the job makes itself ends with it, when it throws too", async () => {
    const bench = new Bench();
    const job = bench.manager.create(
      {
        type: "drainer",
        async run(control) {
          await expect(
            control.whileDraining(async () => {
              throw new Error("no");
            }),
          ).rejects.toThrow("no");
          while (!control.isForceCancelled) await control.sleep(10);
        },
      },
      { id: "drainer" },
    );
    job.start();
    await bench.clock.settle();
    const quiet = job.drainBegin();
    expect(quiet).toBeInstanceOf(Promise);
    await quiet;
    expect(job.status).toBe("paused");
  });

  it("cannot end before it began", () => {
    const { job } = new Bench().create();
    expect(() => {
      job.drainEnd();
    }).toThrow(TypeError);
  });

  it("between the end of a pause and the job's first step finds it parked", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("paused");
    const { passes } = driver;
    job.resume();
    expect(job.drainBegin()).toBeUndefined();
    await bench.clock.advance(100);
    expect(driver.passes).toBe(passes);
    expect(job.status).toBe("paused");
  });
});

describe("sleeps", () => {
  it("one at a time: a second sleeper is a mistake and told so", async () => {
    const bench = new Bench();
    const job = bench.manager.create(
      {
        type: "double",
        async run(control) {
          await Promise.all([control.sleep(10), control.sleep(10)]);
        },
      },
      { id: "double" },
    );
    job.start();
    expect((await bench.clock.run(job.done)).error).toBeInstanceOf(TypeError);
  });

  it.each([-1, NaN, Infinity])("of %d ms are refused", async (ms) => {
    const { driver } = await new Bench().jobIn("running");
    await expect(driver.control?.sleep(ms)).rejects.toThrow(RangeError);
  });

  it("are cut short by a kick, and return at once when force-cancelled", async () => {
    const bench = new Bench();
    const wokenAtMs: number[] = [];
    const job = bench.manager.create(
      {
        type: "sleeper",
        async run(control) {
          while (!control.isForceCancelled) {
            await control.sleep(1000);
            wokenAtMs.push(control.clock.now());
          }
          await control.sleep(1000);
          await control.sleepForLimit();
          wokenAtMs.push(control.clock.now());
        },
        details: () => undefined,
      },
      { id: "sleeper" },
    );
    job.start();
    await bench.clock.advance(1500);
    job.cancel();
    await bench.clock.run(job.done);
    expect(wokenAtMs).toEqual([1000, 1500, 1500]);
  });
});
