import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { lacksPeers } from "@blockmirror/peers";
import { describe, expect, test } from "vitest";
import { ContentModel } from "../../../src/conformance/content-model.ts";
import { Random } from "../../../src/conformance/random.ts";
import { checkFile } from "../support/check.ts";
import { createImage } from "../support/create.ts";
import { read, withImage } from "../support/open.ts";
import { qemuCheck } from "../support/qemu-img.ts";
import { scratchFiles } from "../support/scratch.ts";
import { DISK_SIZE, SequenceOperation } from "./operation-sequence.ts";

const SEED = Number(process.env["BLOCKMIRROR_SEED"] ?? 11);
/** A few in CI, a hundred by hand. */
const KILLS = Number(process.env["BLOCKMIRROR_KILLS"] ?? 3);
const at = scratchFiles();

/** Lets a process write to the image and kills it when it begins operation `last`. Returns what it had said by then. */
async function writeAndKill(
  filename: string,
  seed: number,
  last: number,
): Promise<{ readonly begun: number; readonly flushed: number }> {
  const script = fileURLToPath(new URL("writing-process.ts", import.meta.url));
  const child = spawn(process.execPath, ["--no-warnings", script, filename, String(seed)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  let begun = 0;
  let flushed = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const [what, number] = line.split(" ");
    if (what === "begin") begun = Number(number);
    else flushed = Number(number);
    if (begun >= last) child.kill("SIGKILL");
  }
  expect(await exited).toEqual([null, "SIGKILL"]);
  return { begun, flushed };
}

describe("a writer that is killed", () => {
  test.each([
    ["clusters of 512 bytes", { clusterSize: 512 }],
    ["clusters of 4 KiB", { clusterSize: 4096 }],
    ["subclusters", { clusterSize: 16384, extendedL2: true }],
  ])("leaves nothing worse than leaks, and all that was flushed (%s)", async (_name, options) => {
    const random = new Random(SEED);
    for (let round = 0; round < Math.ceil(KILLS / 3); round += 1) {
      const filename = at(`disk-${round}.qcow2`);
      const seed = SEED + round;
      await createImage(filename, DISK_SIZE, options);
      const { begun, flushed } = await writeAndKill(filename, seed, random.below(120));
      const report = await checkFile(filename);
      expect(report, `seed ${seed}, killed at ${begun}`).toMatchObject({ corruptions: 0, checkErrors: 0 });
      if (!lacksPeers("qemu-img")) {
        expect((await qemuCheck(filename)).corruptions ?? 0).toBe(0);
        expect(await qemuCheck(filename, "leaks")).toMatchObject({ "check-errors": 0 });
      }
      await withImage(filename, async ({ edge, node }) => {
        const model = new ContentModel(new Uint8Array(DISK_SIZE));
        for (let number = 0; number < flushed; number += 1) {
          new SequenceOperation(seed, number).apply(model, node.info);
        }
        for (let number = flushed; number <= begun; number += 1) {
          new SequenceOperation(seed, number).mayApply(model, node.info);
        }
        model.check(
          0,
          await read(edge, 0, DISK_SIZE),
          `seed ${seed}, killed at ${begun}, flushed ${flushed}`,
        );
      });
      // What is left can be repaired, and then nothing is left.
      await checkFile(filename, { repair: "leaks" });
      expect(await checkFile(filename)).toMatchObject({ corruptions: 0, leaks: 0 });
    }
  });
});
