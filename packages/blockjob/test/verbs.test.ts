import { describe, expect, it } from "vitest";
import { JOB_VERBS, type Job, JobError, type JobStatus, type JobVerb, isVerbAllowed } from "../src/index.ts";
import { Bench } from "./harness.ts";

type VisibleStatus = Exclude<JobStatus, "undefined">;

const COLUMNS: readonly VisibleStatus[] = [
  "created",
  "running",
  "paused",
  "ready",
  "standby",
  "waiting",
  "pending",
  "aborting",
  "concluded",
  "null",
];

/** The verb table of the QEMU jobs documentation, columns as above. */
const TABLE: Readonly<Record<JobVerb, string>> = {
  cancel: "yyyyyyy---",
  pause: "yyyyy-----",
  resume: "yyyyy-----",
  "set-speed": "yyyyy-----",
  complete: "---yy-----",
  finalize: "------y---",
  dismiss: "--------y-",
  change: "yyyyy-----",
};

const CALLS: Readonly<Record<JobVerb, (job: Job) => unknown>> = {
  cancel: (job) => job.cancel({ force: true }),
  pause: (job) => job.pause(),
  resume: (job) => job.resume(),
  "set-speed": (job) => job.setSpeed(5),
  complete: (job) => job.complete(),
  finalize: (job) => job.finalize(),
  dismiss: (job) => job.dismiss(),
  change: (job) => job.change({}),
};

const VERBS: readonly JobVerb[] = [
  "cancel",
  "pause",
  "resume",
  "set-speed",
  "complete",
  "finalize",
  "dismiss",
  "change",
];

const cases = VERBS.flatMap((verb) =>
  COLUMNS.map((status, column) => ({ verb, status, allowed: TABLE[verb][column] === "y" })),
);

/** What the job answers, with what was thrown or rejected. */
async function call(job: Job, verb: JobVerb): Promise<unknown> {
  try {
    await CALLS[verb](job);
    return undefined;
  } catch (error) {
    return error;
  }
}

describe("the verb table", () => {
  it.each(cases)("$verb in $status: $allowed", async ({ verb, status, allowed }) => {
    expect(isVerbAllowed(verb, status)).toBe(allowed);

    const bench = new Bench();
    const { job } = await bench.jobIn(status);
    // `pause` and `resume` look at the user's pause besides the table; give them what they need.
    const isUserPaused = job.snapshot().userPaused;
    if (verb === "pause" && isUserPaused) {
      job.resume();
      void job.drainBegin();
      await bench.clock.settle();
    }
    if (verb === "resume" && allowed && !isUserPaused) job.pause();
    expect(job.can(verb).allowed).toBe(allowed);

    const before = job.status;
    const error = await call(job, verb);
    if (allowed) {
      expect(error).toBeUndefined();
      return;
    }
    expect(error).toBeInstanceOf(JobError);
    if (!(error instanceof JobError)) return;
    // Resuming a job that nobody paused is refused for that reason first.
    const notPaused = verb === "resume";
    expect(error.code).toBe(notPaused ? "JOB_NOT_PAUSED" : "JOB_VERB_REFUSED");
    expect(error.message).toBe(
      notPaused
        ? "Can't resume a job that was not paused"
        : `Job 'job0' in state '${status}' cannot accept command verb '${verb}'`,
    );
    expect(error.reason).toEqual({
      verb,
      status,
      cause: notPaused ? "not-paused" : "status",
      code: error.code,
      message: error.message,
      allowedIn: JOB_VERBS[verb],
    });
    expect(job.can(verb)).toEqual({ allowed: false, reason: error.reason });
    expect(job.status).toBe(before);
  });

  it("accepts nothing in undefined and null", () => {
    for (const verb of VERBS) {
      expect(isVerbAllowed(verb, "undefined")).toBe(false);
      expect(isVerbAllowed(verb, "null")).toBe(false);
    }
  });

  it("names every verb", () => {
    expect(Object.keys(JOB_VERBS).toSorted()).toEqual(VERBS.toSorted());
  });
});

describe("conditions besides the table", () => {
  it("pause of a job the user paused", async () => {
    const { job } = await new Bench().jobIn("paused");
    const error = await call(job, "pause");
    expect(error).toMatchObject({
      code: "JOB_ALREADY_PAUSED",
      message: "Job is already paused",
      reason: { cause: "already-paused", status: "paused", verb: "pause" },
    });
  });

  it("resume of a job that only a drained section holds", async () => {
    const bench = new Bench();
    const { job } = await bench.jobIn("running");
    await job.drainBegin();
    expect(job.status).toBe("paused");
    expect(await call(job, "resume")).toMatchObject({ code: "JOB_NOT_PAUSED" });
  });

  it("complete after a soft cancel", async () => {
    const { job } = await new Bench().jobIn("ready");
    job.cancel();
    expect(await call(job, "complete")).toMatchObject({
      code: "JOB_CANNOT_COMPLETE",
      message: "The active block job 'job0' cannot be completed",
      reason: { cause: "cancel-requested" },
    });
  });

  it("complete and change of a job type that has neither", async () => {
    const bench = new Bench();
    const job = bench.manager.create(
      {
        type: "plain",
        async run(control) {
          control.transitionToReady();
          while (!control.isForceCancelled) await control.sleep(10);
        },
      },
      { id: "plain" },
    );
    job.start();
    expect(job.status).toBe("ready");
    expect(await call(job, "complete")).toMatchObject({
      code: "JOB_CANNOT_COMPLETE",
      reason: { cause: "not-supported" },
    });
    expect(await call(job, "change")).toMatchObject({
      code: "JOB_NOT_SUPPORTED",
      message: "Job type does not support change",
    });
  });

  it.each([-1, NaN, Infinity])("set-speed to %d", async (speed) => {
    const { job, driver } = await new Bench().jobIn("running");
    expect(() => {
      job.setSpeed(speed);
    }).toThrow(
      expect.objectContaining({
        code: "JOB_INVALID_PARAMETER",
        message: "Parameter 'speed' expects a non-negative value",
      }),
    );
    expect(job.speed).toBe(0);
    expect(driver.calls).not.toContain("setSpeed(-1)");
  });

  it("the status is looked at before the value", async () => {
    const { job } = await new Bench().jobIn("concluded");
    expect(() => {
      job.setSpeed(-1);
    }).toThrow(expect.objectContaining({ code: "JOB_VERB_REFUSED" }));
  });

  it("change hands its options to the driver, whose refusal is the verb's", async () => {
    const { job, driver } = await new Bench().jobIn("running");
    await job.change({ "copy-mode": "write-blocking" });
    expect(driver.calls).toContain('change({"copy-mode":"write-blocking"})');
    driver.change = () => {
      throw new RangeError("no such mode");
    };
    await expect(job.change({})).rejects.toThrow("no such mode");
    expect(job.status).toBe("running");
  });
});
