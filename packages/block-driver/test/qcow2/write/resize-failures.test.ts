import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { BlockError, FaultController, type BlockEdge, type FaultRule } from "../../../src/index.ts";
import { failure } from "../../support/graphs.ts";
import { checkFile } from "../support/check.ts";
import { createImage } from "../support/create.ts";
import { openImage, read, withImage, type OpenImage } from "../support/open.ts";
import { scratchFiles } from "../support/scratch.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const at = scratchFiles();

const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);

/** An image on a file that can be made to fail. With clusters of 512 bytes a larger disk needs a larger L1 table. */
async function disturbed(
  size: number,
  clusterSize: number,
): Promise<OpenImage & { readonly controller: FaultController }> {
  await createImage(at("disk.qcow2"), size, { clusterSize });
  const controller = new FaultController();
  const file = { driver: "fault", controller, file: { driver: "file", filename: at("disk.qcow2") } };
  return { ...(await openImage(file)), controller };
}

async function mustHold(size: number, written: number): Promise<void> {
  expect(await checkFile(at("disk.qcow2"))).toMatchObject({ corruptions: 0, checkErrors: 0 });
  await withImage(at("disk.qcow2"), async ({ node, edge }) => {
    expect(node.size).toBe(size);
    const expected = Buffer.alloc(size);
    expected.fill(1, 0, written);
    expect(Buffer.compare(await read(edge, 0, size), expected)).toBe(0);
  });
}

const recorded = (): number => Number(readFileSync(at("disk.qcow2")).readBigUInt64BE(24));

const resized = (edge: BlockEdge, size: number): Promise<unknown> =>
  edge.resize(size).then(
    () => undefined,
    (error: unknown) => error,
  );

/** Lets the first, the second, the third … such request fail, until there is none left to fail. */
async function failingEach(rule: FaultRule, run: (rule: FaultRule) => Promise<unknown>): Promise<number> {
  for (let nth = 1; ; nth += 1) {
    const error = await run({ ...rule, nth });
    if (error === undefined) return nth - 1;
    expect(error).toBeInstanceOf(BlockError);
  }
}

describe("a disk that could not be resized", () => {
  test("larger is as it was, and becomes larger when asked again", async () => {
    const failed = await failingEach(
      { operation: ["write", "resize"], error: "ENOSPC", times: 2 },
      async (rule) => {
        const { edge, node, close, controller } = await disturbed(64 * KIB, 512);
        await edge.write(0, [filled(64 * KIB, 1)]);
        await edge.flush();
        controller.add(rule);
        const error = await resized(edge, 8 * MIB);
        controller.clear();
        if (node.fence !== undefined) {
          // Which table the header names is not known any more; whichever it is, the image is in order.
          await close().catch(() => {});
          await mustHold(64 * KIB, 64 * KIB);
          return error;
        }
        if (error !== undefined) {
          expect(node.size).toBe(64 * KIB);
          await edge.write(0, [filled(64 * KIB, 1)]);
          await edge.resize(8 * MIB);
        }
        await close();
        await mustHold(8 * MIB, 64 * KIB);
        return error;
      },
    );
    // The tables and their refcounts, the header, the size.
    expect(failed).toBeGreaterThanOrEqual(3);
  });

  test("smaller has one size all the same: what the header says, for guests and bitmaps too", async () => {
    const failed = await failingEach({ operation: "write", error: "EIO", times: 2 }, async (rule) => {
      const { edge, node, close, controller } = await disturbed(256 * KIB, 4096);
      await edge.write(0, [filled(256 * KIB, 1)]);
      await edge.flush();
      const bitmap = node.createDirtyBitmap({ name: "all", granularity: 512 });
      controller.add(rule);
      const error = await resized(edge, 100 * KIB + 512);
      controller.clear();
      expect(bitmap.bits.size).toBe(node.size);
      // What is written by then is there later on: it does not lie behind the end that is recorded.
      await edge.write(node.size - 512, [filled(512, 1)]);
      await edge.flush();
      expect(readFileSync(at("disk.qcow2")).readBigUInt64BE(24)).toBe(BigInt(node.size));
      const { size } = node;
      await close();
      await mustHold(size, size);
      return error;
    });
    expect(failed).toBeGreaterThanOrEqual(1);
  });
});

describe("requests that wait while a disk becomes smaller", () => {
  test("are refused where it has no place for them any more, instead of being lost", async () => {
    const { edge, close, controller } = await disturbed(256 * KIB, 4096);
    await edge.write(0, [filled(256 * KIB, 1)]);
    controller.add({ operation: "write", offset: 24, length: 8, hold: true });
    const resizing = edge.resize(64 * KIB);
    await controller.waitForHeld("write");
    const requests = [
      edge.write(128 * KIB, [filled(512, 2)]),
      edge.write(64 * KIB - 512, [filled(1024, 2)]),
      edge.writeZeroes(128 * KIB, 4096),
      edge.discard(128 * KIB, 4096),
    ].map((request) => failure("EINVAL", () => request));
    const inside = edge.write(0, [filled(512, 1)]);
    controller.release();
    await resizing;
    await Promise.all(requests);
    await inside;
    await close();
    await mustHold(64 * KIB, 64 * KIB);
  });
});

describe("a size that is recorded though writing it failed", () => {
  test.each([
    ["smaller", 64 * KIB],
    ["larger", MIB],
  ])("is taken back by the next flush: a disk that did not become %s", async (_name, size) => {
    const { edge, node, close, controller } = await disturbed(256 * KIB, 4096);
    await edge.write(0, [filled(256 * KIB, 1)]);
    await edge.flush();
    controller.add({ operation: "write", offset: 24, length: 8, error: "EIO", transferred: 8 });
    await failure("EIO", () => edge.resize(size));
    expect(node.size).toBe(256 * KIB);
    expect(recorded()).toBe(size);
    // A flush that fails leaves it to the next one.
    controller.add({ operation: "write", offset: 24, length: 8, error: "EIO" });
    await failure("EIO", async () => edge.flush());
    await edge.flush();
    expect(recorded()).toBe(256 * KIB);
    await close();
    await mustHold(256 * KIB, 256 * KIB);
  });
});

describe("a disk that grows over a backing file which is not open", () => {
  test("is refused, since it may be longer and would show; nothing changes", async () => {
    writeFileSync(at("base.raw"), filled(3 * MIB, 9));
    const named = { backingFile: "base.raw", backingFormat: "raw" };
    await createImage(at("disk.qcow2"), MIB, named);
    const before = readFileSync(at("disk.qcow2"));
    await withImage(
      at("disk.qcow2"),
      async ({ edge, node }) => {
        await failure("ENOTSUP", () => edge.resize(2 * MIB));
        expect(node.size).toBe(MIB);
      },
      { backing: null },
    );
    expect(readFileSync(at("disk.qcow2")).equals(before)).toBe(true);
    await withImage(at("disk.qcow2"), ({ edge }) => edge.resize(512 * KIB), { backing: null });
    const backing = { driver: "file", filename: at("base.raw"), readOnly: true };
    await withImage(
      at("disk.qcow2"),
      async ({ edge }) => {
        await edge.resize(2 * MIB);
        const expected = Buffer.alloc(2 * MIB);
        expected.fill(9, 0, 512 * KIB);
        expect(Buffer.compare(await read(edge, 0, 2 * MIB), expected)).toBe(0);
      },
      { backing },
    );
  });
});
