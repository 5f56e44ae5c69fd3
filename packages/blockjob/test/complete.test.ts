import { describe, expect, it } from "vitest";
import { Bench, createGate } from "./harness.ts";

describe("complete", () => {
  it("asks the driver, then lets run know, and wakes it", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("ready");
    const atMs = bench.clock.now();
    await job.complete();
    expect(driver.control?.isCompleteRequested).toBe(true);
    expect(job.snapshot().completeRequested).toBe(true);
    expect((await bench.clock.run(job.done)).outcome).toBe("completed");
    expect(bench.clock.now()).toBe(atMs);
  });

  it("that the driver refuses changes nothing", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("ready");
    driver.complete = () => {
      throw new Error("no backing file");
    };
    await expect(job.complete()).rejects.toThrow("no backing file");
    await bench.clock.advance(1000);
    expect(job.snapshot()).toMatchObject({ status: "ready", completeRequested: false });
    driver.complete = () => {};
    await job.complete();
    expect((await bench.clock.run(job.done)).outcome).toBe("completed");
  });

  it("again is harmless: the driver is asked once, also while it thinks", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("standby");
    const thinking = createGate();
    let asked = 0;
    driver.complete = () => {
      asked += 1;
      return thinking.promise;
    };
    const both = Promise.all([job.complete(), job.complete()]);
    await bench.clock.settle();
    expect(driver.control?.isCompleteRequested).toBe(false);
    thinking.open();
    await both;
    await job.complete();
    expect(asked).toBe(1);
  });

  it("keeps a pause by default: the job completes after resume", async () => {
    const bench = new Bench();
    const { job } = await bench.jobIn("standby");
    await job.complete();
    await bench.clock.advance(10_000);
    expect(job.status).toBe("standby");
    job.resume();
    expect((await bench.clock.run(job.done)).outcome).toBe("completed");
  });

  it("lifts a pause and the I/O status when asked to", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("ready");
    driver.control?.handleError(new Error("full"), { operation: "write", policy: "stop" });
    await bench.clock.settle();
    expect(job.snapshot()).toMatchObject({ status: "standby", ioStatus: "failed" });
    await job.complete({ resume: true });
    expect(job.snapshot()).toMatchObject({ ioStatus: "ok", userPaused: false });
    expect(driver.calls).toContain('complete({"resume":true})');
    expect((await bench.clock.run(job.done)).outcome).toBe("completed");
  });

  it("can ask to resume later", async () => {
    const bench = new Bench();
    const { job } = await bench.jobIn("standby");
    await job.complete();
    await job.complete({ resume: true });
    expect((await bench.clock.run(job.done)).outcome).toBe("completed");
  });

  it("is refused when the job was cancelled while the driver was thinking", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("standby");
    const thinking = createGate();
    driver.complete = () => thinking.promise;
    const completing = job.complete();
    job.cancel();
    thinking.open();
    await expect(completing).rejects.toMatchObject({ code: "JOB_CANNOT_COMPLETE" });
    await bench.clock.run(job.done);
    expect(job.snapshot().completeRequested).toBe(false);
  });
});
