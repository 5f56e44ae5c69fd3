import { join } from "node:path";

import { interleave, medianOf } from "../interleave.ts";
import { runMirror } from "../process/mirror-process.ts";
import { mirrorWithStorageDaemon } from "../process/peer-mirror.ts";
import type { Scenario } from "../scenario.ts";
import { allocatedBytes, assertIdentical, writeEmptyImage, writeSparseImage } from "./images.ts";

const TiB = 2 ** 40;
const MiB = 2 ** 20;
const EXTENTS = 64;

/** A terabyte that is nearly all hole has to cost what its data cost, in time and in space. */
export const rawSparse: Scenario = {
  name: "raw/sparse",
  title: "raw to raw, 1 TiB with 64 x 1 MiB of data onto an empty target",
  needs: ["qemu-storage-daemon", "qemu-img"],

  async run({ directory, runs }) {
    const source = join(directory, "source.raw");
    const target = join(directory, "target.raw");
    await writeSparseImage(source, TiB, EXTENTS);

    const ours = async (): Promise<{ readyMs: number; targetBytes: number }> => {
      await writeEmptyImage(target, TiB);
      const { readyMs } = await runMirror(source, target);
      return { readyMs, targetBytes: await allocatedBytes(target) };
    };
    const qemu = async (): Promise<{ readyMs: number; targetBytes: number }> => {
      await writeEmptyImage(target, TiB);
      const { readyMs } = await mirrorWithStorageDaemon(source, target);
      return { readyMs, targetBytes: await allocatedBytes(target) };
    };
    const results = await interleave({ ours, qemu }, { runs });
    await ours();
    await assertIdentical(source, target);

    const sourceBytes = await allocatedBytes(source);
    const name = "qemu-storage-daemon";
    return [
      {
        figure: "1 TiB sparse, job start to READY",
        unit: "ms",
        ours: medianOf(results, "ours", (run) => run.readyMs),
        peer: { name, value: medianOf(results, "qemu", (run) => run.readyMs) },
        bar: { on: "ratio", atLeast: 3 },
      },
      {
        figure: "target's allocation, at most the source's",
        unit: "MiB",
        ours: medianOf(results, "ours", (run) => run.targetBytes) / MiB,
        peer: { name, value: medianOf(results, "qemu", (run) => run.targetBytes) / MiB },
        bar: { on: "value", atMost: sourceBytes / MiB },
      },
    ];
  },
};
