import { afterEach, describe, expect, test } from "vitest";
import { appFile, nodePath, type PtyOptions, type PtyProgram, spawnInPty } from "../support/pty.ts";
import { waitFor as waitUntil } from "../support/wait-for.ts";

let program: PtyProgram;

/** The first frame comes before the keyboard is taken over; keys pressed in between belong to the shell. */
async function ready(): Promise<void> {
  await program.waitFor("vm-database");
  await program.takesKeys();
}

function run(flags: readonly string[] = [], options: PtyOptions = {}): PtyProgram {
  program = spawnInPty(nodePath, [appFile("test", "support", "ui-program.ts"), ...flags], options);
  return program;
}

afterEach(async () => {
  program.kill("SIGKILL");
  await program.exited();
});

describe("in a real pseudo-terminal", () => {
  test("starts on the alternate screen and gives the main one back on quit", async () => {
    const { waitFor, press, onAlternateScreen, exited, screen } = run();
    await ready();
    expect(onAlternateScreen()).toBe(true);
    press("q");
    await waitFor("Quit?");
    press("y");
    await waitFor('ended: {"reason":"quit"');
    expect(onAlternateScreen()).toBe(false);
    expect(screen()).not.toContain("PROGRESS");
    await expect(exited()).resolves.toMatchObject({ exitCode: 0 });
  });

  test("a resize in the middle of a dialog keeps the dialog, and its safe default", async () => {
    const { waitFor, press, resize, screen } = run();
    await ready();
    press("x");
    await waitFor("> Keep running <");
    resize(120, 40);
    await waitFor("LIMIT");
    await waitFor("> Keep running <");
    resize(60, 15);
    await waitFor("> Keep running <");
    expect(screen().split("\n")).toHaveLength(15);
    press("enter");
    await waitFor("Nothing was changed");
  });

  test.each(["SIGTERM", "SIGHUP"] as const)("%s gives the terminal back", async (signal) => {
    const { waitFor, kill, onAlternateScreen, written } = run();
    await ready();
    kill(signal);
    await waitFor(`ended: {"reason":"signal","signal":"${signal}"}`);
    expect(onAlternateScreen()).toBe(false);
    expect(written().lastIndexOf("\u001B[?25h")).toBeGreaterThan(written().lastIndexOf("\u001B[?25l"));
  });

  test("a crash gives the terminal back before the error is printed", async () => {
    const { waitFor, onAlternateScreen, exited, kill } = run();
    await ready();
    kill("SIGUSR2");
    await waitFor("deliberate crash");
    expect(onAlternateScreen()).toBe(false);
    const { exitCode } = await exited();
    expect(exitCode).not.toBe(0);
  });

  test("suspending lends the screen to the shell and takes it back", async () => {
    const { waitFor, press, takesKeys, written, onAlternateScreen } = run();
    await ready();
    press("ctrl+z");
    // Nobody can continue an orphaned process group, so the stop is ignored and the UI comes back by itself.
    await waitUntil(
      () => written().split("\u001B[?1049h").length === 3,
      () => written(),
    );
    expect(written()).toContain("\u001B[?1049l");
    await takesKeys();
    press("?");
    await waitFor("Keys");
    expect(onAlternateScreen()).toBe(true);
  });

  test("NO_COLOR: no colours, the same words", async () => {
    const { written, screen } = run([], { env: { NO_COLOR: "1", FORCE_COLOR: undefined } });
    await ready();
    // oxlint-disable-next-line no-control-regex
    expect(written()).not.toMatch(/\u001B\[[\d;]*m/u);
    expect(screen()).toMatch(/^> {2}vm-database +RUNNING/mu);
  });

  test("colours where they are wanted", async () => {
    const { written } = run([], { env: { NO_COLOR: undefined, FORCE_COLOR: "1" } });
    await ready();
    expect(written()).toContain("\u001B[32m");
  });

  test("the first frame stays inside the terminal at every size", async () => {
    const { waitFor, resize } = run([], { columns: 200, rows: 50 });
    await waitFor("TREND");
    for (const [columns, rows] of [
      [40, 10],
      [80, 24],
      [59, 30],
      [160, 12],
    ] as const) {
      resize(columns, rows);
      // All of it at once: what was drawn for the size before is seen until the program has drawn anew.
      await waitFor(/^ *blockmirror.*\n[^]*vm-data.*[RP][UE][^]*p pause/u);
    }
  });
});
