import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { JobSnapshot } from "../../src/job-source/job-source.ts";
import { drawBar } from "../../src/ui/draw/bar.ts";
import { drawPlot, drawSparkline } from "../../src/ui/draw/chart.ts";
import { drawDiskMap } from "../../src/ui/draw/disk-map.ts";
import {
  fitLine,
  joinTones,
  type Line,
  lineText,
  lineWidth,
  segment,
  spread,
} from "../../src/ui/draw/line.ts";
import { drawPanel } from "../../src/ui/draw/panel.ts";
import { createJobMap } from "../../src/job-source/job-source.ts";
import { glyphsFor } from "../../src/ui/glyphs.ts";
import { drawRow } from "../../src/ui/model/cells.ts";
import { fitColumns } from "../../src/ui/model/columns.ts";
import { EwmaRate } from "../../src/ui/model/ewma.ts";
import { DEFAULT_KEYMAP } from "../../src/ui/key-bindings.ts";
import { adviceOf, fieldsOf } from "../../src/ui/model/fields.ts";
import { reportText } from "../../src/ui/model/report.ts";
import { plainWording } from "../../src/output/plain.ts";
import { drawErrorPanel } from "../../src/ui/views/error-panel.ts";
import { freezeSample, JobsModel, type JobView } from "../../src/ui/model/job-view.ts";
import { matchesFilter, SORT_KEYS, sortJobs } from "../../src/ui/model/order.ts";
import { etaSecOf, progressOf } from "../../src/ui/model/progress.ts";
import { Trend, TREND_CAPACITY } from "../../src/ui/model/trend.ts";
import { snapshot, snapshots } from "../support/snapshots.ts";
import { propertySeed } from "../support/seed.ts";

const MiB = 2 ** 20;
const seed = { seed: propertySeed, numRuns: 500 };

function viewOf(job: JobSnapshot): JobView {
  const [view] = new JobsModel().sample([job], job.updatedAtMs, 10_000).jobs;
  if (view === undefined) throw new Error("one job in, one view out");
  return view;
}

function panelText(view: JobView): string {
  const { lines } = drawErrorPanel(view, { width: 80, height: 22 }, DEFAULT_KEYMAP, glyphsFor(false));
  return lines.map((line) => lineText(line).trimEnd()).join(" ");
}

describe("EWMA rate", () => {
  test("unknown before two samples", () => {
    const rate = new EwmaRate();
    expect(rate.perSec).toBeUndefined();
    rate.sample(100, 0);
    expect(rate.perSec).toBeUndefined();
    rate.sample(200, 1000);
    expect(rate.perSec).toBe(100);
  });

  test("half of a change is there after one half-life, at any tick", () => {
    for (const tickMs of [100, 500, 1000, 5000]) {
      const rate = new EwmaRate(5);
      rate.sample(0, 0);
      rate.sample(1000, 1000);
      for (let atMs = 1000 + tickMs; atMs <= 6000; atMs += tickMs) rate.sample(1000, atMs);
      expect(rate.perSec).toBeCloseTo(500, 6);
    }
  });

  test("a counter that starts anew is a new base, not a negative rate", () => {
    const rate = new EwmaRate();
    rate.sample(0, 0);
    rate.sample(1000, 1000);
    rate.sample(0, 2000);
    expect(rate.perSec).toBe(1000);
    rate.sample(1000, 3000);
    expect(rate.perSec).toBeCloseTo(1000, 6);
  });

  test("never negative, never NaN, whatever comes", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.double(), fc.integer({ min: -5, max: 5000 }))), (samples) => {
        const rate = new EwmaRate();
        let atMs = 0;
        for (const [total, step] of samples) rate.sample(total, (atMs += step));
        if (rate.perSec !== undefined) expect(rate.perSec).toBeGreaterThanOrEqual(0);
      }),
      seed,
    );
  });
});

describe("trend", () => {
  test("one point per second, gaps repeat the value before them", () => {
    const trend = new Trend();
    trend.record(1, 1000);
    trend.record(2, 1500);
    trend.record(3, 2000);
    trend.record(4, 5000);
    expect(trend.latest(10)).toEqual([2, 3, 3, 3, 4]);
    expect(trend.latest(2)).toEqual([3, 4]);
  });

  test("forgets the oldest, and a copy stands still", () => {
    const trend = new Trend();
    for (let second = 0; second < TREND_CAPACITY + 50; second++) trend.record(second, second * 1000);
    expect(trend.length).toBe(TREND_CAPACITY);
    const copy = trend.copy();
    trend.record(9999, (TREND_CAPACITY + 50) * 1000);
    expect(copy.at(0)).toBe(TREND_CAPACITY + 49);
    expect(trend.at(0)).toBe(9999);
  });
});

describe("progress", () => {
  test("a length of zero is neither 0 % nor 100 %", () => {
    expect(progressOf(snapshot({ offset: 0, length: 0 })).known).toBe(false);
  });

  test("a cancelled or failed job is never finished", () => {
    const ended = { status: "concluded", offset: 10, length: 10 } as const;
    expect(progressOf(snapshot(ended)).finished).toBe(true);
    expect(progressOf(snapshot({ ...ended, cancelled: true })).finished).toBe(false);
    expect(progressOf(snapshot({ ...ended, error: { code: "EIO", message: "" } })).finished).toBe(false);
  });

  test.each(["waiting", "pending"] as const)(
    "a %s job that copied all is finished, and shown as such",
    (status) => {
      const all = { status, offset: 10, length: 10 } as const;
      expect(progressOf(snapshot(all))).toMatchObject({ finished: true, done: 1, dirty: 0 });
      expect(plainWording.progress(snapshot(all), 0)).toMatch(/ 100%, 10 B of 10 B$/u);
      for (const less of [{ offset: 9 }, { dirtyBytes: 1 }, { error: { code: "EIO", message: "" } }]) {
        expect(progressOf(snapshot({ ...all, ...less })).finished).toBe(false);
        expect(plainWording.progress(snapshot({ ...all, ...less }), 0)).not.toContain("100%");
      }
    },
  );

  test("a job that runs is never finished, however much is copied", () => {
    expect(progressOf(snapshot({ offset: 10, length: 10, dirtyBytes: 0 })).finished).toBe(false);
  });

  test("shares stay inside 0..1 and add up, for any snapshot", () => {
    fc.assert(
      fc.property(snapshots, (job) => {
        const { known, done, inFlight, dirty, remainingBytes } = progressOf(job);
        for (const share of [done, inFlight, dirty]) expect(share >= 0 && share <= 1).toBe(true);
        if (known) expect(done + inFlight + dirty).toBeCloseTo(1, 9);
        expect(remainingBytes).toBeGreaterThanOrEqual(0);
      }),
      seed,
    );
  });
});

describe("ETA", () => {
  const running = snapshot({ length: 1000 * MiB, offset: 0, dirtyBytes: 1000 * MiB, etaSec: undefined });

  test("what is left over how fast it shrinks", () => {
    const job = { ...running, dirtyRateBytesPerSec: 50 * MiB };
    expect(etaSecOf(job, progressOf(job), 150 * MiB)).toBe(10);
    expect(etaSecOf(job, progressOf(job), 50 * MiB)).toBe("never");
    expect(etaSecOf(job, progressOf(job), undefined)).toBeUndefined();
  });

  test("a source that knows is believed, a job that waits has none", () => {
    const job = { ...running, etaSec: 42 };
    expect(etaSecOf(job, progressOf(job), 1)).toBe(42);
    expect(etaSecOf({ ...job, status: "paused" }, progressOf(job), 1)).toBeUndefined();
    expect(etaSecOf({ ...job, ioStatus: "nospace" }, progressOf(job), 1)).toBeUndefined();
  });
});

describe("views", () => {
  test("without help of the source the rate comes from the counters", () => {
    const model = new JobsModel();
    const job = snapshot({ copyRateBytesPerSec: undefined, bytesCopied: 0, updatedAtMs: 0 });
    model.sample([job], 0, 10_000);
    const later = { ...job, bytesCopied: 100 * MiB, updatedAtMs: 1000 };
    expect(model.sample([later], 1000, 10_000).jobs[0]?.rateBytesPerSec).toBe(100 * MiB);
  });

  test("a READY job that copies nothing has no rate, whatever the average still says", () => {
    const model = new JobsModel();
    const job = snapshot({ status: "ready", bytesCopied: 4096, copyRateBytesPerSec: 50 * MiB });
    const rateAt = (atMs: number, changes: Partial<JobSnapshot> = {}): number | undefined =>
      model.sample([{ ...job, updatedAtMs: atMs, ...changes }], atMs, 10_000).jobs[0]?.rateBytesPerSec;
    expect(rateAt(0)).toBe(50 * MiB);
    expect(rateAt(500)).toBe(50 * MiB);
    expect(rateAt(1000)).toBe(0);
    expect(rateAt(2000, { bytesCopied: 8192 })).toBe(50 * MiB);
    expect(rateAt(3000, { bytesCopied: 8192, status: "running", ready: false })).toBe(50 * MiB);
  });

  test("details tell what auto chose, and why", () => {
    const calm = viewOf(snapshot({ copyMode: "background", copyModeIsAutomatic: true }));
    expect(fieldsOf(calm)).toContainEqual({ label: "mode", value: "auto: backgr.", tone: "plain" });
    expect(adviceOf(calm, DEFAULT_KEYMAP)).toBeUndefined();
    const slowed = viewOf(snapshot({ copyMode: "write-blocking", copyModeIsAutomatic: true }));
    expect(fieldsOf(slowed)).toContainEqual({ label: "mode", value: "auto: blocking", tone: "warning" });
    expect(adviceOf(slowed, DEFAULT_KEYMAP)?.text).toContain("outran the copy");
    // What waits for a decision names it first.
    const ready = viewOf(snapshot({ ...slowed.snapshot, status: "ready", ready: true }));
    expect(adviceOf(ready, DEFAULT_KEYMAP)).toEqual({
      text: "The target follows: c completes, x keeps a copy. Writers wait for the target.",
      tone: "ready",
    });
    const asked = viewOf(snapshot({ copyMode: "write-blocking", copyModeIsAutomatic: false }));
    expect(fieldsOf(asked)).toContainEqual({ label: "mode", value: "write-blocking", tone: "plain" });
    expect(adviceOf(asked, DEFAULT_KEYMAP)).toBeUndefined();
  });

  test("a job that could not clean up says so, beside why it failed if it did", () => {
    const leaky = snapshot({ status: "concluded", cleanupError: "the target hangs" });
    expect(adviceOf(viewOf(leaky), DEFAULT_KEYMAP)).toEqual({
      text: "Ended, but could not clean up: the target hangs",
      tone: "warning",
    });
    const both = viewOf({ ...leaky, error: { code: "EIO", message: "broken" } });
    expect(adviceOf(both, DEFAULT_KEYMAP)?.text).toBe("EIO: broken");
    const panel = drawErrorPanel(both, { width: 80, height: 24 }, DEFAULT_KEYMAP, glyphsFor(false));
    const text = panel.lines.map((line) => line.map((part) => part.text).join("")).join("\n");
    expect(text).toContain("broken\n\ncould not clean up\nthe target hangs");
    expect(reportText(both, [])).toContain("NOT CLEANED UP\n  the target hangs\n");
  });

  test.each(["waiting", "pending"] as const)(
    "a job that is %s copies nothing, whatever it did before",
    (status) => {
      expect(viewOf(snapshot({ status, copyRateBytesPerSec: 1e7 })).rateBytesPerSec).toBe(0);
    },
  );

  test.each([
    [{ errorCount: 0 }, "0"],
    [{ errorCount: 2 }, "2, now ok"],
    [{ errorCount: 2, status: "paused", ioStatus: "nospace" }, "2 nospace"],
    [{ errorCount: 2, status: "concluded" }, "2"],
    [{ errorCount: 2, onTargetError: "ignore" }, "2, ignored"],
  ] as const)("errors of %o are told as %s", (job, value) => {
    expect(fieldsOf(viewOf(snapshot(job))).find(({ label }) => label === "errors")?.value).toBe(value);
  });

  test("a job that waits to be finalized names the key", () => {
    expect(adviceOf(viewOf(snapshot({ status: "pending" })), DEFAULT_KEYMAP)?.text).toBe(
      "The work is done: f finalizes it.",
    );
  });

  test("a job that failed on a full target says what to do, wherever its error is shown", () => {
    const error = { code: "ENOSPC", message: "write on copy.raw failed" };
    const view = viewOf(snapshot({ status: "concluded", error }));
    const remedy = /Make room on the target and start the job again/u;
    expect(adviceOf(view, DEFAULT_KEYMAP)?.text).toMatch(remedy);
    expect(reportText(view, [])).toMatch(remedy);
    expect(panelText(view)).toMatch(remedy);
    const other = viewOf(snapshot({ status: "concluded", error: { ...error, code: "EIO" } }));
    expect(panelText(other)).not.toMatch(remedy);
  });

  test("errors that are ignored are told as long as they matter, and in the error panel", () => {
    const ignoring = { errorCount: 13, onSourceError: "report", onTargetError: "ignore" } as const;
    const text = "13 errors were ignored so far; what failed is tried again.";
    const view = viewOf(snapshot(ignoring));
    expect(adviceOf(view, DEFAULT_KEYMAP)).toEqual({ text, tone: "warning" });
    expect(panelText(view)).toContain(text);
    expect(adviceOf(viewOf(snapshot({ ...ignoring, status: "ready" })), DEFAULT_KEYMAP)?.tone).toBe("ready");
    expect(adviceOf(viewOf(snapshot({ ...ignoring, status: "concluded" })), DEFAULT_KEYMAP)).toBeUndefined();
    expect(adviceOf(viewOf(snapshot({ ...ignoring, errorCount: 0 })), DEFAULT_KEYMAP)).toBeUndefined();
  });

  test("the error panel of a job that stopped names its images", () => {
    const stopped = snapshot({
      status: "paused",
      userPaused: true,
      ioStatus: "nospace",
      source: { name: "a", filename: "/vm/disk.raw" },
      target: { name: "b", filename: "/mnt/copy.raw" },
    });
    expect(panelText(viewOf(stopped))).toMatch(
      /Make room, then r resumes.*\/vm\/disk\.raw.*\/mnt\/copy\.raw/su,
    );
  });

  test("a job that does not converge says so", () => {
    const view = viewOf(snapshot({ etaSec: "never" }));
    expect(fieldsOf(view)).toContainEqual({ label: "ETA", value: "∞ diverging", tone: "warning" });
    expect(adviceOf(view, DEFAULT_KEYMAP)?.text).toBe(
      "Does not converge: the disk gets dirty as fast as it is copied.",
    );
    const limited = viewOf(snapshot({ etaSec: "never", speed: 2 ** 20 }));
    expect(adviceOf(limited, DEFAULT_KEYMAP)?.text.length).toBeLessThan(80 - " vm-database: ".length);
    expect(adviceOf(limited, DEFAULT_KEYMAP)?.text).toMatch(/Does not converge: .*; l raises the limit\.$/u);
  });

  test("stale jobs show no rate, concluded ones never go stale", () => {
    const model = new JobsModel();
    const old = snapshot({ updatedAtMs: 0 });
    const [view] = model.sample([old], 60_000, 10_000).jobs;
    expect(view).toMatchObject({ stale: true, rateBytesPerSec: undefined, etaSec: undefined });
    const [ended] = model.sample([{ ...old, status: "concluded" }], 60_000, 10_000).jobs;
    expect(ended?.stale).toBe(false);
  });

  test("a job whose devices do not answer is stalled: its averages are no longer told", () => {
    const silent = snapshot({ etaSec: 40, unansweredMs: 12_000, unansweredBy: "target" });
    const view = viewOf(silent);
    expect(view).toMatchObject({ word: "STALLED", attention: true, rateBytesPerSec: 0, etaSec: undefined });
    expect(fieldsOf(view)).toContainEqual({ label: "no answer", value: "12s", tone: "failure" });
    expect(adviceOf(view, DEFAULT_KEYMAP)?.text).toBe(
      "Stalled: no answer from the target yet; X gives it up.",
    );
    expect(adviceOf(viewOf({ ...silent, unansweredBy: undefined }), DEFAULT_KEYMAP)?.text).toMatch(
      /no answer yet/u,
    );
    const ready = viewOf({ ...silent, status: "ready", ready: true });
    expect([ready.word, adviceOf(ready, DEFAULT_KEYMAP)?.text]).toEqual([
      "READY",
      "Stalled: no answer from the target yet.",
    ]);
    expect(viewOf({ ...silent, unansweredMs: 2000 })).toMatchObject({ word: "RUNNING", etaSec: 40 });
    expect(viewOf({ ...silent, status: "concluded" }).word).toBe("DONE");
  });

  test("the limit is named as the brake when the rate reaches it", () => {
    expect(viewOf(snapshot({ speed: 100, copyRateBytesPerSec: 96 })).throttled).toBe(true);
    expect(viewOf(snapshot({ speed: 100, copyRateBytesPerSec: 50 })).throttled).toBe(false);
    expect(viewOf(snapshot({ speed: 0, copyRateBytesPerSec: 50 })).throttled).toBe(false);
  });

  test("a frozen sample does not move with later ones", () => {
    const model = new JobsModel();
    const frozen = freezeSample(model.sample([snapshot({})], 1000, 10_000));
    const before = frozen.jobs[0]?.rateTrend.latest(10);
    model.sample([snapshot({ copyRateBytesPerSec: 1 })], 9000, 99_000);
    expect(frozen.jobs[0]?.rateTrend.latest(10)).toEqual(before);
  });
});

describe("order and filter", () => {
  test("concluded jobs are below, whatever the order", () => {
    fc.assert(
      fc.property(
        fc.array(snapshots, { maxLength: 20 }),
        fc.constantFrom(...SORT_KEYS),
        fc.boolean(),
        (jobs, key, reversed) => {
          const sorted = sortJobs(jobs.map(viewOf), { key, reversed });
          const firstConcluded = sorted.findIndex((view) => view.concluded);
          if (firstConcluded !== -1) {
            expect(sorted.slice(firstConcluded).every((view) => view.concluded)).toBe(true);
          }
        },
      ),
      seed,
    );
  });

  test("equal jobs keep their order, in both directions", () => {
    const jobs = ["c", "a", "b"].map((id) => viewOf(snapshot({ id })));
    for (const reversed of [false, true]) {
      const sorted = sortJobs(jobs, { key: "type", reversed });
      expect(sorted.map((view) => view.snapshot.id)).toEqual(["c", "a", "b"]);
    }
  });

  test("names sort as people count", () => {
    const jobs = ["vm-10", "vm-9"].map((id) => viewOf(snapshot({ id })));
    const sorted = sortJobs(jobs, { key: "name", reversed: false });
    expect(sorted.map((view) => view.snapshot.id)).toEqual(["vm-9", "vm-10"]);
  });

  test.each([
    ["", true],
    ["data", true],
    ["DATA", true],
    ["mirror data", true],
    ["web", false],
    ["!web", true],
    ["!data", false],
    ["state:run", true],
    ["state:paused", false],
    ["type:mirror", true],
    ["type:commit", false],
    ["!type:commit", true],
  ])("filter %j", (filter, expected) => {
    expect(matchesFilter(viewOf(snapshot({ id: "vm-database" })), filter)).toBe(expected);
  });
});

const paint = (line: Line): string =>
  line
    .flatMap(({ text, tone }) =>
      Array.from(text, (character) =>
        character === " " && tone !== "selection" ? "." : `${tone}${character}`,
      ),
    )
    .join("");

const barAt = (done: number): string =>
  lineText(
    drawBar(
      { known: true, finished: false, done, inFlight: 0, dirty: 1 - done, remainingBytes: 0 },
      4,
      glyphsFor(false),
    ),
  );

describe("drawing", () => {
  const everyGlyphs = [glyphsFor(false), glyphsFor(true)];

  test("a row is exactly as wide as its table, for any job", () => {
    fc.assert(
      fc.property(snapshots, fc.integer({ min: 60, max: 250 }), fc.boolean(), (job, width, ascii) => {
        const table = fitColumns(width, job.id.length);
        const wanted =
          table.columns.reduce((sum, column) => sum + column.width, 0) +
          1 +
          (table.columns.length - 2) * table.gap;
        const glyphs = glyphsFor(ascii);
        const row = drawRow(viewOf(job), table, {
          glyphs,
          selected: false,
          pending: undefined,
          trendMax: undefined,
          endpoints: false,
        });
        expect(lineWidth(row)).toBe(wanted);
        expect(lineText(row)).not.toMatch(/NaN|undefined|Infinity/u);
      }),
      seed,
    );
  });

  test("a bar has its width and is full only when finished", () => {
    fc.assert(
      fc.property(snapshots, fc.integer({ min: 1, max: 60 }), (job, width) => {
        for (const glyphs of everyGlyphs) {
          const progress = progressOf(job);
          const bar = drawBar(progress, width, glyphs);
          expect(lineWidth(bar)).toBe(width);
          const full = lineText(bar) === glyphs.barDone.repeat(width);
          if (full) expect(progress.finished).toBe(true);
        }
      }),
      seed,
    );
  });

  test("bars move in eighths", () => {
    expect(barAt(0)).toBe("░░░░");
    expect(barAt(0.5)).toBe("██░░");
    expect(barAt(0.53125)).toBe("██▏░");
    expect(barAt(0.999)).toBe("███▉");
  });

  test("charts have their size; anything above zero shows", () => {
    const glyphs = glyphsFor(false);
    expect(drawSparkline([0, 1, 1000], 5, 1000, glyphs)).toBe("   ▁█");
    const numbers = fc.array(fc.double({ min: 0, max: 1e12, noNaN: true }), { maxLength: 300 });
    fc.assert(
      fc.property(numbers, fc.integer({ min: 30, max: 120 }), (values, width) => {
        const lines = drawPlot({
          title: "RATE",
          note: "now",
          values,
          periodSec: 1,
          width,
          height: 4,
          tone: "rate",
          glyphs,
          perSecond: true,
        });
        expect(lines).toHaveLength(6);
        for (const line of lines) expect(lineWidth(line)).toBe(width);
      }),
      seed,
    );
  });

  test("the map tells copied, partly, dirty, in flight and failed apart without colour", () => {
    const map = createJobMap(6);
    map.copied.set([1, 0.9, 0.1, 0, 0.5, 0.5]);
    map.inFlight.set([0, 0, 0, 0, 1, 1]);
    map.failed.set([0, 0, 0, 0, 0, 0.01]);
    const [line = []] = drawDiskMap(map, 6, glyphsFor(false));
    expect(lineText(line)).toBe("█▓░·▞X");
    const ascii = drawDiskMap(map, 3, glyphsFor(true)).map((row) => lineText(row));
    expect(ascii).toEqual(["#=:", ".+X"]);
  });

  test("a cell is full only when all of it is copied", () => {
    const map = createJobMap(2);
    map.copied.set([0.9999, 0.0001]);
    const [line = []] = drawDiskMap(map, 2, glyphsFor(false));
    expect(lineText(line)).toBe("▓░");
  });

  test("joining segments keeps every character and the tone of every visible one", () => {
    const tones = ["plain", "dim", "selection"] as const;
    const part = fc.record({
      text: fc.constantFrom("", " ", "   ", "ab", "c d"),
      tone: fc.constantFrom(...tones),
    });
    fc.assert(
      fc.property(fc.array(part), (line) => {
        const joined = joinTones(line, (tone) => tone === "selection");
        expect(paint(joined)).toBe(paint(line));
        expect(joined.length).toBeLessThanOrEqual(line.length);
      }),
      seed,
    );
  });

  test("lines and panels have exactly their width", () => {
    const texts = fc.array(fc.string({ unit: "grapheme-composite", maxLength: 12 }), { maxLength: 5 });
    fc.assert(
      fc.property(texts, fc.integer({ min: 8, max: 60 }), (parts, width) => {
        const line = parts.map((text) => segment(text));
        expect(lineWidth(fitLine(line, width))).toBe(width);
        expect(lineWidth(spread(line, [segment("end")], width))).toBe(width);
        for (const row of drawPanel("title", [line], width, glyphsFor(false))) {
          expect(lineWidth(row)).toBe(width);
        }
      }),
      seed,
    );
  });
});
