import { afterEach, describe, expect, test } from "vitest";
import { formatLatency, LATENCY_WIDTH } from "../../src/format/latency.ts";
import { textWidth } from "../../src/format/text.ts";
import { fitExportColumns } from "../../src/ui/model/export-columns.ts";
import { ExportsModel } from "../../src/ui/model/export-view.ts";
import { exportSnapshot, FakeExports, traffic } from "../support/fake-exports.ts";
import { type RenderedTui, renderTui, type RenderTuiOptions } from "../support/render-tui.ts";
import { addSampleJobs } from "../support/sample-jobs.ts";

const MiB = 2 ** 20;

let tui: RenderedTui | undefined;

function open(exports: FakeExports, options: RenderTuiOptions = {}): RenderedTui {
  tui = renderTui({ ...options, ui: { ...options.ui, exports } });
  return tui;
}

afterEach(async () => {
  await tui?.close();
  tui = undefined;
});

function client(id: number, changes: Parameters<typeof traffic>[0] = {}) {
  return { id, address: "127.0.0.1:4000", secure: id % 2 === 0, traffic: traffic(changes) };
}

describe("the pane of exports", () => {
  test.each([
    [40, 12],
    [60, 20],
    [80, 24],
    [120, 30],
    [200, 50],
  ])("at %d columns stands below the jobs, inside the terminal", async (columns, rows) => {
    for (const ascii of [false, true]) {
      const exports = new FakeExports();
      exports.become(
        exportSnapshot({ name: "disk", clients: [client(1), client(2)] }),
        exportSnapshot({ name: "второй диск", writable: false }),
      );
      const { screen, waitFor, close } = open(exports, {
        columns,
        rows,
        setup: addSampleJobs,
        ui: { ascii },
      });
      await waitFor("EXPORTS");
      expect(screen()).toContain("vm-database");
      expect(screen()).toContain("disk");
      const lines = screen().split("\n");
      expect(lines).toHaveLength(rows);
      for (const line of lines) expect(textWidth(line)).toBeLessThanOrEqual(columns);
      if (rows >= 20) {
        expect(screen()).toContain("2 exports, 2 clients");
        expect(screen()).toMatch(/#1 127.*4000/u);
        expect(screen()).toContain("socket=/run/disk.sock");
      }
      if (columns >= 80) expect(screen()).toMatch(/READ\/s +WRITE\/s +IOPS +P50 +P99/u);
      // Names are the users' own.
      // oxlint-disable-next-line no-control-regex
      if (ascii) expect(screen().replace(/[а-я]/gu, "x")).toMatch(/^[\u0020-\u007e\n]*$/u);
      await close();
      tui = undefined;
    }
  });

  test("shows rates and latencies as they come, and stands still while frozen", async () => {
    const exports = new FakeExports();
    exports.become(exportSnapshot({ clients: [client(7)] }));
    const { waitFor, press, advance, screen } = open(exports);
    await waitFor("#7");
    const moved = {
      bytesRead: 40 * MiB,
      bytesWritten: 20 * MiB,
      latenciesMs: [1, 1, 1, 1, 1, 1, 1, 1, 1, 50],
    };
    exports.become(exportSnapshot({ traffic: traffic(moved), clients: [client(7, moved)] }));
    advance(1000);
    await waitFor(/disk +1\.00 GiB +4\d\.\d MiB\/s +[12]\d\.\d MiB\/s +\d+ +[01]\.\d\d ms +\d\d\.\d ms/u);
    press(" ");
    await waitFor("FROZEN");
    const before = screen();
    exports.become(exportSnapshot({ traffic: traffic({ bytesRead: 900 * MiB }) }));
    advance(3000);
    press("z");
    press("z");
    expect(screen()).toBe(before);
    press(" ");
    await waitFor("no clients");
  });

  test("clients that come and go are seen at once; errors are counted", async () => {
    const exports = new FakeExports();
    exports.become(exportSnapshot({}));
    const { waitFor, advance } = open(exports);
    await waitFor("1 export, no clients");
    exports.become(exportSnapshot({ traffic: traffic({ failedRequests: 3 }), clients: [client(9)] }));
    advance(60);
    await waitFor("1 export, 1 client");
    await waitFor(/disk.* 3\s*$/mu);
  });

  test("what does not fit is said", async () => {
    const exports = new FakeExports();
    exports.become(
      exportSnapshot({ clients: Array.from({ length: 40 }, (_client, index) => client(index)) }),
    );
    const { waitFor, screen } = open(exports, { setup: addSampleJobs });
    await waitFor("EXPORTS");
    const hidden = Number(/and (\d+) more/u.exec(screen())?.[1]);
    const shown = screen().match(/#\d+/gu)?.length ?? 0;
    expect(hidden + shown).toBe(40);
  });

  test("quitting asks while clients are there, and not when they are gone", async () => {
    const exports = new FakeExports();
    exports.become(exportSnapshot({ clients: [client(1), client(2)] }));
    const { waitFor, waitForGone, press, advance, result } = open(exports, { ui: { confirmQuit: true } });
    await waitFor("EXPORTS");
    press("q");
    await waitFor("2 clients use what this program exports");
    press("n");
    await waitForGone("what this program exports");
    exports.become(exportSnapshot({}));
    advance(60);
    await waitFor("no clients");
    press("q");
    expect(await result).toMatchObject({ reason: "quit" });
    expect(exports.listenerCount).toBe(0);
  });

  test("is told in sentences to those who hear it", async () => {
    const exports = new FakeExports();
    exports.become(
      exportSnapshot({ name: "", clients: [client(1)], traffic: traffic({ failedRequests: 2 }) }),
    );
    const { waitFor } = open(exports, { ui: { screenReader: true } });
    await waitFor("Export /images/disk.raw: 1 client, 2 failed requests.");
  });
});

describe("latencies", () => {
  test("are those of the last ten seconds", () => {
    const exports = new FakeExports();
    const model = new ExportsModel(exports);
    const look = (latenciesMs: readonly number[], atMs: number) => {
      exports.become(exportSnapshot({ traffic: traffic({ latenciesMs }) }));
      return model.sample(atMs)[0];
    };
    expect(look([100], 0)?.p99Ms).toBeGreaterThan(50);
    const all: number[] = [100];
    for (let second = 1; second <= 10; second += 1) {
      all.push(1);
      look(all, second * 1000);
    }
    expect(look(all, 11_000)?.p99Ms).toBeLessThan(2);
    // Nothing happened since.
    for (let second = 12; second <= 21; second += 1) look(all, second * 1000);
    expect(look(all, 22_000)?.p99Ms).toBeUndefined();
  });

  test.each([
    [undefined, "      —"],
    [0.001, "<.01 ms"],
    [0.05, "0.05 ms"],
    [9.999, "10.0 ms"],
    [123.4, " 123 ms"],
    [999.6, "1.00 s "],
    [12_345, "12.3 s "],
    [1e9, ">9999 s"],
  ])("%s ms is written %j", (ms, text) => {
    expect(formatLatency(ms)).toBe(text);
    expect(textWidth(text)).toBe(LATENCY_WIDTH);
  });
});

test("columns join in the order of what they tell, and always fit", () => {
  for (let width = 40; width <= 240; width += 1) {
    const { nameWidth, columns } = fitExportColumns(width);
    const taken = columns.reduce((sum, column) => sum + column.width + 2, 1 + nameWidth);
    expect(taken).toBeLessThanOrEqual(width);
    expect(nameWidth).toBeGreaterThanOrEqual(14);
    expect(columns.map(({ title }) => title)).toContain("WRITE/s");
  }
  expect(fitExportColumns(120).columns).toHaveLength(8);
});
