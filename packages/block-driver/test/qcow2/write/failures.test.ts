import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { BlockError, FaultController, type FaultRule } from "../../../src/index.ts";
import { ContentModel } from "../../../src/conformance/content-model.ts";
import { Random } from "../../../src/conformance/random.ts";
import { failure } from "../../support/graphs.ts";
import { checkFile } from "../support/check.ts";
import { createImage } from "../support/create.ts";
import { openImage, read, withImage, type OpenImage } from "../support/open.ts";
import { peek64, poke32 } from "../support/poke.ts";
import { scratchFiles } from "../support/scratch.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const SEED = Number(process.env["BLOCKMIRROR_SEED"] ?? 3);
const at = scratchFiles();

async function disturbed(
  size: number,
  options: Readonly<Record<string, unknown>> = {},
): Promise<OpenImage & { readonly controller: FaultController }> {
  await createImage(at("disk.qcow2"), size, options);
  const controller = new FaultController();
  const image = await openImage({
    driver: "fault",
    controller,
    file: { driver: "file", filename: at("disk.qcow2") },
  });
  return { ...image, controller };
}

describe("a failed write", () => {
  test("J04: of guest data leaves the old content, and its clusters are used again", async () => {
    const { edge, close, controller } = await disturbed(MIB);
    await edge.write(0, [Buffer.alloc(512, 1)]);
    controller.add({ operation: "write", error: "EIO" });
    await failure("EIO", () => edge.write(256 * KIB, [Buffer.alloc(128 * KIB, 2)]));
    expect((await read(edge, 256 * KIB, 128 * KIB)).every((byte) => byte === 0)).toBe(true);
    await edge.write(256 * KIB, [Buffer.alloc(128 * KIB, 3)]);
    await close();
    expect(await checkFile(at("disk.qcow2"))).toMatchObject({
      corruptions: 0,
      leaks: 0,
      allocatedClusters: 3,
    });
  });

  test("of metadata fails the flush and loses nothing: the next flush tries again", async () => {
    const { edge, close, controller } = await disturbed(MIB);
    await edge.write(0, [Buffer.alloc(MIB, 1)]);
    controller.add({ operation: "write", error: "EIO" });
    await failure("EIO", () => edge.flush());
    await edge.flush();
    const afterwards = readFileSync(at("disk.qcow2"));
    await close();
    expect(afterwards.readBigUInt64BE(Number(afterwards.readBigUInt64BE(40)))).not.toBe(0n);
    expect(await checkFile(at("disk.qcow2"))).toMatchObject({ corruptions: 0, leaks: 0 });
    await withImage(at("disk.qcow2"), async (image) => {
      expect((await read(image.edge, 0, MIB)).every((byte) => byte === 1)).toBe(true);
    });
  });
});

test("an L2 table that a failed flush may have linked never names clusters that are not counted yet", async () => {
  const create = { clusterSize: 512, refcountBits: 64 };
  const { edge, close, controller } = await disturbed(MIB, create);
  const [l1, refcountTable] = [40, 48].map((field) => Number(peek64(at("disk.qcow2"), field)));
  await edge.write(0, [Buffer.alloc(512, 1)]);
  // The entry reaches the file, and the request fails all the same.
  controller.add({ operation: "write", offset: l1 ?? 0, error: "EIO", transferred: 8 });
  await failure("EIO", () => edge.flush());
  expect(peek64(at("disk.qcow2"), l1 ?? 0)).not.toBe(0n);
  // So many clusters that they need another refcount block, which the refcount table never gets to know.
  await edge.write(512, [Buffer.alloc(31 * KIB, 2)]);
  await edge.write(32 * KIB, [Buffer.alloc(32 * KIB, 3)]);
  controller.add({ operation: "write", offset: refcountTable ?? 0, length: 512, error: "EIO", times: 0 });
  await failure("EIO", () => edge.flush());
  await failure("EIO", close);
  expect(await checkFile(at("disk.qcow2"))).toMatchObject({ corruptions: 0, checkErrors: 0 });
});

test("a header that may name one refcount table or the other fences the image, which is in order either way", async () => {
  await createImage(at("disk.qcow2"), 64 * MIB, { clusterSize: 512, refcountBits: 64 });
  // A table of one cluster counts 2 MiB; that of a new image would do for all of the disk.
  poke32(at("disk.qcow2"), 56, 1);
  const table = peek64(at("disk.qcow2"), 48);
  const controller = new FaultController();
  controller.add({ operation: "write", offset: 48, error: "EIO", transferred: 12 });
  const file = { driver: "fault", controller, file: { driver: "file", filename: at("disk.qcow2") } };
  const { edge, close, node } = await openImage(file);
  await edge.write(0, [Buffer.alloc(3 * MIB, 1)]);
  await failure("EIO", () => edge.flush());
  expect(peek64(at("disk.qcow2"), 48)).not.toBe(table);
  expect(node.fence?.code).toBe("BLK_FENCED");
  await failure("BLK_FENCED", close);
  expect(await checkFile(at("disk.qcow2"))).toMatchObject({ corruptions: 0, checkErrors: 0 });
});

test("after a failed flush nothing is written any more, because nobody knows what the file holds", async () => {
  const { edge, close, controller, node } = await disturbed(MIB);
  await edge.write(0, [Buffer.alloc(MIB, 1)]);
  controller.add({ operation: "flush", error: "EIO" });
  await failure("EIO", () => edge.flush());
  controller.clearLog();
  const refused = await failure("BLK_FENCED", () => edge.write(0, [Buffer.alloc(512, 2)]));
  await failure("BLK_FENCED", () => edge.flush());
  const { message } = await failure("BLK_FENCED", () => close());
  // Nothing reopens an image in place: the advice is what can be done.
  expect(refused.message).toMatch(/end what uses it, close it and open it again$/u);
  expect(message).toMatch(/: close it, check the storage, and open it again$/u);
  expect(node.fence?.code).toBe("BLK_FENCED");
  expect(controller.log.filter(({ operation }) => operation === "write")).toEqual([]);
});

test.each<FaultRule>([{ error: "EIO" }, { error: "ENOSPC", transferred: 700 }, { error: "EIO", times: 3 }])(
  "whichever request to the file fails (%o), the image stays in order and holds what was promised",
  async (rule) => {
    for (let nth = 1; ; nth += 1) {
      const struck = await failOnce({ ...rule, nth }, nth);
      if (!struck) break;
    }
  },
);

/** Random changes of an image with tiny clusters, one request failing; false when there was no such request. */
async function failOnce(rule: FaultRule, nth: number): Promise<boolean> {
  const size = 96 * KIB;
  const { edge, close, controller, node } = await disturbed(size, { clusterSize: 512, refcountBits: 64 });
  const random = new Random(SEED);
  const model = new ContentModel(new Uint8Array(size));
  let durable = model.clone();
  controller.clearLog();
  controller.add(rule);
  for (let step = 0; step < 10; step += 1) {
    const length = 1 + random.below(20_000);
    const offset = random.below(size - length);
    const data = random.bytes(length);
    const kind = random.below(5);
    const run = (): unknown => {
      if (kind === 0) return edge.discard(offset, length);
      if (kind === 1) return edge.writeZeroes(offset, length, { unmap: true });
      return edge.write(offset, [data]);
    };
    const { info } = node;
    try {
      await run();
      if (kind === 0) model.discard(offset, length, info);
      else if (kind === 1) model.zero(offset, length);
      else model.write(offset, data);
    } catch (error) {
      expect(error, `request ${nth}`).toBeInstanceOf(BlockError);
      if (kind === 0) model.mayDiscard(offset, length, info);
      else if (kind === 1) model.mayZero(offset, length);
      else model.mayWrite(offset, data);
    }
    if (kind === 0) durable.mayDiscard(offset, length, info);
    else if (kind === 1) durable.mayZero(offset, length);
    else durable.mayWrite(offset, data);
    if (step % 3 === 2) {
      const flushed = await settled(() => edge.flush());
      if (flushed) durable = model.clone();
    }
  }
  const struck = controller.log.some(({ outcome }) => outcome !== "passed");
  controller.clear();
  const closed = await settled(close);
  const report = await checkFile(at("disk.qcow2"));
  expect(report.corruptions, `request ${nth} failed`).toBe(0);
  await withImage(at("disk.qcow2"), async (image) => {
    const content = await read(image.edge, 0, size);
    durable.check(0, content, `request ${nth} failed: what was flushed`);
    if (closed) model.check(0, content, `request ${nth} failed: what was closed`);
  });
  return struck;
}

async function settled(run: () => unknown): Promise<boolean> {
  try {
    await run();
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(BlockError);
    return false;
  }
}
