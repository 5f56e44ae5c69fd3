import { statSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { FaultController } from "../../../src/index.ts";
import { checkFile } from "../support/check.ts";
import { createImage } from "../support/create.ts";
import { openImage, read, withImage } from "../support/open.ts";
import { scratchFiles } from "../support/scratch.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const at = scratchFiles();

/** `length` bytes that tell where they are. */
function pattern(length: number, salt = 0): Buffer {
  return Buffer.from(
    Uint8Array.from({ length }, (_unused, index) => 1 + ((index * 7 + (index >> 8) + salt) % 255)),
  );
}

async function overlay(options: Readonly<Record<string, unknown>> = {}, baseLength = MIB): Promise<Buffer> {
  const base = pattern(baseLength);
  writeFileSync(at("base.raw"), base);
  await createImage(at("disk.qcow2"), MIB, options);
  return base;
}

const backing = (): Readonly<Record<string, unknown>> => ({
  backing: {
    driver: "raw",
    readOnly: true,
    file: { driver: "file", filename: at("base.raw"), readOnly: true },
  },
});

describe("a write that covers part of a cluster", () => {
  test.each([
    ["clusters", {}],
    ["small clusters", { clusterSize: 512 }],
    ["subclusters", { extendedL2: true }],
  ] as const)(
    "copies what lies around it from the backing file, in one write (%s)",
    async (_name, options) => {
      const content = await overlay(options);
      const controller = new FaultController();
      const image = await openImage(
        { driver: "fault", controller, file: { driver: "file", filename: at("disk.qcow2") } },
        backing(),
      );
      await image.edge.write(300 * KIB + 100, [Buffer.alloc(3000, 0xaa)]);
      content.fill(0xaa, 300 * KIB + 100, 300 * KIB + 3100);
      expect(controller.log.filter(({ operation }) => operation === "write")).toHaveLength(1);
      expect(Buffer.compare(await read(image.edge, 0, MIB), content)).toBe(0);
      await image.close();
      expect(await checkFile(at("disk.qcow2"))).toMatchObject({ corruptions: 0, leaks: 0 });
    },
  );

  test("finds zeroes behind the end of a shorter backing file", async () => {
    const base = await overlay({}, 100 * KIB + 512);
    await withImage(
      at("disk.qcow2"),
      async ({ edge }) => {
        await edge.write(90 * KIB, [Buffer.alloc(KIB, 0xaa)]);
        const expected = Buffer.alloc(MIB);
        base.copy(expected);
        expected.fill(0xaa, 90 * KIB, 91 * KIB);
        expect(Buffer.compare(await read(edge, 0, MIB), expected)).toBe(0);
      },
      backing(),
    );
  });

  test("to a cluster that had other contents leaves nothing of them", async () => {
    await createImage(at("disk.qcow2"), MIB);
    await withImage(at("disk.qcow2"), async ({ edge }) => {
      await edge.write(0, [Buffer.alloc(512 * KIB, 0xbb)]);
      await edge.discard(0, 512 * KIB);
    });
    await withImage(at("disk.qcow2"), async ({ edge }) => {
      // The freed clusters are used again, or the file would be larger in the end.
      for (let cluster = 8; cluster < 16; cluster += 1) {
        await edge.write(cluster * 64 * KIB + 100, [Buffer.alloc(100, 0xcc)]);
      }
      const found = await read(edge, 0, MIB);
      expect(found.includes(0xbb)).toBe(false);
      expect(found.filter((byte) => byte === 0xcc)).toHaveLength(800);
    });
    expect(statSync(at("disk.qcow2")).size).toBeLessThan(900 * KIB);
  });

  test("to a cluster that reads as zeroes but has space keeps it zero around", async () => {
    await createImage(at("disk.qcow2"), MIB);
    await withImage(at("disk.qcow2"), async ({ edge }) => {
      await edge.write(0, [Buffer.alloc(MIB, 0xbb)]);
      await edge.writeZeroes(0, MIB);
      const before = statSync(at("disk.qcow2")).size;
      await edge.write(64 * KIB + 5, [Buffer.alloc(7, 0xcc)]);
      const expected = Buffer.alloc(MIB);
      expected.fill(0xcc, 64 * KIB + 5, 64 * KIB + 12);
      expect(Buffer.compare(await read(edge, 0, MIB), expected)).toBe(0);
      expect(statSync(at("disk.qcow2")).size).toBe(before);
    });
  });
});

describe("writers at the same time", () => {
  test("of neighbours in one cluster allocate it once, and both are kept", async () => {
    const content = await overlay();
    const image = await openImage(at("disk.qcow2"), backing());
    await Promise.all(
      Array.from({ length: 32 }, async (_unused, index) => {
        content.fill(index + 1, index * 2 * KIB, (index + 1) * 2 * KIB);
        await image.edge.write(index * 2 * KIB, [Buffer.alloc(2 * KIB, index + 1)]);
      }),
    );
    expect(Buffer.compare(await read(image.edge, 0, MIB), content)).toBe(0);
    await image.close();
    expect(await checkFile(at("disk.qcow2"))).toMatchObject({
      corruptions: 0,
      leaks: 0,
      allocatedClusters: 1,
    });
  });

  test("a discard waits for an allocation in its range", async () => {
    await createImage(at("disk.qcow2"), MIB);
    const controller = new FaultController();
    const image = await openImage({
      driver: "fault",
      controller,
      file: { driver: "file", filename: at("disk.qcow2") },
    });
    await image.edge.write(512 * KIB, [Buffer.alloc(512, 1)]);
    const release = controller.add({ operation: "write", hold: true });
    const write = Promise.resolve(image.edge.write(0, [Buffer.alloc(64 * KIB, 0xdd)]));
    await controller.waitForHeld("write");
    const discard = Promise.resolve(image.edge.discard(0, 64 * KIB));
    release();
    controller.release();
    await Promise.all([write, discard]);
    expect((await read(image.edge, 0, 64 * KIB)).every((byte) => byte === 0)).toBe(true);
    await image.close();
    expect(await checkFile(at("disk.qcow2"))).toMatchObject({ corruptions: 0, leaks: 0 });
  });

  test("a cluster that is being read is not used for anything else", async () => {
    await createImage(at("disk.qcow2"), MIB);
    const controller = new FaultController();
    const image = await openImage({
      driver: "fault",
      controller,
      file: { driver: "file", filename: at("disk.qcow2") },
    });
    await image.edge.write(0, [Buffer.alloc(64 * KIB, 0xaa)]);
    controller.add({ operation: "read", hold: true });
    const reading = read(image.edge, 0, 64 * KIB);
    await controller.waitForHeld("read");
    await image.edge.discard(0, 64 * KIB);
    await image.edge.flush();
    await image.edge.write(256 * KIB, [Buffer.alloc(512 * KIB, 0xbb)]);
    await image.edge.flush();
    controller.clear();
    controller.release();
    expect((await reading).includes(0xbb)).toBe(false);
    await image.close();
    expect(await checkFile(at("disk.qcow2"))).toMatchObject({ corruptions: 0, leaks: 0 });
  });
});
