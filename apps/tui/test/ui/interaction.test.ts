import { readFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { type RenderedTui, renderTui, type RenderTuiOptions } from "../support/render-tui.ts";
import { addSampleJobs } from "../support/sample-jobs.ts";
import { waitFor as waitUntil } from "../support/wait-for.ts";

const GiB = 2 ** 30;
const MiB = 2 ** 20;
let tui: RenderedTui;

function open(options: RenderTuiOptions = {}): RenderedTui {
  tui = renderTui({ setup: addSampleJobs, columns: 140, ...options });
  return tui;
}

afterEach(async () => {
  await tui.close();
});

/** The verbs the source accepted. */
function accepted(): string[] {
  return tui.source.accepted.map(([verb, id]) => `${verb} ${id}`);
}

/** Presses the keys that move the selection to a job. */
async function select(id: string): Promise<void> {
  tui.press("/", id, "enter");
  await tui.waitFor(new RegExp(`^>. ${id}`, "mu"));
}

async function openList(options: RenderTuiOptions = {}): Promise<RenderedTui> {
  open(options);
  await tui.waitFor("vm-database");
  return tui;
}

test("the terminal writes no typed key into the first picture", async () => {
  await openList();
  // Ink writes only what differs from what it wrote before: a key that was echoed would stay for good.
  expect(tui.terminal.writtenWithEcho).toBe("");
});

describe("harmless actions", () => {
  test("pause shows as pending until the job says it is paused", async () => {
    const { press, waitFor, waitForGone, advance } = await openList();
    press("p");
    await waitFor(/vm-database +pausing~/u);
    await waitFor("vm-database: pausing; r resumes");
    advance(500);
    await waitFor(/vm-database +PAUSED/u);
    await waitForGone("vm-database: pausing");
    press("r");
    await waitFor(/vm-database +resuming~/u);
    await waitFor("vm-database: resuming; p pauses");
    advance(500);
    await waitFor(/vm-database +RUNNING/u);
    await waitForGone("vm-database: resuming");
    expect(accepted()).toEqual(["pause vm-database", "resume vm-database"]);
  });

  test("a speed limit is typed, checked and reported with what it was", async () => {
    const { press, waitFor, advance, source } = await openList();
    press("l");
    await waitFor("limit for vm-database:");
    press("50MB", "enter");
    await waitFor("ambiguous; write 50M");
    press("backspace", "enter");
    await waitFor("vm-database: 50.0 MiB/s (was no limit)");
    expect(source.accepted).toEqual([["set-speed", "vm-database", 50 * MiB]]);
    advance(1000);
    await waitFor(/vm-database +RUNNING/u);
  });

  test("the present limit is proposed: typing replaces it, editing keys keep it", async () => {
    const { press, waitFor, advance, source } = await openList();
    press("l");
    await waitFor("limit for vm-database:");
    press("50M", "enter");
    await waitFor("vm-database: 50.0 MiB/s");
    advance(1000);
    press("l");
    await waitFor("limit for vm-database: 50M");
    press("200M", "enter");
    await waitFor("vm-database: 200 MiB/s");
    advance(1000);
    press("l");
    await waitFor("limit for vm-database: 200M");
    press("backspace", "K", "enter");
    await waitFor("vm-database: 200 KiB/s");
    expect(source.accepted.map(([, , speed]) => speed)).toEqual([50 * MiB, 200 * MiB, 200 * 1024]);
  });

  test("escape leaves the limit as it was", async () => {
    const { press, waitFor, waitForGone } = await openList();
    press("l");
    await waitFor("limit for");
    press("5", "escape");
    await waitForGone("limit for");
    expect(accepted()).toEqual([]);
  });

  test("a refusal by the endpoint is shown and ends the waiting", async () => {
    const { press, waitFor, source } = await openList();
    source.refuseNext = new Error("Job 'vm-database' is locked");
    press("p");
    await waitFor("vm-database: pause refused: Job 'vm-database' is locked");
    await waitFor(/vm-database +RUNNING/u);
  });

  test("what is not possible is not sent, and says why", async () => {
    const { press, waitFor } = await openList();
    await waitFor("(c complete)");
    press("c");
    await waitFor("complete needs READY");
    press("d");
    await waitFor("dismiss needs a concluded job");
    press("r");
    await waitFor("job is not paused");
    expect(accepted()).toEqual([]);
  });
});

describe("dialogs", () => {
  test("enter on a fresh dialog does nothing harmful", async () => {
    const { press, waitFor } = await openList();
    press("x");
    await waitFor("Cancel vm-database?");
    await waitFor("> Keep running <");
    press("enter");
    await waitFor("Nothing was changed");
    expect(accepted()).toEqual([]);
  });

  test("y confirms a cancel", async () => {
    const { press, waitFor, advance } = await openList();
    press("x");
    await waitFor("Cancel vm-database?");
    press("y");
    await waitFor(/vm-database +cancel~/u);
    advance(500);
    await waitFor(/vm-database +CANCELLED/u);
    expect(tui.source.accepted).toEqual([["cancel", "vm-database", { force: false }]]);
  });

  test("the other button has to be chosen before enter means it", async () => {
    const { press, waitFor } = await openList();
    press("X");
    await waitFor("Force-cancel vm-database?");
    press("tab");
    await waitFor("> Force-cancel (y) <");
    press("enter");
    await waitFor("vm-database: force-cancelling");
    expect(tui.source.accepted).toEqual([["cancel", "vm-database", { force: true }]]);
  });

  test("completing shows both sides before users are switched", async () => {
    const { press, waitFor } = await openList();
    await select("vm-web-01");
    press("c");
    await waitFor("Complete vm-web-01?");
    await waitFor("/var/lib/images/web-01.qcow2");
    await waitFor("/mnt/new-array/web-01-copy.qcow2");
    press("n");
    await waitFor("Nothing was changed");
    press("c");
    await waitFor("Complete vm-web-01?");
    press("y");
    await waitFor("vm-web-01: completing");
    expect(accepted()).toEqual(["complete vm-web-01"]);
  });

  test("a job that ends meanwhile takes its dialog with it", async () => {
    const { press, waitFor, waitForGone, source, advance } = await openList();
    press("x");
    await waitFor("Cancel vm-database?");
    source.remove("vm-database");
    advance(1000);
    await waitForGone("Cancel vm-database?");
    await waitFor("vm-database is gone meanwhile; nothing was sent");
    expect(accepted()).toEqual([]);
  });

  test("keys typed ahead in the same breath do not answer a dialog", async () => {
    const { press, waitFor } = await openList();
    press("xy");
    await waitFor("Cancel vm-database?");
    expect(accepted()).toEqual([]);
  });

  test("a paste presses no command keys", async () => {
    const { press, waitFor } = await openList();
    press("\u001B[200~pxy\u001B[201~");
    press("?");
    await waitFor("Keys");
    expect(accepted()).toEqual([]);
  });

  test("force-cancel while users are being switched wants the job's name", async () => {
    const { press, waitFor, advance, screen } = await openList();
    await select("snapshot-commit");
    press("c");
    await waitFor("Complete snapshot-commit?");
    press("y");
    await waitFor("complete~");
    advance(500);
    await waitFor(/snapshot-commit +PENDING/u);
    press("X");
    await waitFor("Type snapshot-commit and Enter");
    press("y", "enter");
    await waitFor('Type "snapshot-commit" to confirm');
    expect(accepted()).toEqual(["complete snapshot-commit"]);
    press("backspace", "snapshot-commit");
    await waitFor("> snapshot-commit_");
    press("enter");
    await waitFor("snapshot-commit: force-cancelling");
    expect(screen()).not.toContain("Type snapshot-commit");
    expect(accepted()).toEqual(["complete snapshot-commit", "cancel snapshot-commit"]);
  });

  test("finalize asks, dismissing a success does not", async () => {
    const { press, waitFor, advance } = await openList();
    await select("snapshot-commit");
    press("c");
    await waitFor("Complete snapshot-commit?");
    press("y");
    await waitFor("complete~");
    advance(500);
    await waitFor(/snapshot-commit +PENDING/u);
    press("f");
    await waitFor("Finalize snapshot-commit?");
    press("y");
    await waitFor("finalize~");
    advance(500);
    await waitFor(/snapshot-commit +DONE/u);
    press("d");
    await waitFor("snapshot-commit: dismissing");
    expect(accepted().at(-1)).toBe("dismiss snapshot-commit");
  });

  test("dismissing a failure asks", async () => {
    const { press, waitFor } = await openList();
    await select("vm-legacy");
    press("d");
    await waitFor("Dismiss vm-legacy?");
    await waitFor("read of source failed");
    press("escape");
    await waitFor("Nothing was changed");
    expect(accepted()).toEqual([]);
  });
});

/** The percentage of the first job. */
function progress(text: string): string | undefined {
  return /vm-database.*%/u.exec(text)?.[0];
}

describe("looking around", () => {
  test("the help ends where it ends: one key up from there moves", async () => {
    const { press, waitFor, waitForGone } = await openList({ columns: 80 });
    press("?");
    await waitFor("more below");
    for (let page = 0; page < 9; page++) press("pagedown");
    await waitForGone("more below");
    await waitFor("FILES");
    press("up");
    await waitFor("more below");
    press("escape");
    await waitForGone("Keys");
  });

  test("the selection follows its job when rows move", async () => {
    const { press, waitFor, advance, source } = await openList();
    press("j", "j");
    await waitFor(/^> {2}vm-web-01/mu);
    source.remove("vm-database");
    advance(1000);
    await waitFor(/^> {2}vm-web-01/mu);
    press("s");
    await waitFor("Sort by");
    press("j", "enter");
    await waitFor(/NAME/u);
    await waitFor(/^> {2}vm-web-01/mu);
  });

  test("filter: live, counted, inverted, cleared by escape", async () => {
    const { press, waitFor, waitForGone } = await openList();
    press("/");
    await waitFor("filter:");
    press("state:run");
    await waitForGone("vm-build");
    await waitFor("3 of 7");
    press("enter");
    await waitFor("filter state:run");
    press("escape");
    await waitFor("vm-build");
    press("/", "!vm", "enter");
    await waitFor("1 of 7");
    await waitFor("snapshot-commit");
  });

  test("a frozen display stands still, says so, and goes on", async () => {
    const { press, waitFor, advance, screen } = await openList();
    press(" ");
    await waitFor("FROZEN");
    const before = screen();
    advance(10_000);
    press("j");
    await waitFor(/^> {2}vm-mail/mu);
    expect(progress(screen())?.slice(-6)).toBe(progress(before)?.slice(-6));
    press(" ");
    await tui.waitForGone("FROZEN");
    expect(progress(screen())?.slice(-6)).not.toBe(progress(before)?.slice(-6));
  });

  test("help lists the keys and why some do not work now", async () => {
    const { press, waitFor, waitForGone } = await openList({ columns: 120, rows: 50 });
    press("?");
    await waitFor("Complete: switch users");
    await waitFor("(job is not paused)");
    press("q");
    await waitForGone("Complete: switch users");
  });

  test("details: next job, error, back", async () => {
    const { press, waitFor } = await openList();
    press("enter");
    await waitFor("database-copy.qcow2");
    press("]");
    await waitFor("mail-archive-2019-copy.qcow2");
    press("escape");
    await waitFor("PROGRESS");
    await select("vm-legacy");
    press("e");
    await waitFor("Error of vm-legacy");
    await waitFor("EIO");
  });

  test("the key that the error panel names resumes the job", async () => {
    const { press, waitFor, waitForGone, source } = await openList();
    await select("vm-build");
    press("e");
    await waitFor(/Make room, then r resumes[^]*r resume  Esc close/u);
    press("r");
    await waitForGone("Error of vm-build");
    await waitFor("vm-build: resuming");
    expect(source.accepted).toEqual([["resume", "vm-build"]]);
  });

  test("an error too long for the line says by which key it is read", async () => {
    const { waitFor, terminal, waitForGone } = await openList({ columns: 66, rows: 24 });
    await select("vm-legacy");
    await waitFor(/vm-legacy: EIO: read of source failed at .* {2}e shows all$/mu);
    terminal.resize(160, 24);
    await waitFor("check the disk");
    await waitForGone("shows all");
  });

  test("so does the advice on a job that stopped, until its panel is open", async () => {
    const { waitFor, press, screen } = await openList({ columns: 48, rows: 20 });
    await select("vm-build");
    await waitFor(/vm-build: Stopped: no space .* {2}e shows all$/mu);
    press("e");
    await waitFor("Error of vm-build");
    await waitFor("Esc close");
    expect(screen()).not.toContain("shows all");
  });

  test("what was not stopped is not resumed from its error panel, which closes and says why", async () => {
    const { press, waitFor, waitForGone, source } = await openList();
    await select("vm-legacy");
    press("e");
    await waitFor("Error of vm-legacy");
    press("r");
    await waitForGone("Error of vm-legacy");
    await waitFor("job is not paused");
    expect(source.accepted).toEqual([]);
  });

  test("details of a job that disappears give way to the list", async () => {
    const { press, waitFor, source, advance } = await openList();
    press("enter");
    await waitFor("database-copy.qcow2");
    source.remove("vm-database");
    advance(1000);
    await waitFor("vm-database is no longer in the list");
    await waitFor("PROGRESS");
  });

  test("the tick can be changed", async () => {
    const { press, waitFor } = await openList();
    press("+");
    await waitFor("Updates every 0.5 s");
    press("-", "-");
    await waitFor("Updates every 2 s");
  });

  test("an answer goes with the next key, and what to know of the job is seen again", async () => {
    const { press, waitFor, waitForGone } = await openList();
    await select("vm-build");
    await waitFor("vm-build: Stopped: no space on the target.");
    press("y");
    await waitFor('Sent "vm-build" to the clipboard');
    await waitForGone("vm-build: Stopped");
    press("s");
    await waitFor("Sort");
    press("escape");
    await waitFor("vm-build: Stopped: no space on the target.");
    await waitForGone("clipboard");
  });

  test("the name goes to the clipboard", async () => {
    const { press, waitFor, terminal } = await openList();
    press("y");
    await waitFor('Sent "vm-database" to the clipboard');
    expect(terminal.written).toContain(`\u001B]52;c;${Buffer.from("vm-database").toString("base64")}\u0007`);
  });

  test("a screen dump is the screen as text", async () => {
    const directory = await mkdtemp(join(tmpdir(), "blockmirror-dump-"));
    try {
      const { press, waitFor, screen } = await openList({ columns: 200, ui: { dumpDirectory: directory } });
      press("w");
      await waitFor("Screen written to");
      const path = /Screen written to (\S+)/u.exec(screen())?.[1] ?? "";
      const text = await readFile(path, "utf8");
      const shown = screen()
        .split("\n")
        .map((row) => row.trimEnd());
      expect(text.split("\n").slice(0, 8)).toEqual(shown.slice(0, 8));
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});

describe("read-only", () => {
  test("nothing can be changed", async () => {
    const { press, waitFor } = await openList({ ui: { readOnly: true } });
    await waitFor("(p pause)");
    for (const key of ["p", "l", "x", "X", "n", "c"]) press(key);
    await waitFor(/^ read-only/mu);
    expect(accepted()).toEqual([]);
  });
});

test("a READY job names the decision first, so that a narrow terminal shows it", async () => {
  open({
    columns: 40,
    rows: 10,
    setup: (source) => source.add({ id: "vm", size: MiB, copyRateBytesPerSec: GiB }),
  });
  await tui.waitFor("READY");
  await tui.waitFor("c complete  x cancel");
});

describe("the new-job form", () => {
  const files = new Map([
    ["/images/a.raw", 4 * GiB],
    ["/images/b.raw", 4 * GiB],
  ]);

  test("starts a job from two paths", async () => {
    const { press, waitFor, source } = await openList({ source: { files } });
    press("n");
    await waitFor("New mirror");
    press(
      "/images/a.raw",
      "tab",
      "/images/new.raw",
      "tab",
      "right",
      "tab",
      "tab",
      "50M",
      "tab",
      "64K",
      "tab",
    );
    await waitFor("[top]");
    press("enter");
    await waitFor("> Start <");
    press("enter");
    await waitFor("mirror-a started");
    await waitFor(/^> {2}mirror-a/mu);
    expect(source.accepted.at(-1)?.[2]).toEqual({
      id: "mirror-a",
      sourcePath: "/images/a.raw",
      targetPath: "/images/new.raw",
      sync: "top",
      existing: false,
      speed: 50 * MiB,
      granularity: 65_536,
    });
  });

  test("starts from any field with one key, which complains first where something is missing", async () => {
    const { press, waitFor, waitForGone, source } = await openList({ source: { files } });
    press("n");
    await waitFor("^S start");
    press("/images/a.raw", "ctrl+s");
    await waitFor("! write the path of the copy");
    expect(accepted()).toEqual([]);
    press("/images/new.raw", "ctrl+s");
    await waitFor("mirror-a started");
    await waitForGone("New mirror");
    expect(source.accepted.at(-1)?.[2]).toMatchObject({ targetPath: "/images/new.raw", speed: 0 });
  });

  test("proposes how a path goes on, and takes it with the key to the right", async () => {
    const { press, waitFor, source } = await openList({ source: { files } });
    press("n");
    await waitFor("New mirror");
    press("/images/");
    await waitFor("/images/_a.raw");
    press("b");
    await waitFor("/images/b_.raw");
    press("right");
    await waitFor("/images/b.raw_");
    press("tab", "/images/");
    await waitFor("Target        /images/_ ");
    press("right", "new.raw", "ctrl+s");
    await waitFor("mirror-b started");
    expect(source.accepted.at(-1)?.[2]).toMatchObject({
      sourcePath: "/images/b.raw",
      targetPath: "/images/new.raw",
    });
  });

  test("what a path might go on with belongs to that path alone", async () => {
    const { press, waitFor, waitForGone } = await openList({ source: { files } });
    press("n");
    await waitFor("New mirror");
    press("/images/a");
    await waitFor("/images/a_.raw");
    press("left");
    await waitForGone("a.raw");
    press("end");
    await waitFor("/images/a_.raw");
    press("ctrl+s");
    await waitFor("! write the path of the copy");
    press("right", "x");
    await waitFor("Target        x_");
  });

  test("complains beside the field, of its own knowledge and the source's", async () => {
    const { press, waitFor } = await openList({ source: { files }, rows: 30 });
    press("n");
    await waitFor("New mirror");
    press("up");
    await waitFor("> Start <");
    press("enter");
    await waitFor("! write the path of the image to copy");
    press("/nowhere", "tab", "/images/b.raw", "up");
    await waitFor("! no such file; check the path");
    await waitFor('! file exists; set "existing" to yes');
    expect(accepted()).toEqual([]);
  });

  test("a granularity that is no power of two is refused", async () => {
    const { press, waitFor } = await openList({ source: { files } });
    press("n");
    await waitFor("New mirror");
    press("tab", "tab", "tab", "tab", "tab", "3000", "tab");
    await waitFor("! a power of two from 512 to 64M");
  });

  test("overwriting an existing target wants the job's name, and goes back to the form", async () => {
    const { press, waitFor } = await openList({ source: { files } });
    press("n");
    await waitFor("New mirror");
    press("/images/a.raw", "tab", "/images/b.raw", "tab", "tab", " ", "up", "up", "up", "up");
    await waitFor("> Start <");
    press("enter");
    await waitFor("Overwrite the target?");
    await waitFor("Type mirror-a and Enter");
    press("escape");
    await waitFor("New mirror");
    expect(accepted()).toEqual([]);
    press("enter");
    await waitFor("Type mirror-a and Enter");
    press("mirror-a");
    await waitFor("> mirror-a_");
    press("enter");
    await waitFor("mirror-a started");
    expect(accepted()).toEqual(["start mirror-a"]);
  });

  test("a start that fails leads back to the form with the reason", async () => {
    const { press, waitFor, source } = await openList({ source: { files } });
    press("n");
    await waitFor("New mirror");
    press("/images/a.raw", "tab", "/images/new.raw", "up", "up");
    await waitFor("> Start <");
    source.refuseNext = new Error("permission denied");
    press("enter");
    await waitFor("! permission denied");
    press("escape");
    await tui.waitForGone("New mirror");
  });
});

describe("leaving", () => {
  test("quit asks while jobs are live, and stays by default", async () => {
    const { press, waitFor, waitForGone, result } = await openList();
    press("q");
    await waitFor("jobs are still running in this program");
    press("enter");
    await waitForGone("still running");
    press("q");
    await waitFor("still running");
    press("y");
    await expect(result).resolves.toEqual({ reason: "quit", liveJobs: 6 });
  });

  test("jobs of a daemon do not hold us", async () => {
    const { press, result } = await openList({
      source: { endpoint: { name: "/run/qmp.sock", kind: "qmp", state: "connected" } },
    });
    press("q");
    await expect(result).resolves.toMatchObject({ reason: "quit" });
  });

  test("the terminal is given back", async () => {
    const { press, terminal, result, waitFor } = open({ setup: () => {} });
    await waitFor("No jobs yet");
    expect(terminal.model.buffer.active.type).toBe("alternate");
    expect(terminal.rawMode).toBe(true);
    press("q");
    await result;
    await waitUntil(
      () => terminal.model.buffer.active.type === "normal",
      () => "alternate screen",
    );
    expect(terminal.rawMode).toBe(false);
    expect(terminal.written.lastIndexOf("\u001B[?25h")).toBeGreaterThan(
      terminal.written.lastIndexOf("\u001B[?25l"),
    );
  });

  test("the first ctrl-c waits for an orderly end, the second does not", async () => {
    let asked = 0;
    let forced = 0;
    const { press, waitFor, result } = await openList({
      ui: {
        onInterrupt: () => {
          asked++;
          return new Promise(() => {});
        },
        onForceInterrupt: () => {
          forced++;
        },
      },
    });
    press("ctrl+c");
    await waitFor("Interrupted: jobs are being cancelled in order");
    expect([asked, forced]).toEqual([1, 0]);
    press("ctrl+c");
    await expect(result).resolves.toEqual({ reason: "force-interrupt" });
    expect([asked, forced]).toEqual([1, 1]);
  });

  test("an orderly end that is done ends the UI", async () => {
    const { press, result } = await openList({ ui: { onInterrupt: () => {} } });
    press("ctrl+c");
    await expect(result).resolves.toEqual({ reason: "interrupt" });
  });
});
