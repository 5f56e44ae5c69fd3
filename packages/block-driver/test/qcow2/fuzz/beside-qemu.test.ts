import { dirname } from "node:path";
import { lacksPeers } from "@blockmirror/peers";
import { expect, test } from "vitest";
import { Random } from "../../../src/conformance/random.ts";
import { scratchFiles } from "../support/scratch.ts";
import { makeBaseImages, makePeerImages } from "./base-images.ts";
import { differsFromQemu } from "./beside-qemu.ts";
import { mutate } from "./mutate.ts";

/** How many images are compared: a few in CI, BLOCKMIRROR_FUZZ_PEERS of them by hand. */
const trials = Number(process.env["BLOCKMIRROR_FUZZ_PEERS"] ?? 20);
const firstSeed = Number(process.env["BLOCKMIRROR_SEED"] ?? 1);

const path = scratchFiles();

test.skipIf(lacksPeers("qemu-img", "qemu-io"))(
  "mutated images are to us what they are to qemu-img",
  async () => {
    const made = (await makeBaseImages(1)).filter(({ name }) => !name.includes("backingFile"));
    const bases = [...made, ...(await makePeerImages(dirname(path("a"))))];
    const differences: string[] = [];
    for (let seed = firstSeed; seed < firstSeed + trials; seed += 1) {
      const random = new Random(seed);
      const base = random.pick(bases);
      const { bytes, pokes } = mutate(base.bytes, random);
      const difference = await differsFromQemu(bytes, path("a.qcow2"));
      if (difference !== undefined) {
        differences.push(`BLOCKMIRROR_SEED=${seed} ${base.name} ${JSON.stringify(pokes)}: ${difference}`);
      }
    }
    expect(differences).toEqual([]);
  },
  trials * 10_000,
);
