import fs from "node:fs";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type FileCalls } from "../../src/index.ts";
import { BACKENDS, mountTmpfs, openWritable, pattern, readBack, SEED, temporaryFile } from "./support.ts";

const MiB = 1024 * 1024;

/** Calls that move at most `most` bytes of the first piece, and are interrupted every third time. */
function stingyCalls(most: number): { readonly calls: Partial<FileCalls>; readonly count: () => number } {
  let count = 0;
  const interrupted = (): NodeJS.ErrnoException | undefined => {
    count += 1;
    return count % 3 === 0 ? Object.assign(new Error("EINTR"), { code: "EINTR" }) : undefined;
  };
  const calls: Partial<FileCalls> = {
    read(fd, into, at, length, position, done) {
      const error = interrupted();
      if (error !== undefined) process.nextTick(done, error, 0);
      else fs.read(fd, into, at, Math.min(most, length), position, done);
    },
    readv(fd, into, position, done) {
      const error = interrupted();
      const first = into.find((piece) => piece.byteLength > 0) ?? new Uint8Array(0);
      if (error !== undefined) process.nextTick(done, error, 0);
      else fs.read(fd, first, 0, Math.min(most, first.byteLength), position, done);
    },
    write(fd, from, at, length, position, done) {
      const error = interrupted();
      if (error !== undefined) process.nextTick(done, error, 0);
      else fs.write(fd, from, at, Math.min(most, length), position, done);
    },
    writev(fd, from, position, done) {
      const error = interrupted();
      const first = from.find((piece) => piece.byteLength > 0) ?? new Uint8Array(0);
      if (error !== undefined) process.nextTick(done, error, 0);
      else fs.write(fd, first, 0, Math.min(most, first.byteLength), position, done);
    },
  };
  return { calls, count: () => count };
}

function failing(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: made to fail`), { code });
}

describe.each(BACKENDS)("transfers ($backend)", ({ native }) => {
  test("a sequence of reads and writes of any alignment and shape agrees with an array", async () => {
    const size = 40_000;
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            offset: fc.integer({ min: 0, max: size }),
            pieces: fc.array(fc.integer({ min: 0, max: 3000 }), { minLength: 1, maxLength: 6 }),
            write: fc.boolean(),
          }),
          { maxLength: 30 },
        ),
        async (steps) => {
          const model = pattern(size);
          const device = await openWritable(temporaryFile(model), { native });
          let seed = 2;
          for (const { offset, pieces, write } of steps) {
            let left = size - offset;
            // Pieces are views into the middle of a larger buffer, whose other bytes must stay as they are.
            const lengths = pieces.map((length) => {
              const take = Math.min(length, left);
              left -= take;
              return take;
            });
            const arenas = lengths.map((length) => Buffer.alloc(length + 20, 0xcd));
            const iov = arenas.map((arena) => arena.subarray(10, arena.byteLength - 10));
            if (write) {
              for (const piece of iov) pattern(piece.byteLength, (seed += 1)).copy(piece);
              await device.write(offset, iov);
              Buffer.concat(iov).copy(model, offset);
            } else {
              await device.read(offset, iov);
              const bytes = Buffer.concat(iov);
              expect(bytes.equals(model.subarray(offset, offset + bytes.byteLength))).toBe(true);
            }
            for (const arena of arenas) {
              expect(arena.subarray(0, 10).every((byte) => byte === 0xcd)).toBe(true);
              expect(arena.subarray(-10).every((byte) => byte === 0xcd)).toBe(true);
            }
          }
          await device.close();
          expect(fs.readFileSync(device.info.label).equals(model)).toBe(true);
        },
      ),
      { seed: SEED, numRuns: 40 },
    );
  });

  test("many overlapping-free requests in flight land where they belong", async () => {
    const device = await openWritable(temporaryFile(16 * MiB), { native });
    const chunks = Array.from({ length: 64 }, (_, index) => pattern(MiB / 4, index));
    await Promise.all(chunks.map((chunk, index) => device.write((index * MiB) / 4, [chunk])));
    const read = await Promise.all(chunks.map((_, index) => readBack(device, (index * MiB) / 4, MiB / 4)));
    read.forEach((bytes, index) => expect(bytes.equals(chunks[index] ?? Buffer.alloc(0))).toBe(true));
  });

  test.each([1, 7, 4096])("transfers of %i bytes at a time and interruptions are continued", async (most) => {
    const { calls, count } = stingyCalls(most);
    const length = most === 1 ? 300 : 10_000;
    const device = await openWritable(temporaryFile(2 * length), { native, calls });
    const bytes = pattern(length);
    await device.write(11, [bytes]);
    expect((await readBack(device, 11, length)).equals(bytes)).toBe(true);
    const vector = [bytes.subarray(0, 100), new Uint8Array(0), bytes.subarray(100, 130), bytes.subarray(130)];
    await device.write(length, vector);
    const parts = [Buffer.alloc(33), Buffer.alloc(0), Buffer.alloc(length - 33)];
    await device.read(length, parts);
    expect(Buffer.concat(parts).equals(bytes)).toBe(true);
    expect(count()).toBeGreaterThan(4 * Math.floor(length / Math.max(most, 4096)));
  });

  test("a vector as long as the limit works in one request", async () => {
    const device = await openWritable(temporaryFile(8192), { native });
    const pieces = Array.from({ length: device.info.max.iovecs }, (_, index) => Buffer.alloc(8, index % 251));
    await device.write(0, pieces);
    expect((await readBack(device, 0, 8192)).equals(Buffer.concat(pieces))).toBe(true);
  });

  test("nothing at all is a request too", async () => {
    const device = await openWritable(temporaryFile(100), { native });
    await device.write(100, []);
    await device.read(100, [new Uint8Array(0)]);
  });

  test("reading what another program cut off is an error that names the file", async () => {
    const filename = temporaryFile(pattern(10_000));
    const device = await openWritable(filename, { native });
    fs.truncateSync(filename, 5000);
    await expect(readBack(device, 4000, 2000)).rejects.toMatchObject({
      code: "EIO",
      operation: "read",
      offset: 4000,
      length: 2000,
    });
    await expect(readBack(device, 6000, 10)).rejects.toThrow(
      /image\.raw.*shortened it; end what uses it, .* and open it again/,
    );
    expect((await readBack(device, 4000, 1000)).equals(pattern(10_000).subarray(4000, 5000))).toBe(true);
  });

  test("a host that accepts no bytes is an error, not an endless loop", async () => {
    const device = await openWritable(temporaryFile(100), {
      native,
      calls: { write: (_fd, _from, _at, _length, _position, done) => process.nextTick(done, null, 0) },
    });
    await expect(device.write(0, [Buffer.alloc(10)])).rejects.toMatchObject({ code: "EIO" });
  });

  test.each([
    ["EIO", "EIO"],
    ["ENOSPC", "ENOSPC"],
    ["EDQUOT", "ENOSPC"],
    ["EFBIG", "EFBIG"],
    ["ESTALE", "EIO"],
  ])("%s from the host is %s with operation, offset and length", async (host, code) => {
    const device = await openWritable(temporaryFile(100), {
      native,
      calls: {
        read: (_fd, _into, _at, _length, _position, done) => process.nextTick(done, failing(host), 0),
        writev: (_fd, _from, _position, done) => process.nextTick(done, failing(host), 0),
      },
    });
    await expect(readBack(device, 7, 13)).rejects.toMatchObject({
      code,
      operation: "read",
      offset: 7,
      length: 13,
      node: device.info.label,
    });
    await expect(device.write(3, [Buffer.alloc(1), Buffer.alloc(1)])).rejects.toMatchObject({
      code,
      operation: "write",
      offset: 3,
      length: 2,
    });
    // The device works on.
    await device.write(3, [Buffer.alloc(1)]);
  });

  test("a call that throws at once is a failure of that request alone", async () => {
    const device = await openWritable(temporaryFile(100), {
      native,
      calls: {
        read() {
          throw new RangeError("made to throw");
        },
      },
    });
    await expect(readBack(device, 0, 10)).rejects.toMatchObject({ code: "EIO" });
    await device.close();
  });

  test("an aborted signal refuses a request before it starts", async () => {
    const filename = temporaryFile(pattern(100));
    const device = await openWritable(filename, { native });
    const signal = AbortSignal.abort();
    const refused = expect.objectContaining({ code: "ECANCELED" });
    expect(() => device.write(0, [Buffer.alloc(10)], { signal })).toThrow(refused);
    expect(() => device.read(0, [Buffer.alloc(10)], { signal })).toThrow(refused);
    expect(() => device.flush({ signal })).toThrow(refused);
    expect(fs.readFileSync(filename).equals(pattern(100))).toBe(true);
  });

  test("a full file system is ENOSPC, and writing goes on once there is space again", async (context) => {
    const directory = mountTmpfs(MiB);
    if (directory === undefined) return context.skip();
    const filename = temporaryFile(8 * MiB, directory);
    const device = await openWritable(filename, { native });
    await expect(device.write(0, [pattern(2 * MiB)])).rejects.toMatchObject({ code: "ENOSPC", offset: 0 });
    await device.resize(0);
    await device.resize(MiB / 2);
    await device.write(0, [pattern(MiB / 2)]);
    expect((await readBack(device, 0, MiB / 2)).equals(pattern(MiB / 2))).toBe(true);
  });
});
