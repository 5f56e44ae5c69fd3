import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { appFile, nodePath, spawnInPty } from "../support/pty.ts";
import { scratchDirectory, startCli } from "../cli/support/run-cli.ts";

describe("the demo", () => {
  test("unattended in a pipe: identical, exit status 0, nothing left behind", async () => {
    const own = scratchDirectory();
    const { status, stdout, stderr } = await startCli(["demo"], { env: { TMPDIR: own.path } }).ended;
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/is what the writer was told is written: identical\.\n$/u);
    expect(readdirSync(own.path)).toEqual([]);
    own.remove();
  });

  test.each([/A sparse disk/u, /demo: copy/u])(
    "interrupted at %s: 130, nothing left behind",
    async (moment) => {
      const own = scratchDirectory();
      const run = startCli(["demo", "--interval", "0.2"], { env: { TMPDIR: own.path } });
      await run.saw(moment);
      run.child.kill("SIGINT");
      const { status, stderr } = await run.ended;
      expect(status).toBe(130);
      expect(stderr).toMatch(/ended early; its images are removed\n$/u);
      expect(readdirSync(own.path)).toEqual([]);
      own.remove();
    },
  );

  test("in a terminal of 80 by 24, killed by SIGTERM: the screen is given back, nothing is left behind", async () => {
    const own = scratchDirectory();
    const program = spawnInPty(nodePath, [appFile("bin", "blockmirror.js"), "demo"], {
      env: { TMPDIR: own.path },
    });
    // Making the images takes its time on a slow disk.
    await program.waitFor(/A sparse disk|RUNNING/u);
    await program.waitFor(/demo.*RUNNING/u);
    expect(program.onAlternateScreen()).toBe(true);
    for (const line of program.screen().split("\n")) expect(line.length).toBeLessThanOrEqual(80);
    program.kill("SIGTERM");
    const { exitCode } = await program.exited();
    expect(exitCode).toBe(130);
    expect(program.onAlternateScreen()).toBe(false);
    expect(readdirSync(own.path)).toEqual([]);
    own.remove();
  });
});
