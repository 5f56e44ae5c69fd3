import { join } from "node:path";

import { formatBytes } from "../format.ts";
import { interleave, medianOf } from "../interleave.ts";
import { runMirror } from "../process/mirror-process.ts";
import { copyWithDd, mirrorWithStorageDaemon } from "../process/peer-mirror.ts";
import type { Scenario } from "../scenario.ts";
import { assertIdentical, settle, writeFullImage } from "./images.ts";

/** A full image onto an existing, full target: the plain copy speed, against QEMU and against the page cache. */
export const rawFull: Scenario = {
  name: "raw/full",
  title: "raw to raw, an image full of data onto an existing target",
  needs: ["qemu-storage-daemon", "qemu-img"],

  async run({ directory, dataBytes, runs, log }) {
    const source = join(directory, "source.raw");
    const target = join(directory, "target.raw");
    log(`writing two images of ${formatBytes(dataBytes)}`);
    await writeFullImage(source, dataBytes);
    await writeFullImage(target, dataBytes);

    const contestants = {
      ours: () => runMirror(source, target),
      qemu: async () => {
        const { readyMs, completedMs } = await mirrorWithStorageDaemon(source, target);
        return { readyMs, completedMs, processMs: Number.NaN };
      },
      dd: async () => {
        const processMs = await copyWithDd(source, target);
        return { readyMs: processMs, completedMs: processMs, processMs };
      },
    };
    const results = await interleave(contestants, { runs, afterEach: () => settle(target) });
    await runMirror(source, target);
    await assertIdentical(source, target);

    const size = formatBytes(dataBytes);
    const ready = medianOf(results, "ours", (run) => run.readyMs);
    const completed = medianOf(results, "ours", (run) => run.completedMs);
    const whole = medianOf(results, "ours", (run) => run.processMs);
    const qemu = { name: "qemu-storage-daemon", value: medianOf(results, "qemu", (run) => run.readyMs) };
    const dd = { name: "dd bs=1M conv=notrunc", value: medianOf(results, "dd", (run) => run.processMs) };
    return [
      {
        figure: `${size}, job start to READY`,
        unit: "ms",
        ours: ready,
        peer: qemu,
        bar: { on: "ratio", atLeast: 2.5 },
      },
      {
        figure: `${size}, job start to completed`,
        unit: "ms",
        ours: completed,
        peer: dd,
        bar: { on: "ratio", atLeast: 0.85 },
      },
      { figure: `${size}, the whole process`, unit: "ms", ours: whole, peer: dd },
    ];
  },
};
