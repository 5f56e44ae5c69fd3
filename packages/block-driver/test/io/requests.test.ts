import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isPromise, type BlockEdge, type BlockNode } from "../../src/index.ts";
import { failure, filled, makeGraph, parent, readBytes } from "../support/graphs.ts";
import { StrictDevice } from "../support/strict.ts";
import "../support/seed.ts";

const KIB = 1024;
const SIZE = 64 * KIB;

interface Strict {
  readonly edge: BlockEdge;
  readonly node: BlockNode;
  readonly below: BlockEdge;
  readonly device: StrictDevice;
}

/** A strict device over memory, a user of it, and a look at what it has below. */
async function strict(options: Readonly<Record<string, unknown>>, size = SIZE): Promise<Strict> {
  const graph = makeGraph();
  const node = await graph.open({ driver: "strict", ...options, file: { driver: "memory", size } });
  const below = node.child("file");
  const { device } = node;
  if (below === undefined || !(device instanceof StrictDevice)) throw new Error("not a strict node");
  return { node, edge: graph.attach(node, parent("user")), below, device };
}

const ramp = (length: number, start = 1): Uint8Array =>
  Uint8Array.from({ length }, (_v, index) => (index + start) & 255);

describe("bounds", () => {
  test.each([-1, 0.5, Number.NaN, Infinity, 2 ** 53])("an offset of %s is a RangeError", async (offset) => {
    const { edge } = await strict({});
    expect(() => edge.read(offset, [filled(1, 0)])).toThrow(RangeError);
    expect(() => edge.write(offset, [filled(1, 0)])).toThrow(RangeError);
    expect(() => edge.writeZeroes(offset, 1)).toThrow(RangeError);
    expect(() => edge.discard(0, offset)).toThrow(RangeError);
  });

  test("a range that ends beyond the node is EINVAL, an empty one at its end is nothing", async () => {
    const { edge, device } = await strict({});
    const error = await failure("EINVAL", () => edge.read(SIZE - 1, [filled(2, 0)]));
    expect(error).toMatchObject({ operation: "read", offset: SIZE - 1, length: 2 });
    await failure("EINVAL", () => edge.writeZeroes(SIZE + 1, 0));
    await failure("EINVAL", () => edge.discard(Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER));
    await edge.read(SIZE, []);
    await edge.write(SIZE, [new Uint8Array(0)]);
    await edge.writeZeroes(SIZE, 0);
    expect(device.calls).toEqual([]);
  });

  test("requests that need nothing are handed on as they are, synchronously", async () => {
    const { edge, device } = await strict({});
    expect(isPromise(edge.write(3, [filled(5, 1)]))).toBe(false);
    expect(isPromise(edge.read(3, [filled(5, 1)]))).toBe(false);
    expect(device.calls).toEqual(["write 3+5", "read 3+5"]);
  });
});

describe("alignment", () => {
  test.each([512, 4096])("unaligned requests to blocks of %i read, modify and write", async (unit) => {
    const { edge, below } = await strict({ align: { read: unit, write: unit } });
    below.write(0, [filled(SIZE, 0xaa)]);
    await edge.write(unit - 3, [ramp(unit + 5)]);
    const expected = filled(SIZE, 0xaa);
    expected.set(ramp(unit + 5), unit - 3);
    expect(await readBytes(below, 0, SIZE)).toEqual(expected);
    expect(await readBytes(edge, 1, SIZE - 2)).toEqual(expected.subarray(1, SIZE - 1));
    expect(await readBytes(edge, unit - 3, 7)).toEqual(ramp(7));
  });

  test("neighbours in one block do not undo each other", async () => {
    const { edge } = await strict({ align: { read: 4096, write: 4096 }, later: true });
    await Promise.all(
      Array.from({ length: 64 }, (_v, index) =>
        Promise.resolve(edge.write(index * 100, [filled(100, index + 1)])),
      ),
    );
    for (let index = 0; index < 64; index += 1) {
      expect(await readBytes(edge, index * 100, 100)).toEqual(filled(100, index + 1));
    }
  });

  test.each([
    ["writeZeroes", { writeZeroes: "fast" }],
    ["discard", { discard: "zeroes" }],
  ] as const)("a %s beside a read-modify-write is not undone by it", async (operation, can) => {
    const { edge, below } = await strict({
      align: { read: 512, write: 512, zero: 512, discard: 512 },
      can,
      later: true,
    });
    below.write(0, [filled(1024, 0xaa)]);
    // The write covers a part of the first block; the zeroes cover both and come after the write has read.
    const write = Promise.resolve(edge.write(0, [filled(100, 1)]));
    await new Promise(setImmediate);
    const zero = Promise.resolve(edge[operation](0, 1024));
    await Promise.all([write, zero]);
    expect(await readBytes(edge, 100, 924)).toEqual(filled(924, 0));
  });

  test("property: any mix of concurrent disjoint writes on a demanding device ends as written", async () => {
    const piece = fc.record({ length: fc.integer({ min: 1, max: 3000 }), zero: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(
        fc.array(piece, { maxLength: 20 }),
        fc.constantFrom(512, 4096),
        async (pieces, unit) => {
          const { edge } = await strict({
            align: { read: unit, write: unit, zero: 512 },
            max: { transfer: unit, iovecs: 2 },
            can: { writeZeroes: "fast" },
            later: true,
          });
          const expected = new Uint8Array(SIZE);
          const pending: Promise<void>[] = [];
          let at = 7;
          for (const { length, zero } of pieces) {
            const data = ramp(length, at);
            if (!zero) expected.set(data, at);
            const third = Math.floor(length / 3);
            const vector = [data.subarray(0, third), new Uint8Array(0), data.subarray(third)];
            pending.push(Promise.resolve(zero ? edge.writeZeroes(at, length) : edge.write(at, vector)));
            at += length;
          }
          await Promise.all(pending);
          expect(await readBytes(edge, 0, SIZE)).toEqual(expected);
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe("limits", () => {
  test("requests beyond the limits are split, in order", async () => {
    const { edge, device } = await strict({ max: { transfer: 1000, iovecs: 3 } });
    await edge.write(10, [ramp(2500)]);
    expect(device.calls).toEqual(["write 10+1000", "write 1010+1000", "write 2010+500"]);
    expect(await readBytes(edge, 10, 2500)).toEqual(ramp(2500));
  });

  test("more pieces than the device takes are split between them", async () => {
    const { edge, device } = await strict({ max: { iovecs: 4 } });
    const pieces = Array.from({ length: 10 }, (_v, index) => filled(index, index));
    await edge.write(0, pieces);
    expect(device.calls).toEqual(["write 0+10", "write 10+26", "write 36+9"]);
  });

  test("a block scattered over too many pieces goes through one buffer", async () => {
    const { edge } = await strict({ align: { read: 512, write: 512 }, max: { iovecs: 2 } });
    const source = ramp(1024);
    await edge.write(
      0,
      Array.from(source, (_byte, index) => source.subarray(index, index + 1)),
    );
    const target = new Uint8Array(1024);
    await edge.read(
      0,
      Array.from(target, (_byte, index) => target.subarray(index, index + 1)),
    );
    expect(target).toEqual(source);
  });

  test("a transfer limit below the block size still moves blocks", async () => {
    const { edge } = await strict({ align: { read: 512, write: 512 }, max: { transfer: 512 } });
    await edge.write(100, [ramp(3000)]);
    expect(await readBytes(edge, 100, 3000)).toEqual(ramp(3000));
  });
});

describe("zero writes", () => {
  test("are written as data where the device has none", async () => {
    const { edge, below, device } = await strict({});
    below.write(0, [filled(SIZE, 1)]);
    await edge.writeZeroes(100, 1000);
    expect(device.calls).toEqual(["write 100+1000"]);
    expect(await readBytes(edge, 100, 1000)).toEqual(filled(1000, 0));
    expect(await readBytes(edge, 1100, 1)).toEqual(filled(1, 1));
  });

  test("have their unaligned ends written as data", async () => {
    const { edge, below, device } = await strict({ align: { zero: 4096 }, can: { writeZeroes: "fast" } });
    below.write(0, [filled(SIZE, 1)]);
    await edge.writeZeroes(4000, 8500);
    expect(device.calls).toEqual(["write 4000+96", "writeZeroes 4096+8192", "write 12288+212"]);
    expect(await readBytes(edge, 3999, 8502)).toEqual(Uint8Array.of(1, ...filled(8500, 0), 1));
    await edge.writeZeroes(4100, 10);
    expect(device.calls.at(-1)).toBe("write 4100+10");
  });

  test("fall back when the device says ENOTSUP, unless told not to", async () => {
    const { edge, below } = await strict({ can: { writeZeroes: "fast" }, zeroRefuses: true });
    below.write(0, [filled(SIZE, 1)]);
    await failure("ENOTSUP", () => edge.writeZeroes(0, 100, { noFallback: true }));
    expect(await readBytes(edge, 0, 100)).toEqual(filled(100, 1));
    await edge.writeZeroes(0, 100);
    expect(await readBytes(edge, 0, 101)).toEqual(Uint8Array.of(...filled(100, 0), 1));
  });

  test("without fallback are refused before anything is written", async () => {
    const unaligned = await strict({ align: { zero: 4096 }, can: { writeZeroes: "fast" } });
    await failure("ENOTSUP", () => unaligned.edge.writeZeroes(1, 8192, { noFallback: true }));
    const without = await strict({});
    await failure("ENOTSUP", () => without.edge.writeZeroes(0, 4096, { noFallback: true }));
    expect([...unaligned.device.calls, ...without.device.calls]).toEqual([]);
    await unaligned.edge.writeZeroes(0, 4096, { noFallback: true });
  });

  test("a sparse terabyte is zeroed in few requests", async () => {
    const { edge, device } = await strict({ can: { writeZeroes: "fast" } }, 2 ** 40);
    await edge.writeZeroes(0, 2 ** 40);
    expect(device.calls.length).toBeLessThanOrEqual(512);
  });
});

describe("durability", () => {
  test("a fua write is flushed where the device cannot", async () => {
    const { edge, device } = await strict({ can: { flush: true } });
    await edge.write(0, [filled(10, 1)], { fua: true });
    expect(device.calls).toEqual(["write 0+10", "flush"]);
    await edge.writeZeroes(0, 10, { fua: true });
    expect(device.calls.slice(2)).toEqual(["write 0+10", "flush"]);
    await edge.write(0, [], { fua: true });
    expect(device.calls.slice(4)).toEqual(["flush"]);
  });

  test("fua is handed on where the device can, also for zeroes in parts", async () => {
    const { edge, device } = await strict({
      align: { zero: 512 },
      can: { flush: true, fua: true, writeZeroes: "fast" },
    });
    await edge.write(0, [filled(10, 1)], { fua: true });
    await edge.writeZeroes(100, 1000, { fua: true });
    expect(device.calls).not.toContain("flush");
  });

  test("a device without flush has nothing to flush", async () => {
    const { edge, device } = await strict({});
    await edge.flush();
    await edge.write(0, [filled(1, 1)], { fua: true });
    expect(device.calls).toEqual(["write 0+1"]);
  });

  test("once the data is written, aborting does not stop the flush behind it", async () => {
    const { edge, device } = await strict({ can: { flush: true } });
    const abort = new AbortController();
    const write = Promise.resolve(edge.write(0, [filled(1, 1)], { fua: true, signal: abort.signal }));
    expect(device.calls).toEqual(["write 0+1"]);
    abort.abort();
    await write;
    expect(device.calls.at(-1)).toBe("flush");
  });
});

describe("discard", () => {
  test("drops unaligned ends; the end of the device counts as aligned", async () => {
    const { edge, device } = await strict({ align: { discard: 4096 }, can: { discard: "zeroes" } }, 10_000);
    await edge.discard(100, 9000);
    await edge.discard(1, 4096);
    await edge.discard(5000, 5000);
    expect(device.calls).toEqual(["discard 4096+4096", "discard 8192+1808"]);
  });

  test("does nothing where there is none", async () => {
    const { edge, device } = await strict({});
    await edge.discard(0, SIZE);
    expect(device.calls).toEqual([]);
  });

  test("wrappers say how discards are aligned below them", async () => {
    const graph = makeGraph();
    const file = {
      driver: "strict",
      align: { discard: 4096 },
      can: { discard: "zeroes" },
      file: { driver: "memory", size: SIZE },
    };
    const filter = await graph.open({ driver: "fault", file });
    expect(filter.info.align.discard).toBe(4096);
    const raw = await graph.open({ driver: "raw", file });
    expect([raw.info.align.discard, raw.info.can.discard]).toEqual([4096, "zeroes"]);
    const skewed = await graph.open({ driver: "raw", offset: 512, file });
    expect(skewed.info.can.discard).toBe("hint");
    const cut = await graph.open({ driver: "raw", size: 10_000, file });
    expect(cut.info.can.discard).toBe("hint");
  });
});

describe("resize", () => {
  test("only what the device can, to whole blocks", async () => {
    const fixed = await strict({});
    await failure("ENOTSUP", () => fixed.edge.resize(0));
    const grows = await strict({ can: { resize: "grow" }, align: { read: 512, write: 4096 } });
    await failure("ENOTSUP", () => grows.edge.resize(SIZE - 4096));
    await failure("EINVAL", () => grows.edge.resize(SIZE + 512));
    await expect(grows.edge.resize(-1)).rejects.toThrow(RangeError);
    await expect(grows.edge.resize(2 ** 53)).rejects.toThrow(RangeError);
    await grows.edge.resize(SIZE + 4096);
    expect(grows.node.size).toBe(SIZE + 4096);
  });
});

test("a device that cannot write refuses with ENOTSUP, one opened read-only with EROFS", async () => {
  const without = await strict({ can: { write: false } });
  await failure("ENOTSUP", () => without.edge.write(0, [filled(1, 1)]));
  await failure("ENOTSUP", () => without.edge.writeZeroes(0, 1));
  const readOnly = await strict({ readOnly: true });
  await failure("EROFS", () => readOnly.edge.write(0, [filled(1, 1)]));
});

test("a fenced node refuses everything and keeps the first reason", async () => {
  const { node, edge } = await strict({});
  node.report({ type: "warning", message: "odd" });
  node.report({ type: "corruption", message: "first" });
  node.report({ type: "corruption", message: "second" });
  await edge.read(0, [filled(1, 0)]);
  node.report({ type: "corruption", message: "third", fatal: true });
  node.report({ type: "corruption", message: "fourth", fatal: true });
  const error = await failure("BLK_FENCED", () => edge.read(0, [filled(1, 0)]));
  expect(error.message).toContain("third");
  await failure("BLK_FENCED", () => edge.write(0, [filled(1, 0)]));
  await failure("BLK_FENCED", () => edge.flush());
  expect(node.events.map((event) => event.message)).toEqual(["odd", "first", "third", "fourth"]);
});
