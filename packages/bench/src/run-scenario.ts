import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";

import { findPeer } from "@blockmirror/peers";

import type { BenchSettings, ScenarioResult } from "./results.ts";
import type { Scenario } from "./scenario.ts";

/** Runs one scenario in a directory of its own. A failure is a result, so that the others are still measured. */
export async function runScenario(
  scenario: Scenario,
  settings: BenchSettings,
  log: (text: string) => void,
): Promise<ScenarioResult> {
  const { name, title } = scenario;
  const missing = scenario.needs.filter((peer) => findPeer(peer) === undefined);
  if (missing.length > 0) {
    return { name, title, rows: [], skipped: `needs ${missing.join(" and ")}, not found on this machine` };
  }
  const directory = await mkdtemp(join(settings.directory, "blockmirror-bench-"));
  try {
    const { runs, dataBytes } = settings;
    return { name, title, rows: await scenario.run({ directory, runs, dataBytes, log }) };
  } catch (error) {
    return { name, title, rows: [], failed: error instanceof Error ? error.message : String(error) };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
