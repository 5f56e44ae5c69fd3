// Requests of one turn that are waited for together, made by one call of one thread.
import fs from "node:fs";
import { describe, expect, test } from "vitest";
import type { FileOps, FilePiece } from "../../src/drivers/file/file-ops.ts";
import { loadFileOps } from "../../src/drivers/file/load-file-ops.ts";
import { lacksNative, onCleanup, openNative, pattern, readBack, temporaryFile } from "./support.ts";

const KIB = 1024;
const SIZE = 4096 * KIB;
const batch = true;

function at(position: number): FilePiece {
  return { position, memory: Buffer.alloc(4096) };
}

async function pieceTransfer(): Promise<NonNullable<FileOps["transferPieces"]>> {
  const transfer = (await loadFileOps())?.transferPieces;
  if (transfer === undefined) throw new Error("this kernel makes no batches");
  return transfer;
}

function open(filename: string, flags: string): number {
  const fd = fs.openSync(filename, flags);
  onCleanup(() => fs.closeSync(fd));
  return fd;
}

describe.skipIf(lacksNative)("pieces in one call", () => {
  test("are moved both ways, at any offset and address", async () => {
    const transfer = await pieceTransfer();
    const filename = temporaryFile(6 * 2 ** 30);
    const fd = open(filename, "r+");
    const positions = [0, 4097, 65_536, 2 ** 31 - 3, 2 ** 32 - 5, 5 * 2 ** 30 + 7];
    const source = pattern(6000);
    const pieces = positions.map((position, index) => ({
      position,
      memory: source.subarray(index * 900, index * 900 + 700 + index),
    }));
    expect(await transfer("write", fd, pieces)).toEqual(new Set([0, 1, 2, 3, 4, 5]));
    const found = Buffer.alloc(6000, 0xee);
    const places = pieces.map(({ position, memory }, index) => ({
      position,
      memory: found.subarray(index * 950 + 50, index * 950 + 50 + memory.byteLength),
    }));
    expect(await transfer("read", fd, places)).toEqual(new Set([0, 1, 2, 3, 4, 5]));
    places.forEach(({ memory }, index) => expect(memory.equals(pieces[index]?.memory ?? found)).toBe(true));
    expect(found.subarray(0, 50).every((byte) => byte === 0xee)).toBe(true);
  });

  test("those that were not moved in full are not counted in", async () => {
    const transfer = await pieceTransfer();
    const filename = temporaryFile(pattern(10_000));
    const fd = open(filename, "r");
    expect(await transfer("read", fd, [at(0), at(8000), at(20_000), at(5000)])).toEqual(new Set([0, 3]));
    // The first that the kernel does not take ends the call; the next call is as good as any.
    expect(await transfer("write", fd, [at(0), at(4096)])).toEqual(new Set());
    expect(await transfer("read", 2_000_000, [at(0)])).toEqual(new Set());
    expect(await transfer("read", fd, [at(0)])).toEqual(new Set([0]));
    expect(fs.readFileSync(filename).equals(pattern(10_000))).toBe(true);
  });

  test("many calls at a time do not mix their answers", async () => {
    const transfer = await pieceTransfer();
    const content = pattern(SIZE);
    const fd = open(temporaryFile(content), "r");
    await Promise.all(
      Array.from({ length: 60 }, async (_, call) => {
        const pieces = Array.from({ length: 1 + (call % 32) }, (_piece, index) => ({
          position: ((call * 32 + index) * 4099) % (SIZE - 8192),
          memory: Buffer.alloc(1 + ((call * 7919 + index * 104_729) % 8192)),
        }));
        const moved = await transfer("read", fd, pieces);
        expect(moved.size).toBe(pieces.length);
        for (const { position, memory } of pieces)
          expect(memory.equals(content.subarray(position, position + memory.byteLength))).toBe(true);
      }),
    );
  });
});

describe.skipIf(lacksNative)("requests in one turn that are waited for together", () => {
  test("each has its own bytes, whatever their number, sizes and parts", async () => {
    const device = await openNative(temporaryFile(SIZE));
    const expected = Buffer.alloc(SIZE);
    const writes = Array.from({ length: 100 }, async (_, index) => {
      const length = index % 10 === 0 ? 300 * KIB : 1 + ((index * 7919) % (40 * KIB));
      const offset = index % 10 === 0 ? 0 : 400 * KIB + index * 36 * KIB;
      const end = Math.min(offset + length, index % 10 === 0 ? SIZE : offset + 36 * KIB);
      const data = pattern(end - offset).map((byte) => byte ^ (index % 10 === 0 ? 0 : index));
      expected.set(data, offset);
      const half = Math.floor(data.length / 2);
      await device.write(offset, [data.subarray(0, half), data.subarray(half)], { batch });
    });
    await Promise.all(writes);
    expect((await readBack(device, 0, SIZE)).equals(expected)).toBe(true);
    await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        const into = [Buffer.alloc(33 * KIB), Buffer.alloc(1 + index), Buffer.alloc(40 * KIB)];
        const offset = index * 39 * KIB + index;
        await device.read(offset, into, { batch });
        const whole = Buffer.concat(into);
        expect(whole.equals(expected.subarray(offset, offset + whole.length))).toBe(true);
      }),
    );
  });

  test("one that fails fails alone, with the error that it has by itself", async () => {
    const filename = temporaryFile(pattern(SIZE));
    const device = await openNative(filename);
    fs.truncateSync(filename, 1000 * KIB);
    const reads = [0, 960, 1000, 2000, 100].map((kib) =>
      device.read(kib * KIB, [Buffer.alloc(64 * KIB)], { batch }),
    );
    const outcomes = await Promise.allSettled(reads);
    expect(outcomes.map(({ status }) => status)).toEqual([
      "fulfilled",
      "rejected",
      "rejected",
      "rejected",
      "fulfilled",
    ]);
    const alone = await Promise.allSettled([device.read(960 * KIB, [Buffer.alloc(64 * KIB)])]);
    expect(String(outcomes[1]?.status === "rejected" && outcomes[1].reason)).toBe(
      String(alone[0].status === "rejected" && alone[0].reason),
    );
  });

  test("a flush and a close wait for them as for any others", async () => {
    const filename = temporaryFile(SIZE);
    const device = await openNative(filename);
    const writing = Array.from({ length: 64 }, (_, index) =>
      device.write(index * 64 * KIB, [pattern(64 * KIB)], { batch }),
    );
    const closed = device.close();
    await Promise.all(writing);
    await closed;
    expect(
      fs.readFileSync(filename).equals(Buffer.concat(Array.from({ length: 64 }, () => pattern(64 * KIB)))),
    ).toBe(true);
  });
});
