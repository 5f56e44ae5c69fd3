import { describe, expect, it } from "vitest";
import { JobManager, isWellFormedJobId } from "../src/index.ts";
import { Bench, TestDriver } from "./harness.ts";

describe("job ids", () => {
  it.each(["a", "A9", "drive-mirror_0.b", "z..--__"])("'%s' is well-formed", (id) => {
    expect(isWellFormedJobId(id)).toBe(true);
    expect(new Bench().create({ id }).job.id).toBe(id);
  });

  it.each(["", "9a", "-a", "_a", ".a", "#block1", "a b", "a/b", "ä", "a\n", "\na"])(
    "'%s' is not well-formed",
    (id) => {
      const bench = new Bench();
      expect(isWellFormedJobId(id)).toBe(false);
      expect(() => bench.create({ id })).toThrow(
        expect.objectContaining({ code: "JOB_ID_INVALID", message: `Invalid job ID '${id}'` }),
      );
      expect(bench.events).toEqual([]);
    },
  );

  it("are required", () => {
    expect(() => new JobManager().create(new TestDriver())).toThrow(
      expect.objectContaining({ code: "JOB_ID_REQUIRED", message: "An explicit job ID is required" }),
    );
  });

  it("are unique while the job is there, a concluded one included", async () => {
    const bench = new Bench();
    const { job } = await bench.jobIn("concluded");
    expect(() => bench.create()).toThrow(
      expect.objectContaining({ code: "JOB_ID_IN_USE", message: "Job ID 'job0' already in use" }),
    );
    job.dismiss();
    expect(bench.create().job.status).toBe("created");
  });

  it("are free again before anybody hears that the job is gone", async () => {
    const bench = new Bench();
    let successor = "";
    bench.manager.subscribe((event) => {
      if (event.event === "JOB_STATUS_CHANGE" && event.data.status === "null" && successor === "") {
        successor = event.data.id;
        bench.create();
      }
    });
    await bench.jobIn("null");
    expect(successor).toBe("job0");
    expect(bench.manager.get("job0").status).toBe("created");
  });
});

describe("the list", () => {
  it("is in order of creation and finds by id", () => {
    const bench = new Bench();
    const jobs = ["c", "a", "b"].map((id) => bench.create({ id }).job);
    expect(bench.manager.list()).toEqual(jobs);
    expect(bench.manager.get("a")).toBe(jobs[1]);
    expect(bench.manager.find("x")).toBeUndefined();
    expect(() => bench.manager.get("x")).toThrow(
      expect.objectContaining({ code: "JOB_NOT_FOUND", message: "Job 'x' not found" }),
    );
  });

  it("has no internal jobs, and nothing is told of them", async () => {
    const bench = new Bench();
    const driver = new TestDriver();
    const job = bench.manager.create(driver, { internal: true });
    const other = bench.manager.create(new TestDriver(), { internal: true });
    expect(isWellFormedJobId(job.id)).toBe(false);
    expect(job.id).not.toBe(other.id);
    job.start();
    driver.orders.finish = true;
    expect((await bench.clock.run(job.done)).outcome).toBe("completed");
    expect(bench.manager.list()).toEqual([]);
    expect(bench.manager.find(job.id)).toBeUndefined();
    expect(bench.events).toEqual([]);
    await bench.clock.run(bench.manager.close());
    expect(other.status).toBe("null");
  });
});

describe("events", () => {
  it("stop for a listener that unsubscribed; the same function may listen twice", () => {
    const bench = new Bench();
    let told = 0;
    const listener = (): void => {
      told += 1;
    };
    const first = bench.manager.subscribe(listener);
    bench.manager.subscribe(listener);
    bench.create({ id: "a" });
    expect(told).toBe(2);
    first();
    bench.create({ id: "b" });
    expect(told).toBe(3);
  });

  it("have wall-clock time in seconds and microseconds", () => {
    let epochMs = 999.9999;
    const bench = new Bench({ epochNow: () => epochMs });
    bench.create({ id: "a" });
    epochMs = 1234.5678;
    bench.create({ id: "b" });
    expect(bench.events.map(({ timestamp }) => timestamp)).toEqual([
      { seconds: 1, microseconds: 0 },
      { seconds: 1, microseconds: 234_568 },
    ]);
  });

  it("have today's time on the machine's clock", () => {
    const manager = new JobManager();
    const seconds: number[] = [];
    manager.subscribe((event) => seconds.push(event.timestamp.seconds));
    const beforeMs = Date.now();
    manager.create(new TestDriver(), { id: "a" }).discard();
    expect(seconds[0]).toBeGreaterThanOrEqual(Math.floor(beforeMs / 1000));
    expect(seconds[0]).toBeLessThanOrEqual(Date.now() / 1000 + 1);
  });

  it("a throwing listener breaks neither the job nor the other listeners, and is not hushed up", async () => {
    const bench = new Bench();
    const uncaught: unknown[] = [];
    const listeners = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    process.on("uncaughtException", (error) => uncaught.push(error));
    try {
      const error = new Error("broken listener");
      const end = bench.manager.subscribe(() => {
        throw error;
      });
      const heard: string[] = [];
      bench.manager.subscribe(({ event }) => heard.push(event));
      const { job, driver } = bench.start();
      end();
      driver.orders.finish = true;
      expect((await bench.clock.run(job.done)).outcome).toBe("completed");
      expect(heard).toContain("BLOCK_JOB_COMPLETED");
      expect(uncaught).toEqual([error, error]);
    } finally {
      process.removeAllListeners("uncaughtException");
      for (const listener of listeners) process.on("uncaughtException", listener);
    }
  });
});

describe("close", () => {
  it("ends every job, whatever its status, and leaves none", async () => {
    const bench = new Bench();
    const driver = new TestDriver();
    bench.create({ id: "created" });
    bench.start({ id: "running", autoDismiss: false });
    bench.start({ id: "paused" }).job.pause();
    bench.start({ id: "ready" }).driver.orders.ready = true;
    bench.start({ id: "pending", autoFinalize: false }).driver.orders.finish = true;
    bench.start({ id: "concluded", autoDismiss: false }).driver.orders.finish = true;
    bench.manager.create(driver, { internal: true }).start();
    await bench.clock.advance(30);
    await bench.clock.run(bench.manager.close());
    expect(bench.manager.list()).toEqual([]);
    expect(driver.calls).toContain("clean");
    expect(bench.clock.pendingTimers).toBe(0);
  });

  it("is how a manager is disposed of", async () => {
    const bench = new Bench();
    const { job } = bench.start();
    await bench.clock.run(bench.manager[Symbol.asyncDispose]());
    expect(job.status).toBe("null");
  });
});

describe("snapshots", () => {
  it("tell everything, and do not change afterwards", async () => {
    const bench = new Bench({ epochNow: () => 5000 });
    const { job, driver } = bench.create({ speed: 9, autoFinalize: false, autoDismiss: false });
    const created = job.snapshot();
    expect(created).toEqual({
      id: "job0",
      type: "test",
      status: "created",
      speed: 9,
      offset: 0,
      length: 0,
      ioStatus: "ok",
      paused: true,
      userPaused: false,
      busy: false,
      ready: false,
      cancelRequested: false,
      completeRequested: false,
      autoFinalize: false,
      autoDismiss: false,
      errorCounts: { read: 0, write: 0 },
      elapsedMs: 0,
      pausedMs: 0,
      details: { passes: 0 },
    });
    job.start();
    await bench.clock.advance(15);
    driver.control?.setProgress(1, 2);
    driver.control?.handleError(new Error("x"), { operation: "read", policy: "ignore" });
    expect(job.snapshot()).toEqual({
      ...created,
      status: "running",
      offset: 1,
      length: 2,
      paused: false,
      errorCounts: { read: 1, write: 0 },
      startedAtMs: 5000,
      elapsedMs: 15,
      details: { passes: 2 },
    });
    expect(created.errorCounts.read).toBe(0);
  });

  it("count time from the start to the end, and pauses apart", async () => {
    const bench = new Bench();
    const { job, driver } = bench.create({ autoDismiss: false });
    await bench.clock.advance(500);
    job.start();
    await bench.clock.advance(100);
    job.pause();
    await bench.clock.advance(1000);
    expect(job.snapshot()).toMatchObject({ elapsedMs: 1100, pausedMs: 1000 });
    job.resume();
    await bench.clock.advance(100);
    job.pause();
    await bench.clock.advance(30);
    job.resume();
    driver.orders.finish = true;
    await bench.clock.run(job.done);
    const { elapsedMs } = job.snapshot();
    await bench.clock.advance(10_000);
    expect(job.snapshot()).toMatchObject({ elapsedMs, pausedMs: 1030 });
  });

  it("busy is true only while the driver executes", async () => {
    const bench = new Bench();
    const seen: boolean[] = [];
    const job = bench.manager.create(
      {
        type: "watched",
        async run(control) {
          seen.push(bench.manager.get("watched").snapshot().busy);
          await control.sleep(10);
          seen.push(bench.manager.get("watched").snapshot().busy);
        },
      },
      { id: "watched", autoDismiss: false },
    );
    job.start();
    expect(job.snapshot().busy).toBe(false);
    await bench.clock.run(job.done);
    expect(seen).toEqual([true, true]);
    expect(job.snapshot().busy).toBe(false);
  });
});
