import { FakeClock } from "@blockmirror/ratelimit";
import { describe, expect, it } from "vitest";
import {
  JOB_STATUSES,
  JOB_TRANSITIONS,
  type JobStatus,
  canTransition,
  isCompletedStatus,
  isReadyStatus,
} from "../src/index.ts";
// The tables are public; that the engine obeys them in every status can only be forced from inside.
import { JobCore } from "../src/job-core.ts";

/** The QEMU jobs documentation once more, by letters, so that a slip in one copy shows. */
const LETTERS: Readonly<Record<string, JobStatus>> = {
  U: "undefined",
  C: "created",
  R: "running",
  P: "paused",
  Y: "ready",
  S: "standby",
  W: "waiting",
  D: "pending",
  X: "aborting",
  E: "concluded",
  N: "null",
};
const ALLOWED = "UC CR CX CN RP RY RW RX PR YS YW YX SY WD WX DX DE XX XE EN".split(" ");

const pairs = Object.keys(LETTERS).flatMap((from) => Object.keys(LETTERS).map((to) => `${from}${to}`));

function statusOf(letter: string | undefined): JobStatus {
  const status = LETTERS[letter ?? ""];
  if (status === undefined) throw new TypeError(`no status ${letter}`);
  return status;
}

/** A core led to `status` on legal ways, and the statuses it told since. */
function coreIn(status: JobStatus): { readonly core: JobCore; readonly told: JobStatus[] } {
  const told: JobStatus[] = [];
  const core = new JobCore({
    id: "job0",
    driver: { type: "test", run: async () => {} },
    clock: new FakeClock(),
    epochNow: () => 0,
    speed: 0,
    sharedLimit: undefined,
    autoFinalize: true,
    autoDismiss: true,
    emit: (event) => {
      if (event.event === "JOB_STATUS_CHANGE") told.push(event.data.status);
    },
    forget: () => {},
  });
  for (const step of pathTo(status)) core.transition(step);
  told.length = 0;
  return { core, told };
}

/** Shortest legal way from `undefined`. */
function pathTo(goal: JobStatus): JobStatus[] {
  const paths: JobStatus[][] = [[]];
  for (const path of paths) {
    const at = path.at(-1) ?? "undefined";
    if (at === goal) return path;
    for (const next of JOB_TRANSITIONS[at]) if (!path.includes(next)) paths.push([...path, next]);
  }
  throw new Error(`${goal} cannot be reached`);
}

describe("the transition table", () => {
  it.each(pairs)("%s", (pair) => {
    const [from, to] = [statusOf(pair[0]), statusOf(pair[1])];
    const allowed = ALLOWED.includes(pair);
    expect(canTransition(from, to)).toBe(allowed);

    const { core, told } = coreIn(from);
    if (allowed) {
      core.transition(to);
      expect(core.status).toBe(to);
      expect(told).toEqual(from === to ? [] : [to]);
    } else {
      expect(() => {
        core.transition(to);
      }).toThrow(TypeError);
      expect(core.status).toBe(from);
      expect(told).toEqual([]);
    }
  });

  it("names every status once", () => {
    expect(JOB_STATUSES.toSorted()).toEqual(Object.values(LETTERS).toSorted());
    expect(Object.keys(JOB_TRANSITIONS).toSorted()).toEqual(JOB_STATUSES.toSorted());
  });

  it("knows which statuses are ready and which are past the work", () => {
    expect(JOB_STATUSES.filter(isReadyStatus)).toEqual(["ready", "standby"]);
    expect(JOB_STATUSES.filter(isCompletedStatus)).toEqual([
      "waiting",
      "pending",
      "aborting",
      "concluded",
      "null",
    ]);
  });
});
