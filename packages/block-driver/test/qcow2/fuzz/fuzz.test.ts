import { dirname } from "node:path";
import { lacksPeers } from "@blockmirror/peers";
import { expect, test } from "vitest";
import { Random } from "../../../src/conformance/random.ts";
import { makeBaseImages, makePeerImages } from "./base-images.ts";
import { mutate } from "./mutate.ts";
import { scratchFiles } from "../support/scratch.ts";
import { tryImage } from "./trial.ts";

/*
 * Valid images, poked in a few places, and put through everything. Without more to say it runs a fixed number of trials;
 * BLOCKMIRROR_FUZZ_SECONDS runs for that long, from BLOCKMIRROR_SEED on. A failure names its seed: BLOCKMIRROR_SEED=<seed>
 * repeats it at once. BLOCKMIRROR_FUZZ_TRACE=1 names every seed before it is tried, should one never end.
 */

const TRIALS = 200;
const seconds = Number(process.env["BLOCKMIRROR_FUZZ_SECONDS"] ?? 0);
const firstSeed = Number(process.env["BLOCKMIRROR_SEED"] ?? 1);
const trace = process.env["BLOCKMIRROR_FUZZ_TRACE"] === "1";
/** Buffers that may be alive between two trials: what an image makes the driver keep is bounded. */
const MOST_BUFFERS = 512 * 1024 * 1024;

const path = scratchFiles();

test(
  "K01: mutated images break no invariant",
  async () => {
    console.info(`fuzzing: BLOCKMIRROR_SEED=${firstSeed}`);
    // By hand, images that only qemu can make are poked too; a seed then means them as well.
    const byHand = seconds > 0 && !lacksPeers("qemu-img", "qemu-io");
    const bases = [...(await makeBaseImages(1)), ...(byHand ? await makePeerImages(dirname(path("a"))) : [])];
    const until = Date.now() + seconds * 1000;
    const ends = new Map<string, number>();
    let seed = firstSeed;
    for (; seconds > 0 ? Date.now() < until : seed < firstSeed + TRIALS; seed += 1) {
      const random = new Random(seed);
      const base = random.pick(bases);
      const { bytes, pokes } = mutate(base.bytes, random);
      if (trace) console.info(`seed ${seed}: ${base.name} ${JSON.stringify(pokes)}`);
      try {
        const end = await tryImage(bytes, random);
        ends.set(end, (ends.get(end) ?? 0) + 1);
      } catch (error) {
        throw new Error(`BLOCKMIRROR_SEED=${seed}: ${base.name} poked with ${JSON.stringify(pokes)}`, {
          cause: error,
        });
      }
      expect(process.memoryUsage().arrayBuffers, `after seed ${seed}`).toBeLessThan(MOST_BUFFERS);
    }
    console.info(`fuzzed ${seed - firstSeed} images: ${JSON.stringify(Object.fromEntries(ends))}`);
    // Each kind of end is worth something only if images get there.
    expect([...ends.keys()].toSorted()).toEqual(["read", "refused", "written", "written, and still good"]);
  },
  (seconds + 120) * 1000,
);
