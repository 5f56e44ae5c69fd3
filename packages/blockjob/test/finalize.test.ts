import { describe, expect, it } from "vitest";
import { JobTransaction, type JobControl } from "../src/index.ts";
import { Bench, type TestDriver, createGate } from "./harness.ts";

async function pendingJob(bench: Bench) {
  const made = await bench.jobIn("pending");
  bench.events.length = 0;
  made.driver.calls.length = 0;
  return made;
}

describe("without auto-finalize", () => {
  it("the job tells that it is pending and changes nothing until finalize", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("pending");
    expect(bench.events.at(-1)).toMatchObject({
      event: "BLOCK_JOB_PENDING",
      data: { type: "test", id: "job0" },
    });
    await bench.clock.advance(3_600_000);
    expect(job.status).toBe("pending");
    expect(driver.calls).toEqual(["run"]);
    job.finalize();
    expect(await bench.clock.run(job.done)).toEqual({ outcome: "completed" });
    expect(driver.calls).toEqual(["run", "finalize", "prepare", "commit", "clean"]);
    expect(bench.story().slice(-4)).toEqual([
      "BLOCK_JOB_PENDING",
      "BLOCK_JOB_COMPLETED",
      "concluded",
      "null",
    ]);
  });

  it("finalize twice is once", async () => {
    const bench = new Bench();
    const { job, driver } = await pendingJob(bench);
    job.finalize();
    job.finalize();
    await bench.clock.run(job.done);
    expect(driver.calls).toEqual(["finalize", "prepare", "commit", "clean"]);
  });

  it("a listener may finalize from inside the event", async () => {
    const bench = new Bench();
    bench.manager.subscribe(({ event }) => {
      if (event === "BLOCK_JOB_PENDING") bench.manager.get("job0").finalize();
    });
    const { job, driver } = bench.start({ autoFinalize: false });
    driver.orders.finish = true;
    expect((await bench.clock.run(job.done)).outcome).toBe("completed");
    expect(driver.calls.filter((call) => call === "finalize")).toHaveLength(1);
  });

  it("a listener may cancel from inside the event", async () => {
    const bench = new Bench();
    bench.manager.subscribe((event) => {
      if (event.event === "JOB_STATUS_CHANGE" && event.data.status === "waiting") {
        bench.manager.get("job0").cancel({ force: true });
      }
    });
    const { job, driver } = bench.start();
    driver.orders.finish = true;
    expect((await bench.clock.run(job.done)).outcome).toBe("cancelled");
    expect(driver.calls).not.toContain("finalize");
  });
});

describe("a drained section", () => {
  it("that holds one of the jobs is waited for before any of them is finalized", async () => {
    const bench = new Bench();
    const transaction = new JobTransaction();
    const a = bench.start({ id: "a", transaction, autoFinalize: false });
    const b = bench.start({ id: "b", transaction, autoFinalize: false });
    for (const { driver } of [a, b]) driver.orders.finish = true;
    await bench.clock.advance(20);
    expect(b.job.drainBegin()).toBeUndefined();
    a.job.finalize();
    await bench.clock.advance(1000);
    expect([a.driver.calls, b.job.status]).toEqual([["run"], "pending"]);
    b.job.drainEnd();
    expect(await bench.clock.run(a.job.done)).toEqual({ outcome: "completed" });
    expect(b.driver.calls).toContain("finalize");
  });

  it("that never ends does not keep a job from being thrown away", async () => {
    const bench = new Bench();
    const { job, driver } = await pendingJob(bench);
    void job.drainBegin();
    job.finalize();
    await bench.clock.advance(100);
    job.cancel({ force: true });
    expect(await bench.clock.run(job.done)).toEqual({ outcome: "cancelled" });
    expect(driver.calls).not.toContain("finalize");
  });
});

/** Whether what `drainBegin` returned has told by now that the job is quiet. */
async function isTold(bench: Bench, quiet: void | Promise<void>): Promise<boolean> {
  let told = quiet === undefined;
  void Promise.resolve(quiet).then(() => (told = true));
  await bench.clock.advance(100);
  return told;
}

describe("a drained section that begins when nothing but the end is to come", () => {
  it.each(["finalize", "prepare", "commit", "clean"] as const)(
    "waits until it is over, in %s too, where no hook waits for it",
    async (hook) => {
      const bench = new Bench();
      const { job, driver } = await pendingJob(bench);
      const gate = createGate();
      Object.assign(driver, { [hook]: () => gate.promise });
      job.finalize();
      await bench.clock.settle();
      const quiet = job.drainBegin();
      expect(await isTold(bench, quiet)).toBe(false);
      gate.open();
      await bench.clock.run(job.done);
      expect(await isTold(bench, quiet)).toBe(true);
      job.drainEnd();
    },
  );

  it("waits for the undoing of a job that failed", async () => {
    const bench = new Bench();
    const { job } = await bench.jobIn("aborting");
    const quiet = job.drainBegin();
    expect(await isTold(bench, quiet)).toBe(false);
  });

  it("is not told that the job is quiet between its run and what follows at once", async () => {
    const bench = new Bench();
    const { job, driver } = await bench.jobIn("running");
    const gate = createGate();
    Object.assign(driver, { prepare: () => gate.promise });
    driver.orders.finish = true;
    const told: (boolean | undefined)[] = [];
    bench.manager.subscribe((event) => {
      if (event.event !== "JOB_STATUS_CHANGE" || event.data.status !== "waiting") return;
      told.push(job.drainBegin() === undefined);
      job.drainEnd();
    });
    await bench.clock.advance(20);
    expect([job.status, told]).toEqual(["pending", [false]]);
    const quiet = job.drainBegin();
    expect(await isTold(bench, quiet)).toBe(false);
    gate.open();
    await bench.clock.run(job.done);
    expect(await isTold(bench, quiet)).toBe(true);
  });

  it("does not wait when it belongs to somebody who is changing things, too", async () => {
    const bench = new Bench();
    const { job, driver } = await pendingJob(bench);
    const gate = createGate();
    Object.assign(driver, { prepareGate: gate });
    job.finalize();
    await bench.clock.settle();
    expect(job.drainBegin({ duringChange: true })).toBeUndefined();
    job.drainEnd();
    gate.open();
    await bench.clock.run(job.done);
  });

  it("before that is waited for, though the job has nothing to catch up with", async () => {
    const bench = new Bench();
    const calls: string[] = [];
    const job = bench.manager.create(
      { type: "short", run: () => Promise.resolve(), prepare: () => void calls.push("prepare") },
      { id: "short", autoFinalize: false },
    );
    job.start();
    await bench.clock.settle();
    expect(job.drainBegin()).toBeUndefined();
    job.finalize();
    await bench.clock.advance(1000);
    expect([calls, job.status]).toEqual([[], "pending"]);
    job.drainEnd();
    expect(await bench.clock.run(job.done)).toEqual({ outcome: "completed" });
  });
});

describe("finalizesAtOnce", () => {
  it.each([
    [true, true],
    [false, false],
  ])("alone, with auto-finalize %s: %s", (autoFinalize, expected) => {
    const { driver } = new Bench().start({ autoFinalize });
    expect(driver.control?.finalizesAtOnce).toBe(expected);
  });
});

/** A mirror in miniature, to show that guests go on while the job is pending. */
class TinyMirror {
  readonly type = "tiny-mirror";
  readonly source = new Map<number, string>();
  readonly target = new Map<number, string>();
  readonly dirty = new Set<number>();
  guestsHeld = false;
  switched = false;

  write(chunk: number, data: string): void {
    if (this.guestsHeld) throw new Error("the guest is frozen");
    this.source.set(chunk, data);
    this.dirty.add(chunk);
  }

  async #copyDirty(job: JobControl): Promise<void> {
    for (const chunk of this.dirty) {
      this.dirty.delete(chunk);
      await job.sleep(1);
      if (job.isForceCancelled) return;
      this.target.set(chunk, this.source.get(chunk) ?? "");
    }
  }

  async run(job: JobControl): Promise<void> {
    await this.#copyDirty(job);
    job.transitionToReady();
    while (!job.isCompleteRequested && !job.isForceCancelled) {
      await this.#copyDirty(job);
      await job.sleep(100);
    }
  }

  complete(): void {}

  async finalize(job: JobControl): Promise<void> {
    do {
      this.guestsHeld = false;
      await this.#copyDirty(job);
      this.guestsHeld = true;
    } while (this.dirty.size > 0 && !job.isForceCancelled);
  }

  prepare(): void {
    this.switched = true;
  }

  clean(): void {
    this.guestsHeld = false;
  }
}

describe("the trap of frozen guests", () => {
  it("guest writes pass while the job is pending, and are on the target after the switch", async () => {
    const bench = new Bench();
    const mirror = new TinyMirror();
    mirror.write(0, "first");
    const job = bench.manager.create(mirror, { id: "m", autoFinalize: false });
    job.start();
    await bench.clock.advance(50);
    await job.complete();
    await bench.clock.advance(200);
    expect(job.status).toBe("pending");

    for (let chunk = 0; chunk < 10; chunk += 1) {
      mirror.write(chunk, `late ${chunk}`);
      await bench.clock.advance(60_000);
    }
    expect(mirror.target.get(0)).toBe("first");
    job.finalize();
    mirror.write(11, "while finalizing");
    expect((await bench.clock.run(job.done)).outcome).toBe("completed");
    expect(mirror.target).toEqual(mirror.source);
    expect(mirror).toMatchObject({ switched: true, guestsHeld: false });
  });

  it("a drained section parks the job while it catches up, without a change of status", async () => {
    const bench = new Bench();
    const mirror = new TinyMirror();
    const job = bench.manager.create(mirror, { id: "m", autoFinalize: false });
    job.start();
    await bench.clock.settle();
    await job.complete();
    await bench.clock.advance(200);
    for (let chunk = 0; chunk < 100; chunk += 1) mirror.write(chunk, "x");
    bench.events.length = 0;
    job.finalize();
    await bench.clock.advance(10);
    await job.drainBegin();
    const left = mirror.dirty.size;
    await bench.clock.advance(1000);
    expect(mirror.dirty.size).toBe(left);
    expect([job.status, left > 0]).toEqual(["pending", true]);
    job.drainEnd();
    expect((await bench.clock.run(job.done)).outcome).toBe("completed");
    expect(bench.story()).toEqual(["BLOCK_JOB_COMPLETED", "concluded", "null"]);
    expect(mirror.target).toEqual(mirror.source);
  });

  it("a force-cancel while it catches up ends it without a switch", async () => {
    const bench = new Bench();
    const mirror = new TinyMirror();
    const job = bench.manager.create(mirror, { id: "m", autoFinalize: false });
    job.start();
    await bench.clock.settle();
    await job.complete();
    await bench.clock.advance(200);
    for (let chunk = 0; chunk < 100; chunk += 1) mirror.write(chunk, "x");
    job.finalize();
    await bench.clock.advance(10);
    job.cancel({ force: true });
    expect((await bench.clock.run(job.done)).outcome).toBe("cancelled");
    expect(mirror).toMatchObject({ switched: false, guestsHeld: false });
  });
});

async function failing(
  step: "finalize" | "prepare",
): Promise<{ bench: Bench; driver: TestDriver; error: Error }> {
  const bench = new Bench();
  const { job, driver } = await pendingJob(bench);
  const error = new Error(`cannot ${step}`);
  const gate = createGate();
  gate.fail(error);
  Object.assign(driver, { [`${step}Gate`]: gate });
  job.finalize();
  expect(await bench.clock.run(job.done)).toEqual({ outcome: "failed", error });
  return { bench, driver, error };
}

describe("a failure", () => {
  it.each(["finalize", "prepare"] as const)("of %s undoes", async (step) => {
    const { bench, driver, error } = await failing(step);
    expect(driver.calls).toEqual(
      step === "finalize" ? ["finalize", "abort", "clean"] : ["finalize", "prepare", "abort", "clean"],
    );
    expect(bench.story()).toEqual(["aborting", "BLOCK_JOB_COMPLETED", "concluded", "null"]);
    expect(bench.events[1]?.data).toMatchObject({ error: error.message });
  });
});

describe("the point of no return", () => {
  it("cancel is refused while the result takes effect", async () => {
    const bench = new Bench();
    const { job, driver } = await pendingJob(bench);
    const gate = createGate();
    Object.assign(driver, { prepareGate: gate });
    job.finalize();
    await bench.clock.settle();
    expect(driver.calls).toEqual(["finalize", "prepare"]);
    expect(job.can("cancel")).toMatchObject({
      allowed: false,
      reason: { cause: "switching", code: "JOB_VERB_REFUSED", status: "pending" },
    });
    expect(() => {
      job.cancel({ force: true });
    }).toThrow(expect.objectContaining({ code: "JOB_VERB_REFUSED" }));
    const closing = bench.manager.close();
    gate.open();
    expect((await bench.clock.run(job.done)).outcome).toBe("completed");
    await bench.clock.run(closing);
  });
});
