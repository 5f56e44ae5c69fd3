import assert from "node:assert/strict";
import { MAX_DEVICE_SIZE, type BlockDevice } from "../contract/device.ts";
import { ExtentList } from "../contract/extents.ts";
import { Random } from "./random.ts";
import {
  caught,
  rejects,
  sameBytes,
  seedOf,
  withSpecimen,
  type ConformanceCase,
  type ConformanceSubject,
  type Specimen,
} from "./subject.ts";

/** Cases about single requests: shapes, ranges, buffers, modes and the life of the device. */
export function contractCases(subject: ConformanceSubject, writable: boolean): readonly ConformanceCase[] {
  const using = (name: string, run: (specimen: Specimen) => Promise<void>): ConformanceCase => ({
    name: `contract: ${name}`,
    run: () => withSpecimen(subject, run),
  });
  const cases = [
    using("info is sound", async ({ node }) => checkInfo(node.device)),
    using("every announced capability has its method", async ({ node }) => checkMethods(node.device)),
    using("reads fill vectors of any shape and nothing else", readShapes),
    using("ranges outside the device are refused", outsideRanges),
    using("requests of zero bytes do nothing", zeroLength),
    using("a signal that was aborted before refuses without effect", abortedBefore),
    using("close is idempotent and ends all use", closing),
  ];
  if (subject.features?.startsZero !== false) {
    cases.push(
      using("new storage reads as zeroes", async (specimen) => {
        const { size } = specimen.node;
        sameBytes(await specimen.read(0, size), new Uint8Array(size), "new storage");
      }),
    );
  }
  if (writable) {
    cases.push(
      using("writes take vectors of any shape and touch nothing else", writeShapes),
      using("buffers are not kept after a request has settled", noRetention),
    );
    if (subject.features?.readOnly !== false) {
      cases.push({
        name: "contract: opened read-only it refuses every change",
        run: () => withSpecimen(subject, readOnly, { readOnly: true }),
      });
    }
  }
  return cases;
}

function checkInfo(device: BlockDevice): void {
  const { info } = device;
  assert.ok(info.driver !== "" && info.label !== "", "driver and label are named");
  assert.ok(
    Number.isSafeInteger(info.size) && info.size >= 0 && info.size <= MAX_DEVICE_SIZE,
    `size ${info.size}`,
  );
  for (const name of ["read", "write", "zero", "discard", "optimal"] as const) {
    const value = info.align[name];
    assert.ok(value >= 1 && Number.isInteger(Math.log2(value)), `align.${name} = ${value} is a power of two`);
  }
  const { allocation } = info.align;
  assert.ok(allocation === 0 || Number.isInteger(Math.log2(allocation)), `align.allocation = ${allocation}`);
  assert.equal(info.size % info.align.read, 0, "the size is a multiple of align.read");
  assert.equal(info.size % info.align.write, 0, "the size is a multiple of align.write");
  const block = Math.max(info.align.read, info.align.write);
  assert.ok(
    info.max.transfer >= block,
    `max.transfer = ${info.max.transfer} holds a block of ${block} bytes`,
  );
  assert.ok(info.max.iovecs >= 1, "max.iovecs is at least 1");
  assert.equal(device.info, info, "info is a snapshot: the same object until something changes");
}

function checkMethods(device: BlockDevice): void {
  const { can } = device.info;
  const announced = {
    write: can.write,
    writeZeroes: can.writeZeroes !== "no",
    discard: can.discard !== "no",
    flush: can.flush,
    resize: can.resize !== "no",
    copyRange: can.copyRange,
    lend: can.lend,
  };
  for (const [name, is] of Object.entries(announced)) {
    if (is)
      assert.equal(typeof Reflect.get(device, name), "function", `${name} is announced and has a method`);
  }
  if (can.unmap) assert.notEqual(can.writeZeroes, "no", "unmap is an option of writeZeroes");
  if (can.writeZeroes !== "no" || can.fua) assert.ok(can.write, "what changes the content needs write");
}

/** Vectors over one canary-filled buffer: empty pieces, single bytes, more pieces than any host takes, odd offsets. */
function shapes(
  length: number,
): readonly { readonly name: string; readonly memory: Uint8Array; readonly iov: readonly Uint8Array[] }[] {
  const cut = (
    name: string,
    lengths: readonly number[],
  ): { name: string; memory: Uint8Array; iov: readonly Uint8Array[] } => {
    const memory = new Uint8Array(length + 64).fill(0xc5);
    let at = 13;
    const iov = lengths.map((take) => {
      const piece = memory.subarray(at, at + take);
      at += take;
      return piece;
    });
    return { name, memory, iov };
  };
  return [
    cut("one piece", [length]),
    cut("empty pieces", [0, 100, 0, 0, length - 100, 0]),
    cut("single bytes", [1, 1, 1, length - 4, 1]),
    cut("1025 pieces", [...Array.from({ length: 1024 }, () => 1), length - 1024]),
    cut("uneven pieces", [511, 513, 4095, length - 5119]),
  ];
}

const SHAPE_LENGTH = 8192;

async function fill(specimen: Specimen): Promise<Uint8Array> {
  const { info } = specimen.node;
  const random = new Random(seedOf(specimen.subject));
  if (!info.can.write || info.readOnly) return specimen.read(0, info.size);
  const content = random.bytes(info.size);
  await specimen.edge.write(0, [content]);
  return content;
}

async function readShapes(specimen: Specimen): Promise<void> {
  const content = await fill(specimen);
  for (const offset of [0, 1, 512, 4095, specimen.node.size - SHAPE_LENGTH]) {
    for (const { name, memory, iov } of shapes(SHAPE_LENGTH)) {
      await specimen.edge.read(offset, iov);
      const what = `read ${offset}+${SHAPE_LENGTH} into ${name}`;
      sameBytes(
        memory.subarray(13, 13 + SHAPE_LENGTH),
        content.subarray(offset, offset + SHAPE_LENGTH),
        what,
        offset,
      );
      const outside = [...memory.subarray(0, 13), ...memory.subarray(13 + SHAPE_LENGTH)];
      assert.ok(
        outside.every((byte) => byte === 0xc5),
        `${what} touches memory outside its vector`,
      );
    }
  }
}

async function writeShapes(specimen: Specimen): Promise<void> {
  const content = await fill(specimen);
  const random = new Random(seedOf(specimen.subject) + 1);
  for (const offset of [0, 1, 512, 4095, specimen.node.size - SHAPE_LENGTH]) {
    for (const { name, memory, iov } of shapes(SHAPE_LENGTH)) {
      const data = random.bytes(SHAPE_LENGTH);
      memory.set(data, 13);
      const before = memory.slice();
      await specimen.edge.write(offset, iov);
      const what = `write ${offset}+${SHAPE_LENGTH} from ${name}`;
      sameBytes(memory, before, `${what} changes the caller's memory`);
      content.set(data, offset);
      sameBytes(await specimen.read(0, specimen.node.size), content, what);
    }
  }
}

async function outsideRanges(specimen: Specimen): Promise<void> {
  const { edge, node } = specimen;
  const content = await fill(specimen);
  const bad = [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, -(2 ** 53)];
  const changes = node.info.can.write && !node.info.readOnly;
  for (const value of bad) {
    assert.ok(
      (await caught(() => edge.read(value, [new Uint8Array(1)]))) instanceof RangeError,
      `read at ${value}`,
    );
    assert.ok(
      (await caught(() => edge.status(value, 1, new ExtentList()))) instanceof RangeError,
      `status at ${value}`,
    );
    assert.ok(
      (await caught(() => edge.status(0, value, new ExtentList()))) instanceof RangeError,
      `status of ${value}`,
    );
    if (!changes) continue;
    assert.ok(
      (await caught(() => edge.write(value, [new Uint8Array(1)]))) instanceof RangeError,
      `write at ${value}`,
    );
    assert.ok(
      (await caught(() => edge.writeZeroes(0, value))) instanceof RangeError,
      `writeZeroes of ${value}`,
    );
    assert.ok((await caught(() => edge.discard(value, 1))) instanceof RangeError, `discard at ${value}`);
  }
  const { size } = node;
  await rejects("EINVAL", "read across the end", () => edge.read(size - 1, [new Uint8Array(2)]));
  await rejects("EINVAL", "read behind the end", () => edge.read(size, [new Uint8Array(1)]));
  await rejects("EINVAL", "status across the end", () => edge.status(size - 1, 2, new ExtentList()));
  if (changes) {
    await rejects("EINVAL", "write across the end", () => edge.write(size - 1, [new Uint8Array(2)]));
    await rejects("EINVAL", "write behind the end", () =>
      edge.write(Number.MAX_SAFE_INTEGER, [new Uint8Array(1)]),
    );
    await rejects("EINVAL", "writeZeroes across the end", () => edge.writeZeroes(1, size));
    await rejects("EINVAL", "discard across the end", () => edge.discard(1, Number.MAX_SAFE_INTEGER));
  }
  sameBytes(await specimen.read(0, size), content, "after refused requests");
}

async function zeroLength(specimen: Specimen): Promise<void> {
  const { edge, node } = specimen;
  const content = await fill(specimen);
  const extents = new ExtentList();
  for (const offset of [0, 1, node.size]) {
    await edge.read(offset, []);
    await edge.read(offset, [new Uint8Array(0)]);
    await edge.status(offset, 0, extents);
    assert.equal(extents.count, 0, "status of nothing has no extents");
    if (!node.info.can.write || node.info.readOnly) continue;
    await edge.write(offset, []);
    await edge.write(offset, [new Uint8Array(0)], { fua: true });
    await edge.writeZeroes(offset, 0);
    await edge.discard(offset, 0);
  }
  await edge.flush();
  sameBytes(await specimen.read(0, node.size), content, "after empty requests");
}

async function abortedBefore(specimen: Specimen): Promise<void> {
  const { edge, node } = specimen;
  const content = await fill(specimen);
  const options = { signal: AbortSignal.abort() };
  const buffer = new Uint8Array(512).fill(0x77);
  await rejects("ECANCELED", "read", () => edge.read(0, [buffer], options));
  assert.ok(
    buffer.every((byte) => byte === 0x77),
    "a cancelled read touches nothing",
  );
  await rejects("ECANCELED", "status", () => edge.status(0, 512, new ExtentList(), options));
  await rejects("ECANCELED", "flush", () => edge.flush(options));
  if (node.info.can.write && !node.info.readOnly) {
    await rejects("ECANCELED", "write", () => edge.write(0, [buffer], options));
    await rejects("ECANCELED", "writeZeroes", () => edge.writeZeroes(0, 512, options));
    await rejects("ECANCELED", "discard", () => edge.discard(0, node.size, options));
    if (node.info.can.resize !== "no")
      await rejects("ECANCELED", "resize", () => edge.resize(node.size, options));
  }
  sameBytes(await specimen.read(0, node.size), content, "after cancelled requests");
}

async function noRetention(specimen: Specimen): Promise<void> {
  const { edge } = specimen;
  const data = new Uint8Array(20_000).fill(1);
  await edge.write(100, [data]);
  data.fill(2);
  const first = await specimen.read(100, data.byteLength);
  sameBytes(
    first,
    new Uint8Array(data.byteLength).fill(1),
    "a write whose buffer was changed afterwards",
    100,
  );
  await edge.write(100, [data]);
  await edge.flush();
  sameBytes(
    first,
    new Uint8Array(data.byteLength).fill(1),
    "a buffer that was read into before another write",
    100,
  );
}

async function readOnly(specimen: Specimen): Promise<void> {
  const { graph, node } = specimen;
  assert.equal(node.info.readOnly, true, "info.readOnly");
  await graph.detach(specimen.edge);
  const edge = graph.attach(node, { name: "a writer", uses: ["read", "write", "resize"], shares: ["read"] });
  const before = new Uint8Array(node.size);
  await edge.read(0, [before]);
  await rejects("EROFS", "write", () => edge.write(0, [new Uint8Array(1).fill(1)]));
  await rejects("EROFS", "writeZeroes", () => edge.writeZeroes(0, 1));
  await rejects("EROFS", "discard", () => edge.discard(0, node.size));
  await rejects("EROFS", "resize", () => edge.resize(0));
  await edge.flush();
  const after = new Uint8Array(node.size);
  await edge.read(0, [after]);
  sameBytes(after, before, "after refused changes");
}

async function closing(specimen: Specimen): Promise<void> {
  const { device } = specimen.node;
  await specimen.close();
  await specimen.close();
  await device.close();
  await device.close();
  await rejects("ESHUTDOWN", "read after close", () => specimen.edge.read(0, [new Uint8Array(1)]));
  await rejects("ESHUTDOWN", "flush after close", () => specimen.edge.flush());
  await rejects("ESHUTDOWN", "status after close", () => specimen.edge.status(0, 1, new ExtentList()));
}
