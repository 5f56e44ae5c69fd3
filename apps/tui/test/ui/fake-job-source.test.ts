import { describe, expect, test } from "vitest";
import { FakeClock } from "../../src/job-source/clock.ts";
import type { FakeJobScript } from "../../src/job-source/fake-job.ts";
import { FakeJobSource } from "../../src/job-source/fake-job-source.ts";
import type { JobSnapshot, JobSourceEvent, JobStatus, JobVerb } from "../../src/job-source/job-source.ts";
import { createJobMap } from "../../src/job-source/job-source.ts";
import { verbPermission } from "../../src/job-source/verb-rules.ts";
import { snapshot } from "../support/snapshots.ts";

const MiB = 2 ** 20;

interface Rig {
  readonly clock: FakeClock;
  readonly source: FakeJobSource;
  readonly events: JobSourceEvent[];
  job(): JobSnapshot;
}

function rig(script: Partial<FakeJobScript> = {}): Rig {
  const clock = new FakeClock();
  const source = new FakeJobSource({ clock });
  const events: JobSourceEvent[] = [];
  source.subscribe((event) => events.push(event));
  source.add({ id: "job", size: 100 * MiB, copyRateBytesPerSec: 50 * MiB, ...script });
  return {
    clock,
    source,
    events,
    job: () => {
      const [only] = source.list();
      if (only === undefined) throw new Error("the job is gone");
      return only;
    },
  };
}

function statuses(events: readonly JobSourceEvent[]): string[] {
  return events.flatMap((event) => (event.event === "JOB_STATUS_CHANGE" ? [event.data.status] : []));
}

function names(events: readonly JobSourceEvent[]): string[] {
  return events
    .map((event) => event.event)
    .filter((name) => name !== "changed" && name !== "JOB_STATUS_CHANGE");
}

describe("the life of a scripted job", () => {
  test("copies, gets ready, completes", async () => {
    const { clock, source, events, job } = rig();
    clock.advance(500);
    expect(job()).toMatchObject({ status: "running", phase: "copy" });
    clock.advance(5000);
    expect(job()).toMatchObject({ status: "ready", dirtyBytes: 0, ready: true });
    await source.complete("job");
    expect(job().status).toBe("ready");
    clock.advance(1000);
    expect(statuses(events)).toEqual(["running", "ready", "waiting", "pending", "concluded"]);
    expect(names(events)).toEqual(["BLOCK_JOB_READY", "BLOCK_JOB_COMPLETED"]);
  });

  test("waits in pending when finalized by hand", async () => {
    const { clock, source, events, job } = rig({ copiedShare: 1, autoFinalize: false });
    clock.advance(1000);
    await source.complete("job");
    clock.advance(5000);
    expect(job().status).toBe("pending");
    expect(names(events)).toContain("BLOCK_JOB_PENDING");
    await source.finalize("job");
    clock.advance(1000);
    expect(job()).toMatchObject({ status: "concluded", cancelled: false });
  });

  test("a cancel before READY aborts, after READY it is a success", async () => {
    const early = rig();
    early.clock.advance(500);
    await early.source.cancel("job", { force: false });
    early.clock.advance(500);
    expect(early.job()).toMatchObject({ status: "concluded", cancelled: true });
    expect(names(early.events)).toEqual(["BLOCK_JOB_CANCELLED"]);
    const late = rig({ copiedShare: 1 });
    late.clock.advance(1000);
    await late.source.cancel("job", { force: false });
    late.clock.advance(1000);
    expect(late.job()).toMatchObject({ status: "concluded", cancelled: false });
    expect(names(late.events)).toEqual(["BLOCK_JOB_READY", "BLOCK_JOB_COMPLETED"]);
  });

  test("stops on an error and goes on after resume", async () => {
    const { clock, source, events, job } = rig({
      failure: { atShare: 0.2, action: "stop", ioStatus: "nospace" },
    });
    clock.advance(2000);
    expect(job()).toMatchObject({ status: "paused", ioStatus: "nospace", errorCount: 1, userPaused: true });
    expect(names(events)).toEqual(["BLOCK_JOB_ERROR"]);
    expect(source.map("job", 64)?.failed.some((share) => share > 0)).toBe(true);
    await source.resume("job");
    clock.advance(5000);
    expect(job()).toMatchObject({ status: "ready", ioStatus: "ok" });
  });

  test("fails when told to report", () => {
    const { clock, events, job } = rig({ failure: { atShare: 0.2, action: "report" } });
    clock.advance(3000);
    expect(job()).toMatchObject({ status: "concluded", error: { code: "EIO" } });
    expect(names(events)).toEqual(["BLOCK_JOB_ERROR", "BLOCK_JOB_COMPLETED"]);
  });

  test("obeys its speed limit", async () => {
    const { clock, source, job } = rig();
    await source.setSpeed("job", MiB);
    clock.advance(10_000);
    expect(job().bytesCopied).toBeLessThanOrEqual(10 * MiB);
    expect(job().bytesCopied).toBeGreaterThan(9 * MiB);
  });

  test("disappears by itself when told so", () => {
    const { clock, source, events } = rig({ autoDismiss: true, failure: { atShare: 0, action: "report" } });
    clock.advance(2000);
    expect(source.list()).toEqual([]);
    expect(statuses(events).at(-1)).toBe("null");
  });

  test("the same script plays the same way", () => {
    const [first, second] = [rig({ dirtyRateBytesPerSec: MiB }), rig({ dirtyRateBytesPerSec: MiB })];
    first.clock.advance(1700);
    second.clock.advance(1700);
    expect(first.job()).toEqual(second.job());
  });
});

describe("the map", () => {
  test("agrees with the counters", () => {
    const { clock, source, job } = rig();
    clock.advance(1000);
    const map = source.map("job", 256);
    const dirty = map?.dirty.reduce((sum, share) => sum + share, 0) ?? 0;
    expect((dirty / 256) * 100 * MiB).toBeCloseTo(job().dirtyBytes ?? Number.NaN, -2);
  });

  test("fills the map it is given, and knows nothing of strangers", () => {
    const { source } = rig();
    const into = createJobMap(16);
    expect(source.map("job", 16, into)).toBe(into);
    expect(source.map("nobody", 16)).toBeUndefined();
    expect(() => createJobMap(0)).toThrow(RangeError);
  });
});

describe("refusals", () => {
  test("what the verb table forbids rejects with its reason", async () => {
    const { clock, source } = rig();
    clock.advance(200);
    await expect(source.complete("job")).rejects.toThrow("complete needs READY");
    await expect(source.pause("nobody")).rejects.toThrow("no such job");
    expect(source.accepted).toEqual([]);
  });

  const all: readonly JobStatus[] = [
    "created",
    "running",
    "paused",
    "ready",
    "standby",
    "waiting",
    "pending",
    "aborting",
    "concluded",
  ];
  // The verb table of the QEMU jobs documentation, column for column.
  const table: readonly (readonly [JobVerb, string])[] = [
    ["cancel", "yyyyyyy--"],
    ["pause", "yyyyy----"],
    ["resume", "yyyyy----"],
    ["set-speed", "yyyyy----"],
    ["complete", "---yy----"],
    ["finalize", "------y--"],
    ["dismiss", "--------y"],
  ];
  test.each(table)("verb table: %s", (verb, row) => {
    const answers = all.map((status) => {
      const job = snapshot({ status, userPaused: verb === "resume" });
      return verbPermission(job, verb).allowed ? "y" : "-";
    });
    expect(answers.join("")).toBe(row);
  });

  test("pausing twice and resuming what runs are refused", () => {
    expect(verbPermission(snapshot({ userPaused: true }), "pause").allowed).toBe(false);
    expect(verbPermission(snapshot({ userPaused: false }), "resume").allowed).toBe(false);
  });
});

describe("the fake clock", () => {
  test("fires in order of time, then of creation, timers of timers included", () => {
    const clock = new FakeClock(0);
    const fired: string[] = [];
    clock.schedule(20, () => fired.push(`b@${clock.now()}`));
    clock.schedule(10, () => {
      fired.push(`a@${clock.now()}`);
      clock.schedule(5, () => fired.push(`c@${clock.now()}`));
    });
    const cancel = clock.schedule(15, () => fired.push("never"));
    cancel();
    clock.schedule(20, () => fired.push(`d@${clock.now()}`));
    clock.advance(20);
    expect(fired).toEqual(["a@10", "c@15", "b@20", "d@20"]);
    expect(clock.pendingTimers).toBe(0);
    expect(() => {
      clock.advance(-1);
    }).toThrow(RangeError);
  });
});
