import { describe, expect, it } from "vitest";
import { JobError } from "../src/index.ts";
import { Bench, createGate } from "./harness.ts";

const progress = (bytes: number) => ({
  type: "test",
  device: "job0",
  len: bytes,
  offset: bytes,
  speed: 7,
});

/** What no run should do, and some will. */
async function throwWords(): Promise<void> {
  // oxlint-disable-next-line no-throw-literal
  throw "just words";
}

describe("a life", () => {
  it("from creation to the end, with every event and hook in its order", async () => {
    const bench = new Bench({ epochNow: () => 1_400_000_000_123.456 });
    const { job, driver } = bench.start({ speed: 7 });
    driver.control?.setProgress(0, 4096);
    await bench.clock.advance(20);
    driver.orders.ready = true;
    driver.control?.setProgress(4096, 4096);
    await bench.clock.advance(20);
    await job.complete();
    driver.control?.setProgress(8192, 8192);
    expect(await bench.clock.run(job.done)).toEqual({ outcome: "completed" });

    const timestamp = { seconds: 1_400_000_000, microseconds: 123_456 };
    const status = (name: string) => ({
      event: "JOB_STATUS_CHANGE",
      data: { id: "job0", status: name },
      timestamp,
    });
    expect(bench.events).toEqual([
      status("created"),
      status("running"),
      status("ready"),
      { event: "BLOCK_JOB_READY", data: progress(4096), timestamp },
      status("waiting"),
      status("pending"),
      { event: "BLOCK_JOB_COMPLETED", data: progress(8192), timestamp },
      status("concluded"),
      status("null"),
    ]);
    expect(driver.calls).toEqual(["run", "complete({})", "finalize", "prepare", "commit", "clean"]);
    expect(bench.manager.find("job0")).toBeUndefined();
  });

  it("a job need not become ready", async () => {
    const bench = new Bench();
    const { job, driver } = bench.start();
    driver.orders.finish = true;
    await bench.clock.run(job.done);
    expect(bench.story()).toEqual([
      "created",
      "running",
      "waiting",
      "pending",
      "BLOCK_JOB_COMPLETED",
      "concluded",
      "null",
    ]);
  });

  it("start enters run before it returns", () => {
    const { driver } = new Bench().start();
    expect(driver.calls).toEqual(["run"]);
  });

  it("is told of as failed, with the error's own words and code", async () => {
    const bench = new Bench();
    const { job, driver } = bench.start({ autoDismiss: false });
    const error = Object.assign(new Error("disk on fire"), { code: "EIO" });
    driver.orders.fail = error;
    expect(await bench.clock.run(job.done)).toEqual({ outcome: "failed", error });
    expect(bench.story()).toEqual(["created", "running", "aborting", "BLOCK_JOB_COMPLETED", "concluded"]);
    expect(bench.events.find(({ event }) => event === "BLOCK_JOB_COMPLETED")?.data).toEqual({
      type: "test",
      device: "job0",
      len: 0,
      offset: 0,
      speed: 0,
      error: "disk on fire",
    });
    expect(driver.calls).toEqual(["run", "abort", "clean"]);
    expect(job.snapshot().error).toEqual({ code: "EIO", message: "disk on fire" });
    job.dismiss();
    expect(job.status).toBe("null");
    expect(bench.manager.list()).toEqual([]);
  });

  it("a thrown non-error becomes one", async () => {
    const bench = new Bench();
    const job = bench.manager.create({ type: "odd", run: throwWords }, { id: "odd" });
    job.start();
    const { error } = await bench.clock.run(job.done);
    expect(error).toBeInstanceOf(JobError);
    expect(error).toMatchObject({
      code: "JOB_FAILED",
      message: "the job failed: just words",
      cause: "just words",
    });
  });

  it("run may throw at once, without a promise", async () => {
    const bench = new Bench();
    const job = bench.manager.create(
      {
        type: "odd",
        run: () => {
          throw new Error("at once");
        },
      },
      { id: "odd" },
    );
    job.start();
    expect((await bench.clock.run(job.done)).outcome).toBe("failed");
  });

  it("aborting lasts until the undoing is done", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("aborting");
    await bench.clock.advance(1000);
    expect(job.status).toBe("aborting");
    driver.abortGate.open();
    await bench.clock.run(job.done);
    expect(driver.calls).toEqual(["run", "abort", "clean"]);
  });

  it("what abort and clean throw is reported, the first of it, and does not keep the job from ending", async () => {
    const bench = new Bench();
    const { job, driver } = bench.start();
    const leak = new Error("leak");
    Object.assign(driver, { abortGate: createGate() });
    driver.abortGate.fail(leak);
    driver.clean = () => {
      throw new Error("second");
    };
    const error = new Error("broken");
    driver.orders.fail = error;
    expect(await bench.clock.run(job.done)).toEqual({ outcome: "failed", error, cleanupError: leak });
    expect(job.status).toBe("null");
  });

  it("what clean throws after a success leaves it a success", async () => {
    const bench = new Bench();
    const { job, driver } = bench.start();
    const leak = new Error("leak");
    driver.clean = () => {
      throw leak;
    };
    driver.orders.finish = true;
    expect(await bench.clock.run(job.done)).toEqual({ outcome: "completed", cleanupError: leak });
    expect(job.snapshot()).toMatchObject({
      outcome: "completed",
      cleanupError: { code: "JOB_FAILED", message: "leak" },
    });
    expect(job.snapshot().error).toBeUndefined();
  });

  it("what commit throws makes the job failed, without an undoing that would be too late", async () => {
    const bench = new Bench();
    const { job, driver } = bench.start();
    const error = new Error("commit");
    driver.commit = () => {
      throw error;
    };
    driver.orders.finish = true;
    expect(await bench.clock.run(job.done)).toEqual({ outcome: "failed", error });
    expect(driver.calls).toEqual(["run", "finalize", "prepare", "clean"]);
    expect(bench.story()).toEqual([
      "created",
      "running",
      "waiting",
      "pending",
      "aborting",
      "BLOCK_JOB_COMPLETED",
      "concluded",
      "null",
    ]);
  });

  it("starts once", async () => {
    const bench = new Bench();
    const { job, driver } = bench.start();
    const again = (): void => {
      job.start();
    };
    expect(again).toThrow(expect.objectContaining({ code: "JOB_NOT_STARTABLE" }));
    driver.orders.finish = true;
    await bench.clock.run(job.done);
    expect(again).toThrow(expect.objectContaining({ code: "JOB_NOT_STARTABLE" }));
  });

  it("can be discarded before it starts, as if it had never been", async () => {
    const bench = new Bench();
    const { job, driver } = bench.create();
    job.discard();
    expect(bench.story()).toEqual(["created", "null"]);
    expect(driver.calls).toEqual([]);
    expect(await job.done).toEqual({ outcome: "cancelled" });
    expect(bench.manager.find("job0")).toBeUndefined();
    expect(() => {
      job.discard();
    }).toThrow(expect.objectContaining({ code: "JOB_NOT_STARTABLE" }));
  });

  it("READY comes once", async () => {
    const { driver } = await new Bench().jobIn("ready");
    expect(() => driver.control?.transitionToReady()).toThrow(TypeError);
  });

  it("keeps progress in bounds", async () => {
    const { job, driver } = await new Bench().jobIn("running");
    const { control } = driver;
    control?.setProgress(5, 10);
    for (const [offset, length] of [
      [-1, 10],
      [11, 10],
      [0.5, 10],
      [0, NaN],
      [0, Infinity],
    ] as const) {
      expect(() => control?.setProgress(offset, length)).toThrow(RangeError);
    }
    expect([control?.offset, control?.length]).toEqual([5, 10]);
    expect(job.snapshot()).toMatchObject({ offset: 5, length: 10 });
  });
});
