import { join } from "node:path";

import { formatBytes } from "../format.ts";
import { median } from "../interleave.ts";
import { runMirror } from "../process/mirror-process.ts";
import type { Scenario } from "../scenario.ts";
import { writeFullImage } from "./images.ts";

const MiB = 2 ** 20;

/** Peak memory of the whole program while it copies. */
export const rawMemory: Scenario = {
  name: "raw/memory",
  title: "peak memory of `blockmirror mirror`, raw to raw",
  needs: [],

  async run({ directory, dataBytes, runs }) {
    const source = join(directory, "source.raw");
    const target = join(directory, "target.raw");
    await writeFullImage(source, dataBytes);
    await writeFullImage(target, dataBytes);
    const peaks: number[] = [];
    for (let round = 0; round < runs; round++) {
      const { peakBytes } = await runMirror(source, target);
      if (peakBytes === undefined) throw new Error("the peak memory of a process is only known on Linux");
      peaks.push(peakBytes / MiB);
    }
    return [
      {
        figure: `${formatBytes(dataBytes)}, peak resident size, at most 130 MiB`,
        unit: "MiB",
        ours: median(peaks),
        bar: { on: "value", atMost: 130 },
      },
    ];
  },
};
