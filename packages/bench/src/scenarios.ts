import { hbitmap } from "./hbitmap/scenario.ts";
import { nbdMirrorToQemuNbd } from "./nbd/mirror-to-qemu-nbd.ts";
import { rawFull } from "./raw/full.ts";
import { rawLimited } from "./raw/limited.ts";
import { rawMemory } from "./raw/memory.ts";
import { rawSparse } from "./raw/sparse.ts";
import type { Scenario } from "./scenario.ts";

/** Everything `npm run bench` can measure, in the order it does. */
export const SCENARIOS: readonly Scenario[] = [
  rawFull,
  rawSparse,
  rawLimited,
  rawMemory,
  nbdMirrorToQemuNbd,
  hbitmap,
];
