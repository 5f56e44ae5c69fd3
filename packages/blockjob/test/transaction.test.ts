import { describe, expect, it } from "vitest";
import { type JobOptions, JobTransaction } from "../src/index.ts";
import { Bench, createGate } from "./harness.ts";

function pair(bench: Bench, options: readonly [JobOptions, JobOptions] = [{}, {}]) {
  const transaction = new JobTransaction();
  const first = bench.start({ id: "first", transaction, ...options[0] });
  const second = bench.start({ id: "second", transaction, ...options[1] });
  return { transaction, first, second };
}

describe("jobs of one transaction", () => {
  it("wait for each other and take effect together", async () => {
    const bench = new Bench();
    const { first, second, transaction } = pair(bench);
    expect(transaction.size).toBe(2);
    first.driver.orders.finish = true;
    await bench.clock.advance(1000);
    expect([first.job.status, second.job.status]).toEqual(["waiting", "running"]);
    expect(first.driver.calls).toEqual(["run"]);
    second.driver.orders.finish = true;
    const results = await bench.clock.run(Promise.all([first.job.done, second.job.done]));
    expect(results).toEqual([{ outcome: "completed" }, { outcome: "completed" }]);
    await bench.clock.settle();
    const ends = bench.events.slice(-8).map((event) => {
      const id = "id" in event.data ? event.data.id : event.data.device;
      return `${id} ${event.event === "JOB_STATUS_CHANGE" ? event.data.status : event.event}`;
    });
    expect(ends).toEqual([
      "first pending",
      "second pending",
      "first BLOCK_JOB_COMPLETED",
      "first concluded",
      "first null",
      "second BLOCK_JOB_COMPLETED",
      "second concluded",
      "second null",
    ]);
  });

  it("never finalize at once: the others may take their time", () => {
    const { first } = pair(new Bench());
    expect(first.driver.control?.finalizesAtOnce).toBe(false);
  });

  it("catch up all before any of them prepares, and prepare all before any commits", async () => {
    const bench = new Bench();
    const { first, second } = pair(bench);
    const order: string[] = [];
    for (const [name, { driver }] of Object.entries({ first, second })) {
      driver.calls.push = (...calls: string[]) => order.push(...calls.map((call) => `${name} ${call}`));
      driver.orders.finish = true;
    }
    const slow = createGate();
    Object.assign(first.driver, { finalizeGate: slow });
    await bench.clock.advance(20);
    expect(order).toEqual(["first finalize", "second finalize"]);
    slow.open();
    await bench.clock.run(second.job.done);
    expect(order.slice(2)).toEqual([
      "first prepare",
      "second prepare",
      "first commit",
      "first clean",
      "second commit",
      "second clean",
    ]);
  });

  it("one that fails takes the others down by force, at once", async () => {
    const bench = new Bench();
    const { first, second } = pair(bench);
    second.driver.orders.ready = true;
    await bench.clock.advance(20);
    const error = new Error("broken");
    first.driver.orders.fail = error;
    const results = await bench.clock.run(Promise.all([first.job.done, second.job.done]));
    expect(results).toEqual([{ outcome: "failed", error }, { outcome: "cancelled" }]);
    expect(bench.story("first").slice(-4)).toEqual(["aborting", "BLOCK_JOB_COMPLETED", "concluded", "null"]);
    expect(bench.story("second").slice(-4)).toEqual(["aborting", "BLOCK_JOB_CANCELLED", "concluded", "null"]);
    expect(second.driver.calls).toEqual(["run", "cancel(true)", "abort", "clean"]);
  });

  it("the failed one undoes only when all others have stopped", async () => {
    const bench = new Bench();
    const transaction = new JobTransaction();
    const stopping = createGate();
    const slow = bench.manager.create(
      { type: "slow", run: () => stopping.promise },
      { id: "slow", transaction },
    );
    slow.start();
    const { job, driver } = bench.start({ id: "first", transaction });
    driver.orders.fail = new Error("broken");
    await bench.clock.advance(1000);
    expect(job.status).toBe("aborting");
    expect(driver.calls).toEqual(["run"]);
    stopping.open();
    await bench.clock.run(job.done);
    expect(driver.calls).toEqual(["run", "abort", "clean"]);
    expect((await slow.done).outcome).toBe("cancelled");
  });

  it("one that waits is taken down as well", async () => {
    const bench = new Bench();
    const { first, second } = pair(bench);
    first.driver.orders.finish = true;
    await bench.clock.advance(20);
    second.driver.orders.fail = new Error("broken");
    expect((await bench.clock.run(first.job.done)).outcome).toBe("cancelled");
    expect(bench.story("first")).toEqual([
      "created",
      "running",
      "waiting",
      "aborting",
      "BLOCK_JOB_CANCELLED",
      "concluded",
      "null",
    ]);
  });

  it("one that is paused is un-paused first", async () => {
    const bench = new Bench();
    const { first, second } = pair(bench);
    first.job.pause();
    await bench.clock.advance(20);
    second.driver.orders.fail = new Error("broken");
    expect((await bench.clock.run(first.job.done)).outcome).toBe("cancelled");
    expect(bench.story("first").slice(2, 5)).toEqual(["paused", "running", "aborting"]);
  });

  it("one that never started ends as well, silently", async () => {
    const bench = new Bench();
    const transaction = new JobTransaction();
    const idle = bench.create({ id: "idle", transaction });
    const { job, driver } = bench.start({ id: "first", transaction });
    driver.orders.finish = true;
    await bench.clock.advance(1000);
    expect(job.status).toBe("waiting");
    job.cancel({ force: true });
    expect((await bench.clock.run(idle.job.done)).outcome).toBe("cancelled");
    expect(bench.story("idle")).toEqual(["created", "aborting", "concluded", "null"]);
    expect(() => {
      idle.job.start();
    }).toThrow(expect.objectContaining({ code: "JOB_NOT_STARTABLE" }));
  });

  it("one that is discarded no longer holds the others up", async () => {
    const bench = new Bench();
    const transaction = new JobTransaction();
    const idle = bench.create({ id: "idle", transaction });
    const { job, driver } = bench.start({ id: "first", transaction });
    driver.orders.finish = true;
    await bench.clock.advance(1000);
    expect(job.status).toBe("waiting");
    idle.job.discard();
    expect((await bench.clock.run(job.done)).outcome).toBe("completed");
    expect(transaction.size).toBe(1);
  });

  it("wait for finalize if any of them does; one finalize is for all", async () => {
    const bench = new Bench();
    const { first, second } = pair(bench, [{ autoFinalize: false }, {}]);
    first.driver.orders.finish = true;
    second.driver.orders.finish = true;
    await bench.clock.advance(1000);
    expect([first.job.status, second.job.status]).toEqual(["pending", "pending"]);
    expect(bench.story("first")).toContain("BLOCK_JOB_PENDING");
    expect(bench.story("second")).not.toContain("BLOCK_JOB_PENDING");
    second.job.finalize();
    const results = await bench.clock.run(Promise.all([first.job.done, second.job.done]));
    expect(results.map(({ outcome }) => outcome)).toEqual(["completed", "completed"]);
  });

  it("a finalize from inside the first one's event waits until all are pending", async () => {
    const bench = new Bench();
    const statuses: string[] = [];
    bench.manager.subscribe(({ event }) => {
      if (event === "BLOCK_JOB_PENDING") bench.manager.get("first").finalize();
    });
    const { first, second } = pair(bench, [{ autoFinalize: false }, {}]);
    second.driver.finalize = async () => {
      statuses.push(second.job.status);
    };
    first.driver.orders.finish = true;
    second.driver.orders.finish = true;
    await bench.clock.run(Promise.all([first.job.done, second.job.done]));
    expect(statuses).toEqual(["pending"]);
  });

  it("a failing finalize cancels the others' catching up by force, and nobody prepares", async () => {
    const bench = new Bench();
    const { first, second } = pair(bench);
    const error = new Error("cannot catch up");
    const fails = createGate();
    fails.fail(error);
    Object.assign(first.driver, { finalizeGate: fails });
    second.driver.finalize = async () => {
      for (;;) {
        if (second.driver.control?.isForceCancelled !== false) return;
        await second.driver.control.sleep(10);
      }
    };
    first.driver.orders.finish = true;
    second.driver.orders.finish = true;
    const results = await bench.clock.run(Promise.all([first.job.done, second.job.done]));
    expect(results).toEqual([{ outcome: "failed", error }, { outcome: "cancelled" }]);
    expect(first.driver.calls).toEqual(["run", "finalize", "abort", "clean"]);
    expect(second.driver.calls).toEqual(["run", "cancel(true)", "abort", "clean"]);
  });

  it("a failing prepare aborts all, those that prepared too", async () => {
    const bench = new Bench();
    const { first, second } = pair(bench);
    const error = new Error("cannot switch");
    const fails = createGate();
    fails.fail(error);
    Object.assign(second.driver, { prepareGate: fails });
    first.driver.orders.finish = true;
    second.driver.orders.finish = true;
    const results = await bench.clock.run(Promise.all([first.job.done, second.job.done]));
    expect(results).toEqual([{ outcome: "cancelled" }, { outcome: "failed", error }]);
    expect(first.driver.calls).toEqual(["run", "finalize", "prepare", "cancel(true)", "abort", "clean"]);
    expect(second.driver.calls).toEqual(["run", "finalize", "prepare", "abort", "clean"]);
  });

  it("cannot be joined once one of them has done its work", async () => {
    const bench = new Bench();
    const { first, transaction } = pair(bench);
    first.driver.orders.finish = true;
    await bench.clock.advance(20);
    expect(() => bench.create({ id: "late", transaction })).toThrow(TypeError);
    expect(bench.manager.find("late")).toBeUndefined();
  });
});
