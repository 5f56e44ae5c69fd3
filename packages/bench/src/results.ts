import { mkdir, writeFile } from "node:fs/promises";
import { availableParallelism, cpus, totalmem } from "node:os";
import { join } from "node:path";

import { findPeer, PEER_NAMES } from "@blockmirror/peers";

import { ratioOf, reachesBar, type BenchRow } from "./row.ts";

/** One scenario's part of the results: its rows, or why it has none. */
export interface ScenarioResult {
  readonly name: string;
  readonly title: string;
  readonly rows: readonly BenchRow[];
  /** Why it was not run, or how it failed. */
  readonly skipped?: string;
  readonly failed?: string;
}

/** How the benchmark was run. */
export interface BenchSettings {
  readonly runs: number;
  readonly dataBytes: number;
  readonly directory: string;
}

/**
 * Keeps the results as JSON, with what is needed to compare them later: machine, settings and peers.
 *
 * @returns The file's path.
 */
export async function saveResults(
  directory: string,
  startedAt: Date,
  settings: BenchSettings,
  scenarios: readonly ScenarioResult[],
): Promise<string> {
  const report = {
    startedAt: startedAt.toISOString(),
    settings,
    machine: {
      platform: `${process.platform} ${process.arch}`,
      cpu: cpus()[0]?.model,
      parallelism: availableParallelism(),
      memoryBytes: totalmem(),
      node: process.version,
    },
    peers: Object.fromEntries(PEER_NAMES.map((name) => [name, findPeer(name) ?? null])),
    scenarios: scenarios.map(({ rows, ...scenario }) => ({
      ...scenario,
      rows: rows.map((row) => ({ ...row, ratio: ratioOf(row) ?? null, reachesBar: reachesBar(row) ?? null })),
    })),
  };
  await mkdir(directory, { recursive: true });
  const path = join(directory, `${startedAt.toISOString().replaceAll(":", "-")}.json`);
  await writeFile(path, `${JSON.stringify(report, undefined, 2)}\n`);
  return path;
}
