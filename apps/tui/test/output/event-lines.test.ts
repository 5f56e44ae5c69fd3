import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { reportJobs } from "../../src/output/event-lines.ts";
import { plainWording } from "../../src/output/plain.ts";
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
