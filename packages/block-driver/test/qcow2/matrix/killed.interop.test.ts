import { copyFileSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { lacksPeers, PeerError, run } from "@blockmirror/peers";
import { describe, expect, test } from "vitest";
import { Random } from "../../../src/conformance/random.ts";
import { BlockGraph, createDefaultRegistry, directoryGate, type BlockNode } from "../../../src/index.ts";
import { checkFile } from "../support/check.ts";
import { qemuCheck, qemuImg, qemuIo } from "../support/qemu-img.ts";
import { scratchFiles } from "../support/scratch.ts";
import { coveringArray, type Factors } from "./covering-array.ts";
import { createByQemu, FACTORS, FORBIDDEN, ImageVariant, makeBacking } from "./image-variants.ts";
import { applyOperation, chooseOperations, qemuCommand, type Disk } from "./operations.ts";

const SEED = Number(process.env["BLOCKMIRROR_SEED"] ?? 9);
const at = scratchFiles();

/** What has no part in what a killed writer leaves has one value, and of widths and sizes the ends will do. */
const FEWER: Factors = new Map([
  ["refcount_bits", ["1", "16", "64"]],
  ["cluster_size", ["512", "16384", "65536"]],
  ["backing", ["none", "longer qcow2"]],
  ["size", [String(6 * 1024 * 1024)]],
  ["preallocation", ["off", "metadata"]],
  ["compression_type", ["zlib"]],
  ["compressed", ["none"]],
  ["creator", ["qemu-img"]],
]);

const VARIANTS = coveringArray(new Map([...FACTORS, ...FEWER]), FORBIDDEN).map(
  (row) => new ImageVariant(row),
);

/** Runs qemu-io, which is killed behind the last command with all that it keeps in memory. */
async function writeAndDie(image: string, commands: readonly string[]): Promise<void> {
  const args = [...commands, "sigraise 9"].flatMap((command) => ["-c", command]);
  await expect(run("qemu-io", ["-f", "qcow2", ...args, image])).rejects.toSatisfy(
    (error) => error instanceof PeerError && error.message.includes("SIGKILL"),
  );
}

async function opened<T>(image: string, readOnly: boolean, use: (node: BlockNode) => Promise<T>): Promise<T> {
  const graph = new BlockGraph({ registry: createDefaultRegistry(), gate: directoryGate([dirname(image)]) });
  try {
    return await use(
      await graph.open({ driver: "qcow2", readOnly, file: { driver: "file", filename: image } }),
    );
  } finally {
    await graph.closeAll();
  }
}

async function contentOf(node: BlockNode): Promise<Buffer> {
  const content = Buffer.alloc(node.size, 0xee);
  await node.read(0, [content]);
  return content;
}

/*
 * An image that a killed qemu-io leaves: with lazy refcounts none of them is true, without them some of what it wrote is
 * linked and some is not.
 */
describe.skipIf(lacksPeers("qemu-img", "qemu-io"))("an image whose writer was killed", () => {
  test.each(VARIANTS.map((variant, index) => ({ name: variant.name, variant, index })))(
    "$name",
    async ({ variant, index }) => {
      const random = new Random(SEED + index);
      const image = at("disk.qcow2");
      const files = { image, data: at("disk.data"), at };
      const model = await makeBacking(variant, files, random);
      await createByQemu(variant, files);
      if (variant.has("bitmaps")) await qemuImg(["bitmap", "--add", image, "one"]);
      const disk: Disk = {
        size: variant.size,
        clusterSize: variant.clusterSize,
        canDiscard: !variant.isVersion2 || !variant.has("backing"),
      };
      const durable = chooseOperations(random, disk, 512, 6);
      await qemuIo(image, durable.map(qemuCommand));
      for (const operation of durable) applyOperation(model, disk, operation);
      if (variant.has("snapshots")) await qemuImg(["snapshot", "-c", "one", image]);
      const flushed = chooseOperations(random, disk, 512, 5);
      const lost = chooseOperations(random, disk, 512, 5);
      await writeAndDie(image, [...flushed.map(qemuCommand), "flush", ...lost.map(qemuCommand)]);
      for (const operation of flushed) applyOperation(model, disk, operation);

      // As it was left: both read the same, both find the same.
      await qemuImg(["convert", "-U", "-f", "qcow2", "-O", "raw", image, at("theirs.raw")]);
      const theirs = readFileSync(at("theirs.raw"));
      const before = readFileSync(image);
      const left = await opened(image, true, async (node) => {
        if (variant.has("bitmaps")) {
          expect(node.device.bitmaps?.list()).toMatchObject([{ name: "one", inconsistent: true }]);
        }
        return contentOf(node);
      });
      expect(Buffer.compare(left, theirs), "what is left, read by both").toBe(0);
      const report = await qemuCheck(image);
      expect(await checkFile(image)).toMatchObject({
        checkErrors: report["check-errors"],
        corruptions: report.corruptions ?? 0,
        leaks: report.leaks ?? 0,
      });
      expect(readFileSync(image).equals(before), "looking changes nothing").toBe(true);
      // What was flushed, or written over by what was lost.
      const touched = Buffer.alloc(disk.size);
      for (const { offset, length } of lost) touched.fill(1, offset, offset + length);
      const differs = left.findIndex((byte, offset) => byte !== model[offset] && touched[offset] === 0);
      expect(differs, "what was flushed is there").toBe(-1);

      // Ours repairs it as it opens it, or goes on with it as it is; qemu-img then finds nothing but space that was lost.
      copyFileSync(image, at("repaired.qcow2"));
      await opened(image, false, async (node) => {
        expect(Buffer.compare(await contentOf(node), theirs), "opened to write").toBe(0);
        await node.write(0, [Buffer.alloc(70_000, 0x33)]);
        theirs.fill(0x33, 0, 70_000);
      });
      const after = await qemuCheck(image);
      expect([after["check-errors"], after.corruptions ?? 0]).toEqual([0, 0]);
      if (variant.has("lazy_refcounts")) expect(after.leaks ?? 0, "leaks").toBe(0);
      await checkFile(image, { repair: "all" });
      const last = await qemuCheck(image);
      expect([last["check-errors"], last.corruptions ?? 0, last.leaks ?? 0]).toEqual([0, 0, 0]);
      expect(Buffer.compare(await opened(image, true, contentOf), theirs)).toBe(0);
    },
  );
});
