import { performance } from "node:perf_hooks";
import { join } from "node:path";

import { formatBytes } from "../format.ts";
import { interleave, medianOf } from "../interleave.ts";
import { startDaemon } from "../process/daemon-mirror.ts";
import { writeFullImage } from "../raw/images.ts";
import type { Scenario } from "../scenario.ts";

const JOBS = 64;

/** Mirrors images side by side in one daemon of ours. @returns milliseconds until the last is READY. */
async function mirrorAll(directory: string, count: number): Promise<number> {
  const daemon = await startDaemon("ours");
  try {
    for (let index = 0; index < count; index += 1) {
      for (const side of ["source", "target"]) {
        const file = { driver: "file", filename: join(directory, `${side}-${count}-${index}.raw`) };
        await daemon.execute("blockdev-add", { driver: "raw", "node-name": `${side}${index}`, file });
      }
    }
    const started = performance.now();
    for (let index = 0; index < count; index += 1) {
      const job = { "job-id": `j${index}`, device: `source${index}`, target: `target${index}`, sync: "full" };
      await daemon.execute("blockdev-mirror", job);
    }
    for (let index = 0; index < count; index += 1) {
      await daemon.waitForEvent("BLOCK_JOB_READY", { match: { device: `j${index}` }, timeoutMs: 600_000 });
    }
    return performance.now() - started;
  } finally {
    await daemon.stop();
  }
}

/** Many jobs at once against one job on as many bytes. */
export const jobsMany: Scenario = {
  name: "jobs/many",
  title: `${JOBS} mirrors at once against one of the same bytes, raw to raw`,
  needs: [],
  async run({ directory, dataBytes, runs, log }) {
    const each = Math.floor(dataBytes / JOBS / 4096) * 4096;
    log(`writing images of 4 x ${formatBytes(each * JOBS)}`);
    for (const [count, bytes] of [
      [1, each * JOBS],
      [JOBS, each],
    ] as const) {
      for (let index = 0; index < count; index += 1) {
        for (const side of ["source", "target"]) {
          await writeFullImage(join(directory, `${side}-${count}-${index}.raw`), bytes);
        }
      }
    }
    const results = await interleave(
      { ours: () => mirrorAll(directory, JOBS), one: () => mirrorAll(directory, 1) },
      { runs },
    );
    return [
      {
        figure: `${JOBS} jobs of ${formatBytes(each)}, until all are READY`,
        unit: "ms",
        ours: medianOf(results, "ours", (ms) => ms),
        peer: { name: "one job", value: medianOf(results, "one", (ms) => ms) },
        bar: { on: "ratio", atLeast: 0.8 },
      },
    ];
  },
};
