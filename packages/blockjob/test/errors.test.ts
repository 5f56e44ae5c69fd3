import { describe, expect, it } from "vitest";
import { type ErrorPolicy, decideAction, isNoSpace } from "../src/index.ts";
import { Bench } from "./harness.ts";

const eio = Object.assign(new Error("read failed"), { code: "EIO" });
const enospc = Object.assign(new Error("disk full"), { code: "ENOSPC" });

describe("policies", () => {
  const table: readonly (readonly [ErrorPolicy, string, string])[] = [
    ["report", "report", "report"],
    ["ignore", "ignore", "ignore"],
    ["stop", "stop", "stop"],
    ["enospc", "report", "stop"],
    ["auto", "report", "stop"],
  ];
  it.each(table)("%s: %s on EIO, %s on ENOSPC", (policy, onEio, onEnospc) => {
    expect(decideAction(policy, eio)).toBe(onEio);
    expect(decideAction(policy, enospc)).toBe(onEnospc);
  });

  it("no space is told by the code alone", () => {
    expect([enospc, eio, new Error("ENOSPC"), "ENOSPC", null, undefined].map(isNoSpace)).toEqual([
      true,
      false,
      false,
      false,
      false,
      false,
    ]);
  });
});

describe("an I/O error", () => {
  it.each(["report", "ignore"] as const)(
    "%s: is announced and counted, and pauses nothing",
    async (policy) => {
      const bench = new Bench();
      const { job, driver } = await bench.jobIn("running");
      expect(driver.control?.handleError(eio, { operation: "read", policy })).toBe(policy);
      expect(bench.events.at(-1)).toMatchObject({
        event: "BLOCK_JOB_ERROR",
        data: { device: "job0", operation: "read", action: policy },
      });
      await bench.clock.advance(100);
      expect(job.snapshot()).toMatchObject({
        status: "running",
        ioStatus: "ok",
        errorCounts: { read: 1, write: 0 },
      });
    },
  );

  it.each([
    ["running", "paused"],
    ["ready", "standby"],
  ] as const)("stop: pauses a %s job as a user would, after the event", async (status, parked) => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn(status);
    bench.events.length = 0;
    expect(driver.control?.handleError(enospc, { operation: "write", policy: "stop" })).toBe("stop");
    expect(driver.control?.ioStatus).toBe("nospace");
    await bench.clock.settle();
    expect(bench.story()).toEqual(["BLOCK_JOB_ERROR", parked]);
    expect(bench.events[0]?.data).toEqual({ device: "job0", operation: "write", action: "stop" });
    expect(job.snapshot()).toMatchObject({
      userPaused: true,
      ioStatus: "nospace",
      errorCounts: { read: 0, write: 1 },
    });

    job.resume();
    expect(job.snapshot()).toMatchObject({ userPaused: false, ioStatus: "ok" });
    expect(driver.calls).toContain("userResume");
    await bench.clock.settle();
    expect(job.status).toBe(status);
  });

  it("the first one decides the I/O status until it is reset", async () => {
    const { job, driver } = await new Bench().jobIn("running");
    const { control } = driver;
    control?.handleError(eio, { operation: "read", policy: "stop" });
    control?.handleError(enospc, { operation: "write", policy: "stop" });
    expect(job.snapshot()).toMatchObject({ ioStatus: "failed", errorCounts: { read: 1, write: 1 } });
    job.resume();
    control?.handleError(enospc, { operation: "write", policy: "enospc" });
    expect(job.snapshot().ioStatus).toBe("nospace");
  });

  it("in a paused job keeps the one user pause", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("paused");
    driver.control?.handleError(eio, { operation: "read", policy: "stop" });
    job.resume();
    await bench.clock.settle();
    expect(job.snapshot()).toMatchObject({ status: "running", paused: false, ioStatus: "ok" });
  });

  it("cannot stop a job that is force-cancelled, or past its work: it is reported", async () => {
    const bench = new Bench();
    const cancelled = await bench.jobIn("ready");
    cancelled.job.cancel({ force: true });
    const failed = { operation: "write", policy: "stop" } as const;
    expect(cancelled.driver.control?.handleError(eio, failed)).toBe("report");
    await bench.clock.run(cancelled.job.done);

    const pending = await bench.jobIn("pending");
    expect(pending.driver.control?.handleError(eio, failed)).toBe("report");
    expect(pending.job.snapshot()).toMatchObject({ userPaused: false, ioStatus: "ok" });
  });

  it("after a soft cancel still stops; resume retries, force gives up", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("ready");
    const run = driver.control;
    job.cancel();
    run?.handleError(eio, { operation: "write", policy: "stop" });
    await bench.clock.settle();
    expect(job.snapshot()).toMatchObject({ status: "standby", ioStatus: "failed" });
    job.cancel({ force: true });
    expect((await bench.clock.run(job.done)).outcome).toBe("cancelled");
  });
});
