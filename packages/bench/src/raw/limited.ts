import { join } from "node:path";

import { formatBytes } from "../format.ts";
import { runMirror } from "../process/mirror-process.ts";
import type { Scenario } from "../scenario.ts";
import { writeFullImage } from "./images.ts";

const MiB = 2 ** 20;
const SPEED_MIB = 200;

/** A speed limit is kept: neither overrun, nor left unused. */
export const rawLimited: Scenario = {
  name: "raw/limited",
  title: "raw to raw with --speed 200M",
  needs: [],

  async run({ directory, dataBytes }) {
    const source = join(directory, "source.raw");
    const target = join(directory, "target.raw");
    await writeFullImage(source, dataBytes);
    await writeFullImage(target, dataBytes);
    const { readyMs } = await runMirror(source, target, ["--speed", `${SPEED_MIB}M`]);
    const rate = dataBytes / MiB / (readyMs / 1000);
    return [
      {
        figure: `${formatBytes(dataBytes)}, rate under a limit of ${SPEED_MIB} MiB/s, within 3 %`,
        unit: "MiB/s",
        ours: rate,
        largerIsBetter: true,
        bar: { on: "value", atLeast: SPEED_MIB * 0.97, atMost: SPEED_MIB * 1.03 },
      },
    ];
  },
};
