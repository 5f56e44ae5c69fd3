import { spawn } from "node:child_process";
import { join } from "node:path";
import { performance } from "node:perf_hooks";

import { run } from "@blockmirror/peers";

import { interleave, medianOf } from "../interleave.ts";
import { PROGRAM } from "../process/mirror-process.ts";
import { PeakMemory } from "../process/peak-memory.ts";
import type { Scenario } from "../scenario.ts";

const MiB = 2 ** 20;

/** How long a process takes, from start to exit. */
async function timed(program: string, args: readonly string[]): Promise<{ readonly ms: number }> {
  const started = performance.now();
  await run(program, args);
  return { ms: performance.now() - started };
}

/** Highest resident size of a run of Node, by the high-water mark that the kernel keeps of it. */
async function peakOf(args: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, args, { stdio: "ignore" });
  const memory = new PeakMemory(child.pid ?? 0);
  await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", resolve);
  });
  return memory.stop() ?? Number.NaN;
}

/** A huge image has to cost what there is in it, not what it could hold. */
export const qcow2Open: Scenario = {
  name: "qcow2/open",
  title: "`blockmirror info` of an empty qcow2 image of 64 TiB",
  needs: ["qemu-img"],

  async run({ directory, runs }) {
    const image = join(directory, "huge.qcow2");
    await run("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", image, "64T"]);
    const results = await interleave(
      {
        ours: () => timed(process.execPath, [PROGRAM, "info", "--output", "json", image]),
        qemu: () => timed("qemu-img", ["info", "--output=json", image]),
      },
      { runs },
    );
    const peakBytes = await peakOf([PROGRAM, "info", image]);
    return [
      {
        figure: "64 TiB, the whole process",
        unit: "ms",
        ours: medianOf(results, "ours", ({ ms }) => ms),
        peer: { name: "qemu-img info", value: medianOf(results, "qemu", ({ ms }) => ms) },
        bar: { on: "ratio", atLeast: 1 / 1.5 },
      },
      {
        figure: "64 TiB, peak resident size",
        unit: "MiB",
        ours: peakBytes / MiB,
        bar: { on: "value", atMost: 100 },
      },
    ];
  },
};
