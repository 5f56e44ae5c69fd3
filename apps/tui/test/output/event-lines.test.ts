import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { describeEnd } from "../../src/output/describe-end.ts";
import { reportJobs } from "../../src/output/event-lines.ts";
import { outcomeLines } from "../../src/detach/outcome-lines.ts";
import { jsonWording } from "../../src/output/json.ts";
import { foregroundWording, plainWording } from "../../src/output/plain.ts";
import type { JobSource, JobSourceEvent } from "../../src/job-source/job-source.ts";
import { snapshot } from "../support/snapshots.ts";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

class Sink {
  readonly lines: string[] = [];
  writableNeedDrain = false;

  write(text: string): void {
    this.lines.push(text);
  }
}

function sourceOf(listeners: Set<(event: JobSourceEvent) => void>): Pick<JobSource, "list" | "subscribe"> {
  return {
    list: () => [snapshot({ id: "m0" })],
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

test("a reader that has stopped costs progress, never an event, and gets progress again", () => {
  const listeners = new Set<(event: JobSourceEvent) => void>();
  const sink = new Sink();
  const reporter = reportJobs(sourceOf(listeners), sink, plainWording, 1000);
  vi.advanceTimersByTime(2000);
  expect(sink.lines).toHaveLength(2);
  sink.writableNeedDrain = true;
  vi.advanceTimersByTime(60_000);
  expect(sink.lines).toHaveLength(2);
  const timestamp = { seconds: 1, microseconds: 0 };
  for (const tell of listeners) {
    tell({ event: "JOB_STATUS_CHANGE", data: { id: "m0", status: "paused" }, timestamp });
  }
  expect(sink.lines.at(-1)).toContain("m0: paused");
  sink.writableNeedDrain = false;
  vi.advanceTimersByTime(1000);
  expect(sink.lines).toHaveLength(4);
  reporter.stop();
  vi.advanceTimersByTime(5000);
  expect(sink.lines).toHaveLength(4);
  expect(listeners.size).toBe(0);
});

test("what a job could not give back is told with its end, in lines and in JSON", () => {
  const timestamp = { seconds: 1, microseconds: 0 };
  const event = { event: "JOB_STATUS_CHANGE", data: { id: "m0", status: "concluded" }, timestamp } as const;
  const clean = snapshot({ id: "m0", status: "concluded" });
  const leaky = { ...clean, cleanupError: "the target does not answer" };
  expect(plainWording.event(event, clean)).toBeUndefined();
  expect(plainWording.event(event, leaky)).toMatch(/ m0: could not clean up: the target does not answer$/u);
  expect(JSON.parse(jsonWording.event(event, clean) ?? "")).toEqual(event);
  expect(JSON.parse(jsonWording.event(event, leaky) ?? "")).toEqual({
    ...event,
    data: { ...event.data, "cleanup-error": "the target does not answer" },
  });
});

test("a job in the background that left something behind is told with it and its log", () => {
  const record = {
    id: "m0",
    type: "mirror",
    source: "/a",
    target: "/b",
    pid: 1,
    socket: "/s",
    log: "/l.log",
    startedAt: "2026-01-01T00:00:00.000Z",
  };
  const end = { outcome: "completed", status: 0, summary: "m0: completed", at: record.startedAt } as const;
  expect(outcomeLines({ state: "ended", record: { ...record, end } })).toHaveLength(1);
  const leaky = { ...end, cleanupError: "the target does not answer" };
  expect(outcomeLines({ state: "ended", record: { ...record, end: leaky } }).slice(1)).toEqual([
    "  could not clean up: the target does not answer",
    "  log /l.log",
  ]);
});

test.each([
  ["mirror", "/b.raw is not a copy;"],
  ["commit", "/b.raw holds a part of the overlay, which shows what it showed;"],
])("a %s that was cancelled says what its target is", (type, text) => {
  const target = { name: "b", driver: "raw", size: 10, filename: "/b.raw" };
  expect(describeEnd(snapshot({ id: "j", type, target }), "cancelled")).toContain(`j: cancelled, ${text}`);
});

test("a job that stopped is told how it goes on where its lines are read", () => {
  const timestamp = { seconds: 1, microseconds: 0 };
  const event = { event: "JOB_STATUS_CHANGE", data: { id: "m0", status: "paused" }, timestamp } as const;
  const full = snapshot({ id: "m0", status: "paused", ioStatus: "nospace" });
  expect(plainWording.event(event, full)).toMatch(
    /paused \(the target is full; make room, then resume it by attach\)$/u,
  );
  // Nobody can attach to a job in the foreground, and lines have no keys.
  expect(foregroundWording.event(event, full)).toMatch(
    /make room, then end it by ctrl-c and start it again; only /u,
  );
});

test("a job that does not move has no rate and no time left, but a reason", () => {
  const stopped = snapshot({
    status: "paused",
    paused: true,
    ioStatus: "nospace",
    errorCount: 1,
    dirtyBytes: 6 * 2 ** 30,
    etaSec: 10,
  });
  expect(plainWording.progress(stopped, 0)).toMatch(
    /: paused 40\.0%, 4\.00 GiB of 10\.0 GiB, 6\.00 GiB dirty, 1 error, the target is full$/u,
  );
  const { data }: { readonly data: object } = JSON.parse(jsonWording.progress(stopped, 0) ?? "");
  expect(data).toMatchObject({ "copy-rate": 0, "io-status": "nospace" });
  expect(data).not.toHaveProperty("eta");
  const running = plainWording.progress({ ...stopped, status: "running", paused: false, ioStatus: "ok" }, 0);
  expect(running).toMatch(/, 100 MiB\/s, ETA 10s, /u);
});

test("where a source tells no rate it is measured, and what is not known is left out", () => {
  const MiB = 2 ** 20;
  let seconds = 0;
  const source: Pick<JobSource, "list" | "subscribe"> = {
    list: () => {
      seconds += 1;
      const offset = seconds * 10 * MiB;
      const told = { offset, length: 100 * MiB, copyRateBytesPerSec: undefined, updatedAtMs: Date.now() };
      return [snapshot({ id: "m0", ...told })];
    },
    subscribe: () => () => {},
  };
  const lines = new Sink();
  const objects = new Sink();
  const reporter = reportJobs(source, lines, plainWording, 1000);
  vi.advanceTimersByTime(3000);
  reporter.stop();
  expect(lines.lines[0]).toMatch(/ m0: running 10\.0%, 10\.0 MiB of 100 MiB\n$/u);
  expect(lines.lines[2]).toMatch(/ m0: running 30\.0%, 30\.0 MiB of 100 MiB, 10\.0 MiB\/s, ETA 7s\n$/u);
  seconds = 0;
  const other = reportJobs(source, objects, jsonWording, 1000);
  vi.advanceTimersByTime(2000);
  other.stop();
  const { data }: { readonly data: object } = JSON.parse(objects.lines[1] ?? "");
  expect(data).toMatchObject({ "copy-rate": 10 * MiB, eta: 8 });
});

test("a job whose devices do not answer says so instead of averages that fade", () => {
  const silent = snapshot({ id: "m0", etaSec: 40, unansweredMs: 12_400, unansweredBy: "target" });
  expect(plainWording.progress(silent, 0)).toMatch(
    /: running 40\.0%, 4\.00 GiB of 10\.0 GiB, no answer from the target for 12s$/u,
  );
  expect(plainWording.progress({ ...silent, unansweredBy: undefined }, 0)).toMatch(/, no answer for 12s$/u);
  expect(plainWording.progress({ ...silent, unansweredMs: 400 }, 0)).toMatch(/MiB\/s, ETA 40s$/u);
  expect(JSON.parse(String(jsonWording.progress(silent, 0)))).toMatchObject({
    data: { "unanswered-ms": 12_400 },
  });
});

test("the error that ends a job is told to people once, however many operations it ends", () => {
  const timestamp = { seconds: 0, microseconds: 0 };
  const failed = (device: string, action: "report" | "ignore"): JobSourceEvent => ({
    event: "BLOCK_JOB_ERROR",
    data: { device, operation: "write", action },
    timestamp,
  });
  const created: JobSourceEvent = {
    event: "JOB_STATUS_CHANGE",
    data: { id: "m0", status: "created" },
    timestamp,
  };
  const story = [
    failed("m0", "report"),
    failed("m0", "report"),
    failed("m1", "report"),
    created,
    failed("m0", "report"),
  ];
  const ignored = [failed("m0", "ignore"), failed("m0", "ignore")];
  const linesOf = (wording: typeof plainWording): readonly string[] => {
    const listeners = new Set<(event: JobSourceEvent) => void>();
    const sink = new Sink();
    const reporter = reportJobs(sourceOf(listeners), sink, wording, 1000);
    for (const event of [...story, ...ignored]) for (const tell of listeners) tell(event);
    reporter.stop();
    return sink.lines.filter((line) => /error/iu.test(line));
  };
  expect(linesOf(plainWording).map((line) => line.replace(/^\S+ /u, ""))).toEqual([
    "m0: write error: the job ends\n",
    "m1: write error: the job ends\n",
    "m0: write error: the job ends\n",
    expect.stringContaining("m0: write error: "),
    expect.stringContaining("m0: write error: "),
  ]);
  expect(linesOf(jsonWording)).toHaveLength(6);
});
