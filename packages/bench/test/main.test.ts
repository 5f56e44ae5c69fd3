import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { main } from "../src/main.ts";
import { saveResults } from "../src/results.ts";
import { runScenario } from "../src/run-scenario.ts";
import type { BenchContext, Scenario } from "../src/scenario.ts";
import { SCENARIOS } from "../src/scenarios.ts";

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "blockmirror-bench-test-"));
});

afterEach(async () => {
  vi.restoreAllMocks();
  await rm(directory, { recursive: true, force: true });
});

function scenario(run: (context: BenchContext) => Promise<never[]>): Scenario {
  return { name: "test/one", title: "one", needs: [], run };
}

describe("runScenario", () => {
  test("gives a directory of its own and removes it", async () => {
    let inside = "";
    const result = await runScenario(
      scenario(async (context) => {
        inside = context.directory;
        await expect(readdir(inside)).resolves.toEqual([]);
        return [];
      }),
      { runs: 1, dataBytes: 1, directory },
      () => undefined,
    );
    expect(result).toEqual({ name: "test/one", title: "one", rows: [] });
    expect(inside.startsWith(directory)).toBe(true);
    await expect(readdir(directory)).resolves.toEqual([]);
  });

  test("a failure is a result and leaves nothing behind", async () => {
    const failing = scenario(() => Promise.reject(new Error("disk on fire")));
    const result = await runScenario(failing, { runs: 1, dataBytes: 1, directory }, () => undefined);
    expect(result).toMatchObject({ rows: [], failed: "disk on fire" });
    await expect(readdir(directory)).resolves.toEqual([]);
  });

  test("a scenario whose peer is missing says which", async () => {
    vi.stubEnv("PATH", directory);
    const needy: Scenario = {
      ...scenario(() => Promise.reject(new Error("must not run"))),
      needs: ["fio", "nbdkit"],
    };
    const result = await runScenario(needy, { runs: 1, dataBytes: 1, directory }, () => undefined);
    vi.unstubAllEnvs();
    expect(result.skipped).toContain("fio and nbdkit");
    expect(result.failed).toBeUndefined();
  });
});

test("results are kept with ratio, verdict, settings and machine", async () => {
  const rows = [
    { figure: "f", unit: "ms", ours: 1, peer: { name: "p", value: 3 }, bar: { on: "ratio", atLeast: 2 } },
  ] as const;
  const path = await saveResults(directory, new Date(0), { runs: 2, dataBytes: 5, directory: "/d" }, [
    { name: "a/b", title: "t", rows },
    { name: "c/d", title: "t", rows: [], skipped: "needs fio" },
  ]);
  expect(path).toBe(join(directory, "1970-01-01T00-00-00.000Z.json"));
  expect(JSON.parse(await readFile(path, "utf8"))).toMatchObject({
    startedAt: "1970-01-01T00:00:00.000Z",
    settings: { runs: 2, dataBytes: 5 },
    machine: { node: process.version },
    scenarios: [
      { name: "a/b", rows: [{ ours: 1, ratio: 3, reachesBar: true }] },
      { name: "c/d", skipped: "needs fio" },
    ],
  });
});

describe("the command line", () => {
  test("--list names every scenario, or those that match", async () => {
    const log = vi.spyOn(console, "log").mockReturnValue();
    await expect(main(["--list"])).resolves.toBe(0);
    expect(log).toHaveBeenCalledTimes(SCENARIOS.length);
    log.mockClear();
    await expect(main(["--list", "raw/sp"])).resolves.toBe(0);
    expect(log.mock.calls).toEqual([[expect.stringMatching(/^raw\/sparse /u)]]);
  });

  test.each([
    [["no-such-scenario"], "no scenario is named no-such-scenario"],
    [["--runs", "0"], "--runs has to be 1 or more"],
    [["--size", "much"], "not a size: much"],
    [["--fast"], "--fast"],
  ])("refuses %j before anything is measured", async (args, message) => {
    const error = vi.spyOn(console, "error").mockReturnValue();
    await expect(main(args)).resolves.toBe(2);
    expect(error.mock.calls).toEqual([[expect.stringContaining(message)]]);
  });
});
