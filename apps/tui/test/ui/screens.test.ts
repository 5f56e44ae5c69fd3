import { afterEach, describe, expect, test } from "vitest";
import { textWidth } from "../../src/format/text.ts";
import type { ThemeName } from "../../src/ui/theme.ts";
import { type RenderedTui, renderTui, type RenderTuiOptions } from "../support/render-tui.ts";
import { addSampleJobs } from "../support/sample-jobs.ts";

let tui: RenderedTui;

function open(options: RenderTuiOptions): RenderedTui {
  tui = renderTui({ setup: addSampleJobs, ...options });
  return tui;
}

afterEach(async () => {
  await tui.close();
});

const sizes = [
  [40, 12],
  [60, 20],
  [80, 24],
  [120, 30],
  [200, 50],
] as const;
const themes: readonly ThemeName[] = ["default", "mono", "colorblind"];

describe.each(sizes)("at %d columns", (columns, rows) => {
  test.each(themes.flatMap((theme) => [false, true].map((ascii) => [theme, ascii] as const)))(
    "theme %s, ascii %s: every job with its state, inside the terminal",
    async (theme, ascii) => {
      const { screen, waitFor } = open({ columns, rows, ui: { theme, ascii } });
      await waitFor("vm-database");
      const lines = screen().split("\n");
      expect(lines).toHaveLength(rows);
      for (const line of lines) expect(textWidth(line)).toBeLessThanOrEqual(columns);
      if (rows >= 20) {
        for (const word of ["RUNNING", "READY", "PAUSED", "FAILED"]) expect(screen()).toContain(word);
      }
      // oxlint-disable-next-line no-control-regex
      if (ascii) expect(screen()).toMatch(/^[\u0020-\u007e\n]*$/u);
    },
  );

  test.each([false, true])("details, ascii %s", async (ascii) => {
    const { screen, waitFor, press } = open({ columns, rows, ui: { ascii } });
    await waitFor("vm-database");
    press("enter");
    await waitFor("/mnt/new");
    const lines = screen().split("\n");
    expect(lines).toHaveLength(rows);
    for (const line of lines) expect(textWidth(line)).toBeLessThanOrEqual(columns);
    expect(screen()).toMatch(/source\s+\//u);
    expect(screen()).toMatch(/rate\s+\d/u);
    if (rows >= 20) expect(screen()).toContain("in flight");
    if (rows >= 24) {
      expect(screen()).toContain("DISK");
      expect(screen()).toContain("copied");
      expect(screen()).toContain("DIRTY");
      expect(screen()).toContain("now");
    }
  });
});

describe("what the table says", () => {
  test("marks are readable without any colour", async () => {
    const { screen, waitFor } = open({ columns: 120 });
    await waitFor("vm-database");
    expect(screen()).toMatch(/^> {2}vm-database/mu);
    expect(screen()).toMatch(/^ ! vm-build .*nospc 1/mu);
    expect(screen()).toMatch(/^ ! vm-legacy .*FAILED/mu);
  });

  test("a job that does not converge has no end in sight", async () => {
    const { screen, waitFor } = open({ columns: 120 });
    await waitFor("vm-queue");
    expect(screen()).toMatch(/vm-queue.*∞/u);
  });

  test("only converged jobs are at 100 %", async () => {
    const { screen, waitFor } = open({ columns: 120 });
    await waitFor("vm-database");
    for (const line of screen()
      .split("\n")
      .filter((text) => text.includes("100%"))) {
      expect(line).toContain("READY");
    }
  });

  test("concluded jobs stand below the live ones", async () => {
    const { screen, waitFor } = open({});
    await waitFor("vm-legacy");
    const rows = screen().split("\n");
    const legacy = rows.findIndex((row) => row.includes("vm-legacy"));
    expect(legacy).toBeGreaterThan(rows.findIndex((row) => row.includes("snapshot-commit")));
  });

  test("rows of a silent endpoint go stale instead of looking live", async () => {
    const { screen, waitFor, advance, source } = open({ columns: 120 });
    await waitFor("vm-database");
    source.setSilent(true);
    advance(15_000);
    await waitFor(/^>\* vm-database/mu);
    expect(screen()).toMatch(/vm-database.*—/u);
  });

  test("the dead endpoint is named in the header", async () => {
    const { waitFor } = open({
      source: { endpoint: { name: "/run/qmp.sock", kind: "qmp", state: "dead" } },
    });
    await waitFor("DEAD");
    await waitFor("/run/qmp.sock");
  });

  test("where nobody answers, the empty list says why instead of asking for a job", async () => {
    const problem = "/run/qmp.sock: there is no such socket; check the path, and whether the server runs";
    const { screen, waitFor } = open({
      columns: 80,
      setup: () => {},
      source: { endpoint: { name: "/run/qmp.sock", kind: "qmp", state: "dead", problem } },
    });
    await waitFor(
      /there is no such socket; check the path, and whether the\s+server runs; it is tried again/u,
    );
    expect(screen()).not.toContain("to start a mirror");
  });

  test("control sequences in names have no power", async () => {
    const { waitFor, terminal } = open({
      setup: (source) => {
        source.add({ id: "evil\u001B[2Jname", size: 2 ** 20, copyRateBytesPerSec: 1000 });
      },
    });
    await waitFor("evil?[2Jname");
    expect(terminal.written).not.toContain("evil\u001B");
  });

  test("no jobs yet: says what to do", async () => {
    const { waitFor } = open({ setup: () => {} });
    await waitFor("press n to start a mirror");
  });
});

describe("what to do about a job", () => {
  test("is said in full below its details where the title has no room for it, and once where it has", async () => {
    const { screen, terminal, waitFor, press } = open({ columns: 80, rows: 24 });
    await waitFor("vm-database");
    press("/", "vm-build", "enter");
    await waitFor(/^>! vm-build/mu);
    press("enter");
    await waitFor("/mnt/new");
    await waitFor("Stopped: no space on the target. Make room, then r resumes.");
    terminal.resize(120, 30);
    await waitFor(/vm-build.*Stopped: no space on the target\. Make room, then r resumes\./u);
    expect(screen().split("Make room")).toHaveLength(2);
  });
});

test("details at 80 columns cut no copy mode", async () => {
  const { waitFor, press } = open({
    columns: 80,
    rows: 24,
    setup: (source) => {
      source.add({ id: "blocking", size: 2 ** 30, copyRateBytesPerSec: 2 ** 20, copyMode: "write-blocking" });
    },
  });
  await waitFor("blocking");
  press("enter");
  await waitFor(/mode +write-blocking$/mu);
});

describe("details of a job with long names", () => {
  const directory = "/srv/" + "a-long-directory-name/".repeat(9);
  const node = (name: string, file: string) => ({
    name,
    driver: "qcow2",
    size: 2 ** 30,
    filename: directory + file,
  });

  test.each([40, 60, 80, 120])("at %d columns the state and the images' names are seen", async (columns) => {
    const { screen, waitFor, press } = open({
      columns,
      setup: (source) => {
        source.add({
          id: `job-${"of-many-words-".repeat(8)}42`,
          size: 2 ** 30,
          copyRateBytesPerSec: 2 ** 20,
          source: node("s", "old.qcow2"),
          target: node("t", "new.qcow2"),
        });
      },
    });
    await waitFor("job-o");
    press("enter");
    await waitFor(/^ source /mu);
    expect(screen()).toMatch(/^ job-of.*….*42 {2}mirror {2}RUNNING/mu);
    expect(screen()).toMatch(/^ source .*….*old\.qcow2/mu);
    expect(screen()).toMatch(/^ target .*….*new\.qcow2/mu);
    if (columns >= 60) expect(screen()).toMatch(/old\.qcow2 {2}\(qcow2, 1\.00 GiB\)$/mu);
  });
});

describe("the terminal's size", () => {
  test("too small: says so and recovers", async () => {
    const { terminal, waitFor } = open({ columns: 30, rows: 8 });
    await waitFor("terminal too small");
    terminal.resize(80, 24);
    await waitFor("vm-database");
  });

  test("keys typed before it starts do not push the picture aside", async () => {
    const { waitFor, screen } = open({ before: "$ blockmirror attach\r\neee" });
    await waitFor("vm-database");
    await waitFor("p pause");
    const [first, , third] = screen().split("\n");
    expect(first).toMatch(/^ blockmirror .* 1 s *$/u);
    expect(third).toMatch(/^ {3}NAME/u);
  });

  test("narrow terminals show cards, wide ones a table", async () => {
    const { terminal, waitFor, waitForGone } = open({ columns: 50, rows: 20 });
    await waitFor("vm-database");
    await waitForGone("PROGRESS");
    terminal.resize(100, 20);
    await waitFor("PROGRESS");
  });

  test("a long list keeps the selection in sight", async () => {
    const { waitFor, press } = open({
      rows: 12,
      setup: (source) => {
        for (let index = 0; index < 100; index++) {
          source.add({ id: `job-${index}`, size: 2 ** 30, copyRateBytesPerSec: 2 ** 20 });
        }
      },
    });
    await waitFor("job-0");
    press("G");
    await waitFor(/^> {2}job-99/mu);
    press("pageup");
    await waitFor(/^> {2}job-9[12]/mu);
    press("g");
    await waitFor(/^> {2}job-0/mu);
  });
});

describe("screen reader", () => {
  test("one sentence per job, no pictures, no alternate screen", async () => {
    const { waitFor, screen, terminal } = open({ columns: 120, rows: 40, ui: { screenReader: true } });
    await waitFor("vm-database, mirror, running, 40 percent");
    expect(screen()).toContain("vm-build, mirror, paused, 70 percent, 1 errors. Stopped: no space");
    expect(screen()).not.toMatch(/[█▒░╭]/u);
    expect(terminal.written).not.toContain("\u001B[?1049h");
  });

  test("is silent while nothing but a few percent changes", async () => {
    const { waitFor, terminal, advance } = open({
      columns: 120,
      ui: { screenReader: true },
      setup: (source) => {
        source.add({ id: "slow", size: 100 * 2 ** 20, copyRateBytesPerSec: 2 ** 20 });
      },
    });
    await waitFor("slow, mirror, running, 0 percent");
    const before = terminal.written.length;
    advance(3000);
    expect(terminal.written.slice(before)).not.toContain("slow");
    advance(8000);
    await waitFor("slow, mirror, running, 10 percent");
  });
});
