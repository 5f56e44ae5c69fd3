import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { formatBytes, parseBytes } from "./format.ts";
import { formatTable } from "./report.ts";
import { saveResults, type BenchSettings, type ScenarioResult } from "./results.ts";
import { reachesBar } from "./row.ts";
import { runScenario } from "./run-scenario.ts";
import { FULL_DATA_BYTES, type Scenario } from "./scenario.ts";
import { SCENARIOS } from "./scenarios.ts";

const USAGE = `usage: npm run bench -- [NAME…] [--runs N] [--size SIZE] [--dir DIR] [--strict] [--list]

  NAME      only scenarios whose name contains it, as raw or raw/full
  --runs    timed runs of each contestant, after one that is not counted (default 5)
  --size    data in a full image (default 2G, which the bars are set for)
  --dir     where images are written (default: the temporary directory)
  --strict  exit with 1 when a bar is missed, too
  --list    only name the scenarios
`;

const RESULTS = fileURLToPath(new URL("../../../bench/results", import.meta.url));

interface Arguments {
  readonly settings: BenchSettings;
  readonly scenarios: readonly Scenario[];
  readonly strict: boolean;
  readonly list: boolean;
}

/** @throws RangeError | TypeError for a wrong command line. */
function parseCommandLine(args: readonly string[]): Arguments {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      runs: { type: "string", default: "5" },
      size: { type: "string", default: "2G" },
      dir: { type: "string", default: tmpdir() },
      strict: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
    },
  });
  const runs = Number(values.runs);
  if (!Number.isSafeInteger(runs) || runs < 1)
    throw new RangeError(`--runs has to be 1 or more: ${values.runs}`);
  const dataBytes = parseBytes(values.size);
  const scenarios = SCENARIOS.filter(
    ({ name }) => positionals.length === 0 || positionals.some((part) => name.includes(part)),
  );
  if (scenarios.length === 0) {
    throw new RangeError(`no scenario is named ${positionals.join(" or ")}; --list names them`);
  }
  const settings = { runs, dataBytes, directory: values.dir };
  return { settings, scenarios, strict: values.strict, list: values.list };
}

function printResult(result: ScenarioResult): void {
  console.log(`\n${result.name}: ${result.title}`);
  if (result.skipped !== undefined) console.log(`SKIPPED: ${result.skipped}`);
  if (result.failed !== undefined) console.log(`FAILED: ${result.failed}`);
  if (result.rows.length > 0) console.log(formatTable(result.rows));
}

/** Runs the scenarios one after the other. @returns The exit status: 1 when one failed, or with strict missed. */
async function measure({ settings, scenarios, strict }: Arguments): Promise<number> {
  const startedAt = new Date();
  if (settings.dataBytes !== FULL_DATA_BYTES) {
    console.log(
      `full images hold ${formatBytes(settings.dataBytes)}; the bars are set for ${formatBytes(FULL_DATA_BYTES)}`,
    );
  }
  const results: ScenarioResult[] = [];
  for (const scenario of scenarios) {
    console.error(`… ${scenario.name}`);
    const result = await runScenario(scenario, settings, (text) => console.error(`  ${text}`));
    results.push(result);
    printResult(result);
  }
  const path = await saveResults(RESULTS, startedAt, settings, results);

  const verdicts = results.flatMap(({ rows }) => rows.map((row) => reachesBar(row)));
  const count = (verdict: boolean): number => verdicts.filter((item) => item === verdict).length;
  const failed = results.filter((result) => result.failed !== undefined).length;
  const skipped = results.filter((result) => result.skipped !== undefined).length;
  console.log(
    `\n${count(true)} PASS, ${count(false)} miss, ${skipped} skipped, ${failed} failed; medians of ${settings.runs} interleaved runs`,
  );
  console.log(`results: ${path}`);
  return failed > 0 || (strict && count(false) + skipped > 0) ? 1 : 0;
}

/** The benchmark's command line. @returns Its exit status: 0, 1 for a failure, 2 for wrong usage. */
export async function main(args: readonly string[]): Promise<number> {
  if (args.includes("--help")) {
    console.log(USAGE);
    return 0;
  }
  let parsed: Arguments;
  try {
    parsed = parseCommandLine(args);
  } catch (error) {
    console.error(`bench: ${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    return 2;
  }
  if (parsed.list) {
    const width = Math.max(...parsed.scenarios.map(({ name }) => name.length));
    for (const { name, title } of parsed.scenarios) console.log(`${name.padEnd(width)}  ${title}`);
    return 0;
  }
  return measure(parsed);
}
