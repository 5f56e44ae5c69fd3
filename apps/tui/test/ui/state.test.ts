import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { JobsModel, type JobView } from "../../src/ui/model/job-view.ts";
import { dialogText, needsConfirmation, requiredName } from "../../src/ui/state/confirmation.ts";
import {
  appendLog,
  describeEvent,
  entryText,
  LOG_CAPACITY,
  type LogEntry,
} from "../../src/ui/state/event-log.ts";
import {
  cycleChoice,
  isShown,
  defaultJobId,
  editForm,
  moveFocus,
  type NewJobForm,
  newJobForm,
  problemOf,
  readForm,
} from "../../src/ui/state/new-job-form.ts";
import { lineText } from "../../src/ui/draw/line.ts";
import { glyphsFor } from "../../src/ui/glyphs.ts";
import { drawNewJobForm } from "../../src/ui/views/new-job-form.ts";
import { isConfirmed, type JobAction, pendingVerb } from "../../src/ui/state/pending.ts";
import { reduce } from "../../src/ui/state/reducer.ts";
import { editText, textField, type TextEdit } from "../../src/ui/state/text-field.ts";
import { initialState, TICKS_MS, type UiState } from "../../src/ui/state/ui-state.ts";
import type { JobSnapshot } from "../../src/job-source/job-source.ts";
import { snapshot } from "../support/snapshots.ts";
import { propertySeed } from "../support/seed.ts";

function viewsOf(jobs: readonly JobSnapshot[]): Map<string, JobView> {
  const { jobs: views } = new JobsModel().sample(jobs, 10_000, 10_000);
  return new Map(views.map((view) => [view.snapshot.id, view]));
}

function look(state: UiState, jobs: readonly JobSnapshot[], order = jobs.map((job) => job.id)): UiState {
  return reduce(state, { type: "jobs", order, views: viewsOf(jobs), nowMs: 10_000 });
}

const abc = ["a", "b", "c"].map((id) => snapshot({ id }));

function ignoredError(seconds: number): LogEntry {
  const data = { device: "vm", operation: "write", action: "ignore" } as const;
  return describeEvent({ event: "BLOCK_JOB_ERROR", data, timestamp: { seconds, microseconds: 0 } });
}

describe("selection", () => {
  test("begins at the first job and follows its id", () => {
    const start = look(initialState(1000), abc);
    expect(start.selectedId).toBe("a");
    const moved = reduce(start, { type: "move", by: 1, order: ["a", "b", "c"] });
    expect(moved.selectedId).toBe("b");
    expect(look(moved, abc, ["b", "a", "c"])).toMatchObject({ selectedId: "b", selectedIndex: 0 });
  });

  test("falls to the neighbour when its job disappears", () => {
    const atB = reduce(look(initialState(1000), abc), { type: "select", id: "b" });
    const known = look(atB, abc);
    expect(look(known, [snapshot({ id: "a" }), snapshot({ id: "c" })]).selectedId).toBe("c");
    expect(look(known, [snapshot({ id: "a" })]).selectedId).toBe("a");
    expect(look(known, []).selectedId).toBeUndefined();
  });

  test("never leaves the list, however one moves", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: -200, max: 200 })),
        fc.integer({ min: 1, max: 20 }),
        (moves, count) => {
          const order = Array.from({ length: count }, (_, index) => `job-${index}`);
          let state = look(
            initialState(1000),
            order.map((id) => snapshot({ id })),
          );
          for (const by of moves) {
            state = reduce(state, { type: "move", by, order });
            expect(order[state.selectedIndex]).toBe(state.selectedId);
          }
        },
      ),
      { seed: propertySeed, numRuns: 200 },
    );
  });

  test("moving in an empty list does nothing", () => {
    const state = initialState(1000);
    expect(reduce(state, { type: "move", by: 1, order: [] })).toBe(state);
  });
});

describe("pending verbs", () => {
  const confirming: readonly (readonly [JobAction, Partial<JobSnapshot>, Partial<JobSnapshot>])[] = [
    ["pause", { status: "running", userPaused: true }, { status: "paused", userPaused: true }],
    ["resume", { status: "paused", userPaused: false }, { status: "running" }],
    ["set-speed", { speed: 0 }, { speed: 77 }],
    ["complete", { status: "ready" }, { status: "waiting" }],
    ["cancel", { status: "running" }, { status: "aborting" }],
    ["force-cancel", { status: "waiting" }, { status: "aborting" }],
    ["finalize", { status: "pending" }, { status: "concluded" }],
  ];

  test.each(confirming)("%s waits for the job to say so", (action, before, after) => {
    const verb = pendingVerb(action, 0, 77);
    expect(isConfirmed(verb, snapshot(before))).toBe(false);
    expect(isConfirmed(verb, snapshot(after))).toBe(true);
    expect(verb.label.endsWith("~")).toBe(true);
  });

  test("what is told of a verb goes with it", () => {
    const [a] = abc;
    if (a === undefined) throw new Error("no sample");
    for (const [action, after] of [
      ["pause", { ...a, status: "paused", userPaused: true }],
      ["complete", { ...a, status: "concluded" }],
      ["cancel", { ...a, status: "aborting" }],
    ] as const) {
      let state = look(initialState(1000), abc);
      state = reduce(state, { type: "pending", id: "a", verb: pendingVerb(action, 0) });
      state = reduce(state, { type: "status", status: { text: "a: under way", tone: "plain", until: "a" } });
      state = look(state, [snapshot({ id: "a" }), snapshot({ id: "b", status: "paused" })]);
      expect(state.status?.text).toBe("a: under way");
      expect(look(state, [after]).status).toBeUndefined();
    }
  });

  test("a job that stops again as soon as it is resumed does not stay resuming", () => {
    const stopped = snapshot({ id: "a", status: "paused", userPaused: true });
    const timestamp = { seconds: 1, microseconds: 0 };
    let state = look(initialState(1000), [stopped]);
    state = reduce(state, { type: "pending", id: "a", verb: pendingVerb("resume", 0) });
    state = reduce(state, { type: "status", status: { text: "a: resuming", tone: "plain", until: "a" } });
    const settled = reduce(state, {
      type: "event",
      event: { event: "JOB_STATUS_CHANGE", data: { id: "a", status: "running" }, timestamp },
    });
    expect(settled.pending.size).toBe(0);
    expect(settled.status).toBeUndefined();
    expect(settled.log.map(({ text }) => text)).toEqual(["now running"]);
    const other = reduce(state, {
      type: "event",
      event: { event: "JOB_STATUS_CHANGE", data: { id: "b", status: "running" }, timestamp },
    });
    expect(other.pending.has("a")).toBe(true);
    expect(other.status?.text).toBe("a: resuming");
    const failed = reduce(state, {
      type: "event",
      event: {
        event: "BLOCK_JOB_ERROR",
        data: { device: "a", operation: "write", action: "stop" },
        timestamp,
      },
    });
    expect(failed.pending.size).toBe(0);
  });

  test("a job that is gone confirms everything, dismissing included", () => {
    expect(isConfirmed(pendingVerb("dismiss", 0), undefined)).toBe(true);
    expect(isConfirmed(pendingVerb("dismiss", 0), snapshot({ status: "concluded" }))).toBe(false);
  });

  test("a limit that the endpoint rounded does not wait for ever", () => {
    const waiting = reduce(initialState(1000), {
      type: "pending",
      id: "a",
      verb: pendingVerb("set-speed", -20_000, 5),
    });
    expect(look(waiting, abc).pending.size).toBe(0);
  });
});

const asking = (action: JobAction): UiState =>
  reduce(look(initialState(1000), abc), {
    type: "overlay",
    overlay: {
      kind: "confirm",
      confirmation: {
        intent: { kind: "action", action, jobId: "a" },
        focus: "cancel",
        typed: textField(),
      },
    },
  });

describe("dialogs", () => {
  test("stay while their question stands", () => {
    expect(look(asking("cancel"), abc).overlay?.kind).toBe("confirm");
  });

  test("close with a note when it does not", () => {
    const ended = look(asking("cancel"), [snapshot({ id: "a", status: "concluded" })]);
    expect(ended.overlay).toBeUndefined();
    expect(ended.status?.text).toContain("a is DONE meanwhile");
    expect(look(asking("cancel"), []).status?.text).toContain("a is gone");
  });

  test("complete needs READY all the time", () => {
    const ready = [snapshot({ id: "a", status: "ready" })];
    expect(look(asking("complete"), ready).overlay?.kind).toBe("confirm");
    expect(look(asking("complete"), abc).overlay).toBeUndefined();
  });
});

const view = (changes: Partial<JobSnapshot>): JobView => {
  const [found] = viewsOf([snapshot(changes)]).values();
  if (found === undefined) throw new Error("one job in, one view out");
  return found;
};

describe("confirmation policy", () => {
  test.each([
    ["pause", {}, false],
    ["resume", {}, false],
    ["set-speed", {}, false],
    ["cancel", {}, true],
    ["cancel", { status: "ready" }, true],
    ["force-cancel", {}, true],
    ["complete", { status: "ready" }, true],
    ["finalize", { status: "pending" }, true],
    ["dismiss", { status: "concluded" }, false],
    ["dismiss", { status: "concluded", error: { code: "EIO", message: "" } }, true],
    ["dismiss", { status: "concluded", cancelled: true }, true],
  ] as const)("%s of %j asks: %s", (action, changes, expected) => {
    expect(needsConfirmation(action, view(changes))).toBe(expected);
  });

  test("breaking off while users are switched wants the name, judged at the last moment", () => {
    const intent = { kind: "action", action: "force-cancel", jobId: "vm-database" } as const;
    expect(requiredName(intent, view({}), undefined)).toBeUndefined();
    expect(requiredName(intent, view({ status: "waiting" }), undefined)).toBe("vm-database");
    expect(requiredName(intent, view({ status: "pending" }), undefined)).toBe("vm-database");
    const completing = pendingVerb("complete", 0);
    expect(requiredName(intent, view({ status: "ready" }), completing)).toBe("vm-database");
  });
});

test.each([
  [1, 0, "Quitting cancels it."],
  [1, 1, "Quitting cancels it; its target stays a copy."],
  [3, 1, "Quitting cancels them; what is READY leaves a copy."],
  [2, 2, "Quitting cancels them; their targets stay copies."],
])("quitting %i jobs of which %i are READY says what becomes of them", (liveJobs, readyJobs, text) => {
  expect(dialogText({ kind: "quit", liveJobs, readyJobs, clients: 0 }, undefined)?.lines[1]).toBe(text);
});

describe("display settings", () => {
  test("sorting by the same key again turns it around", () => {
    const once = reduce(initialState(1000), { type: "sort", key: "rate" });
    expect(once.sort).toEqual({ key: "rate", reversed: false });
    expect(reduce(once, { type: "sort", key: "rate" }).sort.reversed).toBe(true);
  });

  test("the tick stays on its scale", () => {
    let state = initialState(1000);
    for (let press = 0; press < 20; press++) state = reduce(state, { type: "tick", by: -1 });
    expect(state.tickMs).toBe(TICKS_MS[0]);
    for (let press = 0; press < 20; press++) state = reduce(state, { type: "tick", by: 1 });
    expect(state.tickMs).toBe(TICKS_MS.at(-1));
  });

  test("the log forgets", () => {
    let log = initialState(1000).log;
    for (let index = 0; index < LOG_CAPACITY + 10; index++) {
      log = appendLog(log, { atMs: index, jobId: undefined, text: "", tone: "plain" });
    }
    expect(log).toHaveLength(LOG_CAPACITY);
    expect(log[0]?.atMs).toBe(10);
  });

  test("an error that comes again is counted, and crowds nothing out", () => {
    let log = appendLog([], { atMs: 0, jobId: "vm", text: "now running", tone: "dim" });
    for (let second = 1; second <= LOG_CAPACITY; second++) log = appendLog(log, ignoredError(second));
    expect(log.map(entryText)).toEqual([
      "now running",
      `write error: ignored, it is tried again (${LOG_CAPACITY} times)`,
    ]);
    expect(log.at(-1)?.atMs).toBe(LOG_CAPACITY * 1000);
    const other = appendLog(log, { ...ignoredError(0), jobId: "vm2" });
    expect(other).toHaveLength(3);
  });

  test("events speak plainly", () => {
    const timestamp = { seconds: 5, microseconds: 500_000 };
    const data = { type: "mirror", device: "vm", len: 1, offset: 1, speed: 0 };
    expect(describeEvent({ event: "BLOCK_JOB_READY", data, timestamp })).toMatchObject({
      atMs: 5500,
      jobId: "vm",
    });
    const failed = { ...data, error: "no space" };
    expect(describeEvent({ event: "BLOCK_JOB_COMPLETED", data: failed, timestamp }).text).toBe(
      "failed: no space",
    );
  });
});

describe("text editing", () => {
  test("words, ends, both directions", () => {
    const steps: readonly TextEdit[] = [
      { kind: "insert", text: "alpha beta" },
      { kind: "delete-word" },
      { kind: "insert", text: "gamma" },
      { kind: "home" },
      { kind: "delete" },
      { kind: "right" },
      { kind: "backspace" },
      { kind: "end" },
      { kind: "left" },
      { kind: "insert", text: "!" },
    ];
    expect(steps.reduce(editText, textField()).text).toBe("pha gamm!a");
  });

  test("a pasted line end does not submit and control characters do not get in", () => {
    expect(editText(textField(), { kind: "insert", text: "a\r\nb\u001B[2J" }).text).toBe("a b?[2J");
  });

  test("the cursor never splits a character", () => {
    const kinds = ["backspace", "delete", "left", "right", "home", "end", "delete-word"] as const;
    const edits = fc.array(
      fc.oneof(
        fc.constantFrom(...kinds).map((kind): TextEdit => ({ kind })),
        fc.string({ unit: "grapheme" }).map((text): TextEdit => ({ kind: "insert", text })),
      ),
    );
    fc.assert(
      fc.property(edits, (steps) => {
        const { text, cursor } = steps.reduce(editText, textField("日😀本"));
        expect(cursor >= 0 && cursor <= text.length).toBe(true);
        expect(text).not.toMatch(/\p{Cs}/u);
      }),
      { seed: propertySeed, numRuns: 500 },
    );
  });
});

describe("the form", () => {
  test("asks for a bitmap when the sync mode needs one, and then only", () => {
    const form = { ...newJobForm(["full", "bitmap", "none"]), focus: "sync" } as const;
    expect(isShown(form, "bitmap")).toBe(false);
    expect(readForm(form).request).not.toHaveProperty("bitmap");
    const onBitmap = moveFocus(cycleChoice(form, 1), 1);
    expect(onBitmap.focus).toBe("bitmap");
    expect(readForm(onBitmap).problems.map(({ field }) => field)).toContain("bitmap");
    const named = editForm(onBitmap, { kind: "insert", text: " since " });
    expect(readForm(named).request).toMatchObject({ sync: "bitmap", bitmap: "since" });
    expect(readForm(named).problems.map(({ field }) => field)).not.toContain("bitmap");
    const other = cycleChoice({ ...named, focus: "sync" }, 1);
    expect(readForm(other).request).not.toHaveProperty("bitmap");
  });

  test("complains only about what was visited", () => {
    const form = newJobForm(["full", "none"]);
    expect(problemOf(form, "sourcePath")).toBeUndefined();
    expect(problemOf(moveFocus(form, 1), "sourcePath")).toContain("path of the image");
  });

  test("focus goes round, in both directions", () => {
    let form = newJobForm(["full"]);
    const seen = new Set<string>();
    for (let step = 0; step < 8; step++) {
      seen.add(form.focus);
      form = moveFocus(form, 1);
    }
    expect(seen.size).toBe(8);
    expect(form.focus).toBe("sourcePath");
    expect(moveFocus(form, -1).focus).toBe("start");
  });

  test("choices", () => {
    const onSync = moveFocus(moveFocus(newJobForm(["full", "top", "none"]), 1), 1);
    expect(cycleChoice(onSync, 1).choices.sync).toBe("top");
    expect(cycleChoice(onSync, -1).choices.sync).toBe("none");
    expect(cycleChoice(moveFocus(onSync, 1), 1).choices.existing).toBe("yes");
  });

  test("further options are asked for where the source has them, and only there", () => {
    const further = {
      copyModes: ["background", "write-blocking", "auto"],
      largerTargets: ["refuse", "zero"],
      unmap: true,
      detectZeroes: true,
      formats: ["raw", "qcow2"],
      backingModes: ["leave", "open-chain"],
      replaces: true,
    } as const;
    const short = fieldsInOrder(newJobForm(["full"]));
    const long = fieldsInOrder(newJobForm(["full"], further));
    expect(long).not.toContain("largerTarget");
    const more = [
      "targetFormat",
      "backingMode",
      "replaces",
      "copyMode",
      "onSourceError",
      "onTargetError",
      "unmap",
      "detectZeroes",
      "bufferSize",
    ] as const;
    expect(long.filter((field) => !short.includes(field)).toSorted()).toEqual(more.toSorted());
    let form = newJobForm(["full"], further);
    const choices = more.filter((field) => field !== "bufferSize" && field !== "replaces");
    for (const focus of [...choices, "largerTarget"] as const) {
      form = cycleChoice({ ...form, focus }, 1);
    }
    form = editForm({ ...form, focus: "replaces" }, { kind: "insert", text: " throttle " });
    form = editForm({ ...form, focus: "bufferSize" }, { kind: "insert", text: "4M" });
    expect(readForm(form).request).toMatchObject({
      targetFormat: "raw",
      detectZeroes: true,
      largerTarget: "zero",
      copyMode: "write-blocking",
      onSourceError: "ignore",
      onTargetError: "ignore",
      unmap: false,
      bufferSize: 4 * 2 ** 20,
      backingMode: "leave",
      replaces: "throttle",
    });
    const untouched = readForm(newJobForm(["full"], further)).request;
    for (const field of ["backingMode", "replaces", "targetFormat"]) {
      expect(untouched).not.toHaveProperty(field);
    }
    // An image that is there has its format, and may be larger.
    const existing = cycleChoice({ ...form, focus: "existing" }, 1);
    expect(fieldsInOrder(existing)).not.toContain("targetFormat");
    expect(fieldsInOrder(existing)).toContain("largerTarget");
    expect(readForm(existing).request).not.toHaveProperty("targetFormat");
    expect(readForm(newJobForm(["full"])).request).not.toHaveProperty("copyMode");
  });

  test("a choice that does not fit shows what is chosen, and among how many", () => {
    const form = newJobForm(["full", "top", "none"], {
      copyModes: ["background", "write-blocking", "auto"],
      largerTargets: [],
      unmap: false,
      detectZeroes: false,
      formats: [],
      backingModes: [],
      replaces: false,
    });
    const chosen = cycleChoice({ ...form, focus: "copyMode" }, -1);
    const { lines } = drawNewJobForm(chosen, { width: 40, height: 20 }, glyphsFor(false));
    expect(lines.map(lineText).find((text) => text.includes("Copy mode"))).toContain("[auto]  3 of 3");
  });

  test("a buffer beyond the limit is complained about", () => {
    const form = editForm({ ...newJobForm(["full"]), focus: "bufferSize" }, { kind: "insert", text: "2G" });
    expect(readForm(form).problems).toContainEqual({ field: "bufferSize", message: "at most 1G" });
  });

  test("source and target have to differ", () => {
    let form = editForm(newJobForm(["full"]), { kind: "insert", text: "/a" });
    form = editForm(moveFocus(form, 1), { kind: "insert", text: "/a" });
    expect(readForm(form).problems).toEqual([
      { field: "targetPath", message: "the copy needs a path of its own" },
    ]);
  });

  test.each([
    ["/images/db server.qcow2", "mirror-db-server"],
    ["C:\\images\\disk.img", "mirror-disk"],
    ["", "mirror"],
    ["/images/größe.raw", "mirror-gr-e"],
  ])("the job of %j is called %j", (path, id) => {
    expect(defaultJobId(path)).toBe(id);
  });

  test("default names are always valid job names", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (path) => {
        expect(defaultJobId(path)).toMatch(/^[A-Za-z][A-Za-z0-9._-]*$/u);
      }),
      { seed: propertySeed },
    );
  });
});

/** The fields that the focus visits. */
function fieldsInOrder(form: NewJobForm): readonly string[] {
  const seen = new Set<string>();
  for (let each = form; !seen.has(each.focus); each = moveFocus(each, 1)) seen.add(each.focus);
  return [...seen];
}
