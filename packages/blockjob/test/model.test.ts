import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Job,
  JobError,
  type JobStatus,
  JobTransaction,
  type JobVerb,
  canTransition,
} from "../src/index.ts";
import { Bench, type TestDriver } from "./harness.ts";
import { SEED } from "./seed.ts";

type Act = (job: Job, driver: TestDriver) => unknown;

/** What a user, a graph or the driver's work can do to a job at any moment, asked for whether allowed or not. */
const ACTS: Readonly<Record<string, Act>> = {
  pause: (job) => job.pause(),
  resume: (job) => job.resume(),
  speed: (job) => job.setSpeed(1000),
  fullSpeed: (job) => job.setSpeed(0),
  complete: (job) => job.complete(),
  completeAndResume: (job) => job.complete({ resume: true }),
  cancel: (job) => job.cancel(),
  forceCancel: (job) => job.cancel({ force: true }),
  finalize: (job) => job.finalize(),
  dismiss: (job) => job.dismiss(),
  change: (job) => job.change({}),
  start: (job) => job.start(),
  becomeReady: (_job, driver) => {
    driver.orders.ready = true;
  },
  finish: (_job, driver) => {
    driver.orders.finish = true;
  },
  fail: (_job, driver) => {
    driver.orders.fail = new Error("ordered");
  },
  stopOnError: (_job, driver) =>
    driver.control?.handleError(new Error("io"), { operation: "read", policy: "stop" }),
  charge: (_job, driver) => driver.control?.charge(50_000),
};

const VERB_OF: Readonly<Record<string, JobVerb>> = {
  pause: "pause",
  resume: "resume",
  speed: "set-speed",
  fullSpeed: "set-speed",
  complete: "complete",
  completeAndResume: "complete",
  cancel: "cancel",
  forceCancel: "cancel",
  finalize: "finalize",
  dismiss: "dismiss",
  change: "change",
};

const step = fc.record({
  act: fc.constantFrom(...Object.keys(ACTS), "drainBegin", "drainEnd"),
  on: fc.nat(),
  waitMs: fc.constantFrom(0, 0, 1, 5, 10, 25, 120),
});

/** One job of the run, with what the graph would know of it. */
interface Member {
  readonly job: Job;
  readonly driver: TestDriver;
  drains: number;
}

async function perform(member: Member, act: string): Promise<void> {
  const { job, driver } = member;
  if (act === "drainBegin") {
    member.drains += 1;
    void job.drainBegin();
    return;
  }
  if (act === "drainEnd") {
    if (member.drains === 0) return;
    member.drains -= 1;
    job.drainEnd();
    return;
  }
  const verb = VERB_OF[act];
  const allowed = verb === undefined ? undefined : job.can(verb).allowed;
  let refusal: unknown;
  try {
    await ACTS[act]?.(job, driver);
  } catch (error) {
    refusal = error;
    // Nothing but orderly refusals, whatever is asked when.
    expect(error).toBeInstanceOf(JobError);
  }
  // `complete` may be overtaken while the driver is asked; for all others `can` tells the truth.
  if (allowed !== undefined && verb !== "complete") expect(refusal === undefined).toBe(allowed);
}

/** Whatever happened, one life of a job must look like this. */
function checkLife(bench: Bench, { job, driver }: Member): void {
  const story = bench.events.filter((event) => {
    return ("id" in event.data ? event.data.id : event.data.device) === job.id;
  });
  let status: JobStatus = "undefined";
  for (const event of story) {
    if (event.event !== "JOB_STATUS_CHANGE") continue;
    expect(canTransition(status, event.data.status)).toBe(true);
    status = event.data.status;
  }
  expect(status).toBe("null");

  const names = story.map(({ event }) => event);
  const ends = names.filter((name) => name === "BLOCK_JOB_COMPLETED" || name === "BLOCK_JOB_CANCELLED");
  expect(ends).toHaveLength(names.length > 0 && job.snapshot().startedAtMs !== undefined ? 1 : 0);
  expect(names.filter((name) => name === "BLOCK_JOB_READY").length).toBeLessThanOrEqual(1);

  const count = (call: string): number => driver.calls.filter((each) => each === call).length;
  expect(count("clean")).toBe(1);
  expect(count("commit") + count("abort")).toBe(1);
  expect(driver.calls.at(-1)).toBe("clean");
  if (count("commit") === 1) expect([count("finalize"), count("prepare")]).toEqual([1, 1]);
  // Every pause that the driver was told of was also ended, before the end.
  expect(count("pause")).toBe(count("resume"));
}

describe("whatever happens in whatever order", () => {
  it("jobs live legal lives, end once, and are cleaned up once", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 40 }),
        fc.array(
          fc.record({ started: fc.boolean(), autoFinalize: fc.boolean(), autoDismiss: fc.boolean() }),
          { minLength: 1, maxLength: 3 },
        ),
        fc.boolean(),
        async (steps, kinds, together) => {
          const bench = new Bench();
          const transaction = new JobTransaction();
          const members: Member[] = kinds.map(({ autoFinalize, autoDismiss }, i) => ({
            ...bench.create({
              id: `job${i}`,
              autoFinalize,
              autoDismiss,
              ...(together ? { transaction } : {}),
            }),
            drains: 0,
          }));
          for (const [i, { started }] of kinds.entries()) if (started) members[i]?.job.start();

          for (const { act, on, waitMs } of steps) {
            const member = members[on % members.length];
            if (member === undefined) throw new Error("no member");
            await perform(member, act);
            for (const { job } of members) {
              const { offset, length, paused, userPaused } = job.snapshot();
              expect(offset).toBeLessThanOrEqual(length);
              if (userPaused) expect(paused).toBe(true);
            }
            await bench.clock.advance(waitMs);
          }

          // A drained job is quiet within bounded time, and a closed manager is empty: nothing ever hangs.
          for (const member of members) {
            await bench.clock.run(Promise.resolve(member.job.drainBegin()));
            member.job.drainEnd();
          }
          const results = Promise.all(members.map(({ job }) => job.done));
          await bench.clock.run(bench.manager.close());
          for (const { outcome, error, cleanupError } of await results) {
            expect(error === undefined).toBe(outcome !== "failed");
            expect(cleanupError).toBeUndefined();
          }
          expect(bench.manager.list()).toEqual([]);
          expect(bench.clock.pendingTimers).toBe(0);
          for (const member of members) checkLife(bench, member);
          if (together) {
            const outcomes = new Set((await results).map(({ outcome }) => outcome === "completed"));
            expect(outcomes.size).toBe(1);
          }
        },
      ),
      { seed: SEED, numRuns: 400 },
    );
  });
});
