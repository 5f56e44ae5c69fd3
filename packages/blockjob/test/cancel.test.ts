import { describe, expect, it } from "vitest";
import { type JobControl, JobError } from "../src/index.ts";
import { Bench } from "./harness.ts";

describe("cancel", () => {
  it("before READY is a forced one when the driver says so", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("running");
    job.cancel();
    expect(await bench.clock.run(job.done)).toEqual({ outcome: "cancelled" });
    expect(bench.story()).toEqual([
      "created",
      "running",
      "aborting",
      "BLOCK_JOB_CANCELLED",
      "concluded",
      "null",
    ]);
    expect(driver.calls).toEqual(["run", "cancel(false)", "abort", "clean"]);
  });

  it("after READY means finish early: completed, not cancelled", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("ready");
    job.cancel();
    expect(job.snapshot().cancelRequested).toBe(true);
    expect(await bench.clock.run(job.done)).toEqual({ outcome: "completed" });
    expect(bench.story()).toContain("BLOCK_JOB_COMPLETED");
    expect(driver.calls).toEqual(["run", "cancel(false)", "finalize", "prepare", "commit", "clean"]);
  });

  it("by force after READY gives up", async () => {
    const bench = new Bench();
    const { job } = await bench.jobIn("ready");
    job.cancel({ force: true });
    expect((await bench.clock.run(job.done)).outcome).toBe("cancelled");
    expect(bench.story().slice(-4)).toEqual(["aborting", "BLOCK_JOB_CANCELLED", "concluded", "null"]);
  });

  it("softly never takes back a force", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("ready");
    job.cancel({ force: true });
    job.cancel();
    expect(driver.control?.isForceCancelled).toBe(true);
    expect((await bench.clock.run(job.done)).outcome).toBe("cancelled");
  });

  it("a driver that answers no cannot soften a force", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("running");
    driver.cancel = () => false;
    job.cancel({ force: true });
    expect((await bench.clock.run(job.done)).outcome).toBe("cancelled");
  });

  it("a driver without a say is cancelled by force, READY or not", async () => {
    const bench = new Bench();
    const job = bench.manager.create(
      {
        type: "plain",
        async run(control: JobControl) {
          control.transitionToReady();
          while (!control.isForceCancelled) await control.sleep(10);
        },
      },
      { id: "plain" },
    );
    job.start();
    job.cancel();
    expect((await bench.clock.run(job.done)).outcome).toBe("cancelled");
  });

  it.each(["running", "ready"] as const)("wakes a %s job from its sleep", async (status) => {
    const bench = new Bench();
    const { job } = await bench.jobIn(status);
    const atMs = bench.clock.now();
    job.cancel({ force: true });
    await bench.clock.run(job.done);
    expect(bench.clock.now()).toBe(atMs);
  });

  it.each([
    ["paused", "running"],
    ["standby", "ready"],
  ] as const)("un-pauses a %s job first and resets its I/O status", async (status, back) => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn(status);
    job.cancel({ force: true });
    expect(job.snapshot()).toMatchObject({ userPaused: false, ioStatus: "ok" });
    await bench.clock.run(job.done);
    expect(bench.story().slice(-5)).toEqual([back, "aborting", "BLOCK_JOB_CANCELLED", "concluded", "null"]);
    expect(driver.calls).toContain("userResume");
  });

  it("softly in STANDBY un-pauses and finishes", async () => {
    const bench = new Bench();
    const { job } = await bench.jobIn("standby");
    job.cancel();
    expect((await bench.clock.run(job.done)).outcome).toBe("completed");
  });

  it("by force ends a pause that a drained section made", async () => {
    const bench = new Bench();
    const { job } = await bench.jobIn("running");
    await job.drainBegin();
    job.cancel({ force: true });
    await bench.clock.run(job.done);
    expect(bench.story()).toEqual([
      "created",
      "running",
      "paused",
      "running",
      "aborting",
      "BLOCK_JOB_CANCELLED",
      "concluded",
      "null",
    ]);
    job.drainEnd();
  });

  it("softly leaves a drained job where it is until the section ends", async () => {
    const bench = new Bench();
    const { job } = await bench.jobIn("ready");
    await job.drainBegin();
    job.cancel();
    await bench.clock.advance(1000);
    expect(job.status).toBe("standby");
    job.drainEnd();
    expect((await bench.clock.run(job.done)).outcome).toBe("completed");
  });

  it("before the start ends the job without it ever running, and tells no end", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("created");
    driver.cancel = () => false;
    job.cancel();
    expect(await bench.clock.run(job.done)).toEqual({ outcome: "cancelled" });
    await bench.clock.settle();
    expect(bench.story()).toEqual(["created", "aborting", "concluded", "null"]);
    expect(driver.calls).toEqual(["abort", "clean"]);
  });

  it("of a job that never started dismisses it, whatever was asked", async () => {
    const bench = new Bench();
    const { job } = bench.create({ autoDismiss: false });
    job.cancel();
    await bench.clock.run(job.done);
    expect(job.status).toBe("null");
  });

  it("of a job paused before its start and started then: run is never entered", async () => {
    const bench = new Bench();
    const { job, driver } = bench.create();
    job.pause();
    job.start();
    await bench.clock.settle();
    expect(job.status).toBe("paused");
    job.cancel({ force: true });
    await bench.clock.run(job.done);
    expect(driver.calls).not.toContain("run");
    expect(bench.story()).toContain("BLOCK_JOB_CANCELLED");
  });

  it("aborts the signal with a JobError, once", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("ready");
    const signal = driver.control?.forceCancelSignal;
    let aborts = 0;
    signal?.addEventListener("abort", () => {
      aborts += 1;
    });
    job.cancel();
    expect(signal?.aborted).toBe(false);
    job.cancel({ force: true });
    job.cancel({ force: true });
    expect(aborts).toBe(1);
    expect(signal?.reason).toBeInstanceOf(JobError);
    expect(signal?.reason).toMatchObject({ code: "JOB_CANCELLED" });
    await bench.clock.run(job.done);
  });

  it("what run throws after a force is the cancel, not a failure", async () => {
    const bench = new Bench();
    const job = bench.manager.create(
      {
        type: "strict",
        async run(control) {
          while (!control.isForceCancelled) await control.sleep(10);
          control.forceCancelSignal.throwIfAborted();
        },
      },
      { id: "strict" },
    );
    job.start();
    job.cancel();
    expect(await bench.clock.run(job.done)).toEqual({ outcome: "cancelled" });
  });

  it("in WAITING: softly is dropped, by force aborts", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("waiting");
    driver.cancel = () => false;
    job.cancel();
    expect(job.snapshot().cancelRequested).toBe(false);
    job.cancel({ force: true });
    expect((await bench.clock.run(job.done)).outcome).toBe("cancelled");
    expect(bench.story("job0").slice(-4)).toEqual(["aborting", "BLOCK_JOB_CANCELLED", "concluded", "null"]);
  });

  it("in PENDING: softly is dropped, by force aborts", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("pending");
    driver.cancel = () => false;
    job.cancel();
    await bench.clock.advance(100);
    expect(job.status).toBe("pending");
    job.cancel({ force: true });
    expect((await bench.clock.run(job.done)).outcome).toBe("cancelled");
    expect(driver.calls).toEqual(["run", "abort", "clean"]);
  });
});
