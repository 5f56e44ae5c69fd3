import { join } from "node:path";

import { run } from "@blockmirror/peers";

import { formatBytes } from "../format.ts";
import { interleave, medianOf } from "../interleave.ts";
import { runMirror } from "../process/mirror-process.ts";
import { convertWithQemuImg, mirrorWithStorageDaemon, type Formats } from "../process/peer-mirror.ts";
import { allocatedBytes } from "../raw/images.ts";
import type { BenchRow } from "../row.ts";
import type { BenchContext, Scenario } from "../scenario.ts";

/** A copy between formats that is measured against QEMU's mirror and, where asked for, `qemu-img convert`. */
export interface CopyCase {
  readonly name: string;
  readonly title: string;
  readonly formats: Formats;
  /** Makes the source, and answers its path. */
  readonly makeSource: (context: BenchContext) => Promise<string>;
  /** Bytes of the disk. */
  readonly size: (context: BenchContext) => number;
  /** At least this many times as fast as QEMU's mirror, to READY. Absent: not compared. */
  readonly mirrorBar?: number;
  /**
   * At least this many times as fast as `qemu-img convert` that leaves a durable copy, process against process; how it
   * does at its defaults, without a flush, is shown beside. Absent: not compared.
   */
  readonly convertBar?: number;
  /** The target has to be no larger than the source. */
  readonly compact?: boolean;
}

interface Figures {
  readonly readyMs: number;
  readonly processMs: number;
  readonly targetBytes: number;
}

const MiB = 2 ** 20;

/** Makes a scenario of it: every run starts with a target that is new. */
export function copyScenario(copy: CopyCase): Scenario {
  return {
    name: copy.name,
    title: copy.title,
    needs: ["qemu-storage-daemon", "qemu-img"],
    run: (context) => measure(copy, context),
  };
}

async function measure(copy: CopyCase, context: BenchContext): Promise<readonly BenchRow[]> {
  const { formats, mirrorBar, convertBar } = copy;
  const size = copy.size(context);
  context.log(`making the source of ${formatBytes(size)}`);
  const source = await copy.makeSource(context);
  const target = join(context.directory, `target.${formats.target}`);

  const fresh = async (): Promise<void> => {
    await run("qemu-img", ["create", "-q", "-f", formats.target, target, String(size)]);
  };
  const converting = (cache: "unsafe" | "writeback") => async (): Promise<Figures> => {
    await fresh();
    const processMs = await convertWithQemuImg(source, target, formats, cache);
    return { readyMs: Number.NaN, processMs, targetBytes: await allocatedBytes(target) };
  };
  const contestants: Record<string, () => Promise<Figures>> = {
    ours: async () => {
      await fresh();
      const args = ["--source-format", formats.source, "--target-format", formats.target];
      const { readyMs, processMs } = await runMirror(source, target, args);
      return { readyMs, processMs, targetBytes: await allocatedBytes(target) };
    },
    ...(mirrorBar !== undefined && {
      mirror: async () => {
        await fresh();
        const { readyMs } = await mirrorWithStorageDaemon(source, target, formats);
        return { readyMs, processMs: Number.NaN, targetBytes: await allocatedBytes(target) };
      },
    }),
    ...(convertBar !== undefined && { convert: converting("writeback"), hasty: converting("unsafe") }),
  };
  const results = await interleave(contestants, { runs: context.runs });
  await contestants["ours"]?.();
  await run("qemu-img", ["compare", "-q", "-f", formats.source, "-F", formats.target, source, target], {
    timeoutMs: 600_000,
  });
  return rowsOf(copy, results, formatBytes(size), await allocatedBytes(source));
}

function rowsOf(
  copy: CopyCase,
  results: ReadonlyMap<string, readonly Figures[]>,
  size: string,
  sourceBytes: number,
): readonly BenchRow[] {
  const { mirrorBar, convertBar, compact } = copy;
  const rows: BenchRow[] = [];
  if (mirrorBar !== undefined) {
    rows.push({
      figure: `${size}, job start to READY`,
      unit: "ms",
      ours: medianOf(results, "ours", (run) => run.readyMs),
      peer: { name: "qemu-storage-daemon", value: medianOf(results, "mirror", (run) => run.readyMs) },
      bar: { on: "ratio", atLeast: mirrorBar },
    });
  }
  if (convertBar !== undefined) {
    rows.push({
      figure: `${size}, the whole process`,
      unit: "ms",
      ours: medianOf(results, "ours", (run) => run.processMs),
      peer: {
        name: "qemu-img convert -t writeback",
        value: medianOf(results, "convert", (run) => run.processMs),
      },
      bar: { on: "ratio", atLeast: convertBar },
    });
    rows.push({
      figure: `${size}, the same beside one that flushes nothing`,
      unit: "ms",
      ours: medianOf(results, "ours", (run) => run.processMs),
      peer: { name: "qemu-img convert", value: medianOf(results, "hasty", (run) => run.processMs) },
    });
  }
  if (compact === true) {
    rows.push({
      figure: "target's allocation, at most the source's",
      unit: "MiB",
      ours: medianOf(results, "ours", (run) => run.targetBytes) / MiB,
      bar: { on: "value", atMost: sourceBytes / MiB },
    });
  }
  return rows;
}
