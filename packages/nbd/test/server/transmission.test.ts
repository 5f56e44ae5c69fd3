import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ChunkType, Command, CommandFlag } from "../../src/protocol/constants.ts";
import { NbdErrno } from "../../src/protocol/errors.ts";
import { RawClient } from "./support/raw-client.ts";
import { contentOf, pattern, SEED, serve, type Serving } from "./support/serving.ts";

const MiB = 1024 * 1024;
const FORMS = [undefined, "structured", "extended"] as const;
const opened = (form: (typeof FORMS)[number]) => (form === undefined ? {} : { form });

describe.each(FORMS)("replies: %s", (form) => {
  test("writes are read back, wherever they begin and end", async () => {
    const { address, graph, node } = await serve();
    const client = await RawClient.open(address, "disk", opened(form));
    for (const [offset, length] of [
      [0, 1],
      [511, 1026],
      [4096, 65536],
      [70_001, 300_003],
      [MiB - 1, 1],
    ] as const) {
      const payload = pattern(length, offset);
      expect((await client.ask({ command: Command.Write, offset, payload })).error).toBe(0);
      expect((await contentOf(graph, node, offset, length)).equals(payload)).toBe(true);
      const reply = await client.ask({ command: Command.Read, offset, length });
      const data = form === undefined ? reply.payload : reply.payload.subarray(8);
      expect(data.equals(payload)).toBe(true);
      if (form !== undefined) {
        expect(reply).toMatchObject({ form, type: ChunkType.OffsetData, flags: 1 });
        expect(reply.payload.readBigUInt64BE(0)).toBe(BigInt(offset));
      }
    }
  });

  test.each<[string, Parameters<RawClient["ask"]>[0], number]>([
    ["read past the end", { command: Command.Read, offset: MiB, length: 1 }, NbdErrno.EINVAL],
    ["read across the end", { command: Command.Read, offset: MiB - 1, length: 2 }, NbdErrno.EINVAL],
    ["read far outside", { command: Command.Read, offset: 2n ** 63n, length: 1 }, NbdErrno.EINVAL],
    [
      "read at the last offset of all",
      { command: Command.Read, offset: 2n ** 64n - 1n, length: 1 },
      NbdErrno.EINVAL,
    ],
    ["read of more than 32 MiB", { command: Command.Read, length: 32 * MiB + 1 }, NbdErrno.EINVAL],
    [
      "write past the end",
      { command: Command.Write, offset: MiB, payload: Buffer.alloc(512) },
      NbdErrno.ENOSPC,
    ],
    [
      "write across the end",
      { command: Command.Write, offset: MiB - 1, payload: Buffer.alloc(2) },
      NbdErrno.ENOSPC,
    ],
    [
      "write of more than 32 MiB",
      { command: Command.Write, payload: Buffer.alloc(32 * MiB + 1) },
      NbdErrno.EINVAL,
    ],
    ["trim past the end", { command: Command.Trim, offset: MiB, length: 512 }, NbdErrno.EINVAL],
    ["zeroes past the end", { command: Command.WriteZeroes, offset: MiB, length: 512 }, NbdErrno.ENOSPC],
    ["cache past the end", { command: Command.Cache, offset: MiB, length: 1 }, NbdErrno.EINVAL],
    ["block status without a context", { command: Command.BlockStatus, length: 512 }, NbdErrno.EINVAL],
    ["resize", { command: Command.Resize, length: 0 }, NbdErrno.EINVAL],
    ["an unknown command", { command: 77, length: 0 }, NbdErrno.EINVAL],
    ["read with an unknown flag", { command: Command.Read, length: 1, flags: 0x8000 }, NbdErrno.EINVAL],
    [
      "write with an unknown flag",
      { command: Command.Write, payload: Buffer.alloc(9), flags: 0x4000 },
      NbdErrno.EINVAL,
    ],
    [
      "write with DF",
      { command: Command.Write, payload: Buffer.alloc(9), flags: CommandFlag.Df },
      NbdErrno.EINVAL,
    ],
  ])("%s is refused, nothing changes, and the connection goes on", async (_name, request, error) => {
    const { address, graph, node } = await serve();
    const client = await RawClient.open(address, "disk", opened(form));
    expect((await client.ask({ ...request, cookie: 0n })).error).toBe(error);
    expect((await client.ask({ command: Command.Read, length: 4 })).error).toBe(0);
    expect((await contentOf(graph, node, 0, MiB)).every((byte) => byte === 0)).toBe(true);
  });

  test("requests of no length do nothing and succeed", async () => {
    const { address } = await serve();
    const client = await RawClient.open(address, "disk", opened(form));
    for (const command of [Command.Read, Command.Write, Command.Trim, Command.WriteZeroes, Command.Cache]) {
      expect(await client.ask({ command, offset: MiB, length: 0 })).toMatchObject({ error: 0 });
    }
  });

  test("FUA is taken on every command", async () => {
    const { address } = await serve();
    const client = await RawClient.open(address, "disk", opened(form));
    for (const command of [Command.Read, Command.Flush, Command.Trim, Command.WriteZeroes, Command.Cache]) {
      const length = command === Command.Flush ? 0 : 512;
      expect((await client.ask({ command, length, flags: CommandFlag.Fua })).error).toBe(0);
    }
    const write = { command: Command.Write, payload: pattern(512), flags: CommandFlag.Fua };
    expect((await client.ask(write)).error).toBe(0);
  });

  test("many requests at once, cut anywhere, are all answered with their own cookies", async () => {
    const { address } = await serve();
    const model = Buffer.alloc(MiB);
    const client = await RawClient.open(address, "disk", opened(form));
    const request = fc.record({
      offset: fc.nat(MiB - 9000),
      length: fc.integer({ min: 1, max: 9000 }),
      write: fc.boolean(),
    });
    const cuts = fc.array(fc.integer({ min: 1, max: 20_000 }), { minLength: 1, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 40 }), cuts, async (requests, sizes) => {
        // Memory answers in order, so each read sees every write before it.
        const expected = new Map<bigint, Buffer>();
        const bytes = Buffer.concat(
          requests.map(({ offset, length, write }, index) => {
            const cookie = BigInt(index) << 40n;
            if (!write) {
              expected.set(cookie, Buffer.from(model.subarray(offset, offset + length)));
              return client.encode({ command: Command.Read, cookie, offset, length });
            }
            const payload = pattern(length, offset + index);
            payload.copy(model, offset);
            expected.set(cookie, Buffer.alloc(0));
            return client.encode({ command: Command.Write, cookie, offset, payload });
          }),
        );
        for (let at = 0, cut = 0; at < bytes.length; cut += 1) {
          const size = sizes[cut % sizes.length] ?? 1;
          client.socket.write(bytes.subarray(at, at + size));
          at += size;
          if (cut % 3 === 0) await new Promise(setImmediate);
        }
        for (let left = requests.length; left > 0; left -= 1) {
          const reply = await client.reply();
          const want = expected.get(reply.cookie);
          expect(reply.error).toBe(0);
          const data = reply.type === ChunkType.OffsetData ? reply.payload.subarray(8) : reply.payload;
          expect(want?.equals(data)).toBe(true);
          expected.delete(reply.cookie);
        }
      }),
      { seed: SEED, numRuns: 15 },
    );
  });
});

test("a payload in a thousand small packets is written whole", async () => {
  const { address, graph, node } = await serve();
  const client = await RawClient.open(address, "disk");
  const payload = pattern(300_000);
  const bytes = client.encode({ command: Command.Write, offset: 5, payload });
  for (let at = 0; at < bytes.length; at += 301) {
    client.socket.write(bytes.subarray(at, at + 301));
    if (at % 2107 === 0) await new Promise(setImmediate);
  }
  expect((await client.reply()).error).toBe(0);
  expect((await contentOf(graph, node, 5, payload.length)).equals(payload)).toBe(true);
});

test("trimmed and zeroed ranges read as zeroes", async () => {
  const { address, graph, node } = await serve();
  const client = await RawClient.open(address, "disk");
  await client.ask({ command: Command.Write, payload: pattern(MiB) });
  for (const [index, flags] of [0, CommandFlag.NoHole, CommandFlag.FastZero].entries()) {
    const offset = index * 65536 + 4096;
    expect((await client.ask({ command: Command.WriteZeroes, offset, length: 8192, flags })).error).toBe(0);
    expect((await contentOf(graph, node, offset, 8192)).every((byte) => byte === 0)).toBe(true);
    expect(
      (await contentOf(graph, node, offset - 9, 9)).equals(pattern(MiB).subarray(offset - 9, offset)),
    ).toBe(true);
  }
  expect((await client.ask({ command: Command.Trim, offset: 524288, length: 65536 })).error).toBe(0);
});

test("a read-only export refuses changes with EPERM, and says that it is read-only", async () => {
  const { address, server, node } = await serve();
  const exported = server.addExport({ name: "ro", node });
  expect(exported.transmissionFlags(false) & 2).toBe(2);
  const client = await RawClient.open(address, "ro");
  for (const command of [Command.Write, Command.Trim, Command.WriteZeroes]) {
    const payload = command === Command.Write ? Buffer.alloc(64) : Buffer.alloc(0);
    expect((await client.ask({ command, length: 64, payload })).error).toBe(NbdErrno.EPERM);
  }
  expect((await client.ask({ command: Command.Read, length: 64 })).error).toBe(0);
  expect((await client.ask({ command: Command.Flush })).error).toBe(0);
});

test.each([
  ["EIO", NbdErrno.EIO],
  ["ENOSPC", NbdErrno.ENOSPC],
  ["BLK_CORRUPT", NbdErrno.EIO],
  ["ETIMEDOUT", NbdErrno.EIO],
] as const)("a failure below (%s) is told, and the connection goes on", async (code, number) => {
  const { address, faults, server } = await serve({ faulty: true });
  const client = await RawClient.open(address, "disk", { form: "structured" });
  for (const operation of ["read", "write", "flush", "writeZeroes"] as const) {
    faults.add({ operation, error: code, times: 1 });
  }
  expect((await client.ask({ command: Command.Write, payload: pattern(512) })).error).toBe(number);
  expect((await client.ask({ command: Command.Read, length: 512 })).error).toBe(number);
  expect((await client.ask({ command: Command.WriteZeroes, length: 512 })).error).toBe(number);
  expect((await client.ask({ command: Command.Flush })).error).toBe(number);
  expect((await client.ask({ command: Command.Read, length: 512 })).error).toBe(0);
  expect(server.exports()[0]?.statistics().failedRequests).toBe(4);
});

function extentsOf(payload: Buffer, extended: boolean): readonly (readonly [number, number])[] {
  const [head, size] = extended ? [8, 16] : [4, 8];
  return Array.from({ length: (payload.length - head) / size }, (_, index) => {
    const at = head + index * size;
    return extended
      ? ([Number(payload.readBigUInt64BE(at)), Number(payload.readBigUInt64BE(at + 8))] as const)
      : ([payload.readUInt32BE(at), payload.readUInt32BE(at + 4)] as const);
  });
}

describe("block status", () => {
  test.each(["structured", "extended"] as const)(
    "%s: holes, bitmaps and depth, a chunk for each",
    async (form) => {
      const { address, server, node } = await serve();
      node.createDirtyBitmap({ name: "b0", granularity: 65536 });
      server.addExport({ name: "status", node, writable: true, bitmaps: ["b0"], allocationDepth: true });
      const contexts = ["qemu:dirty-bitmap:b0", "base:allocation", "qemu:allocation-depth"];
      const client = await RawClient.open(address, "status", { form, contexts });
      await client.ask({ command: Command.Write, offset: 131072, payload: pattern(65536) });
      client.send({ command: Command.BlockStatus, length: MiB });
      const chunks = [await client.reply(), await client.reply(), await client.reply()];
      expect(chunks.map(({ flags }) => flags)).toEqual([0, 0, 1]);
      const byId = new Map(
        chunks.map(({ payload }) => [payload.readUInt32BE(0), extentsOf(payload, form === "extended")]),
      );
      expect(byId.get(1)).toEqual([
        [131072, 0],
        [65536, 1],
        [851968, 0],
      ]);
      expect(byId.get(2)).toEqual([
        [131072, 3],
        [65536, 0],
        [851968, 3],
      ]);
      expect(byId.get(3)?.reduce((sum, [length]) => sum + length, 0)).toBe(MiB);
    },
  );

  test("REQ_ONE gets one extent that stays inside the range", async () => {
    const { address } = await serve();
    const client = await RawClient.open(address, "disk", {
      form: "structured",
      contexts: ["base:allocation"],
    });
    await client.ask({ command: Command.Write, offset: 65536, payload: pattern(65536) });
    const one = async (offset: number, length: number): Promise<unknown> => {
      const flags = CommandFlag.ReqOne;
      return extentsOf(
        (await client.ask({ command: Command.BlockStatus, offset, length, flags })).payload,
        false,
      );
    };
    expect(await one(0, MiB)).toEqual([[65536, 3]]);
    expect(await one(1000, 500)).toEqual([[500, 3]]);
    expect(await one(66000, MiB - 66000)).toEqual([[131072 - 66000, 0]]);
    expect((await client.ask({ command: Command.BlockStatus, length: 0 })).error).toBe(NbdErrno.EINVAL);
  });
});

describe("a client that goes away", () => {
  test("a broken request magic ends the connection, and only that one", async () => {
    const { address } = await serve();
    const bad = await RawClient.open(address, "disk");
    const good = await RawClient.open(address, "disk");
    bad.socket.write(Buffer.alloc(28, 0x41));
    await bad.hungUp();
    expect((await good.ask({ command: Command.Flush })).error).toBe(0);
  });

  test.each<[string, (client: RawClient) => Buffer, boolean]>([
    ["a broken request magic", () => Buffer.alloc(28, 0x41), false],
    [
      "a write of more than 64 MiB",
      (client) => {
        const header = client.encode({ command: Command.Write, payload: Buffer.alloc(1) }).subarray(0, 28);
        header.writeUInt32BE(64 * MiB + 1, 24);
        return Buffer.concat([header, Buffer.alloc(3 * MiB, 0x41)]);
      },
      true,
    ],
  ])("%s leaves no request before it without its answer", async (_, broken, isRefused) => {
    const { address, faults, graph, node } = await serve({ faulty: true });
    faults.add({ operation: "write", hold: true, times: 1 });
    const client = await RawClient.open(address, "disk");
    client.send({ command: Command.Write, payload: pattern(4096) });
    await faults.waitForHeld("write");
    client.socket.write(broken(client));
    // What stands behind it is never read as requests.
    client.send({ command: Command.Write, offset: 8192, payload: pattern(4096) });
    if (isRefused) expect((await client.reply()).error).toBe(NbdErrno.EINVAL);
    const other = await RawClient.open(address, "disk");
    expect((await other.ask({ command: Command.Read, length: 512 })).error).toBe(0);
    faults.release();
    expect((await client.reply()).error).toBe(0);
    await client.hungUp();
    expect((await contentOf(graph, node, 0, 4096)).equals(pattern(4096))).toBe(true);
    expect((await contentOf(graph, node, 8192, 4096)).every((byte) => byte === 0)).toBe(true);
  });

  test("half a write is never applied", async () => {
    const { address, graph, node, server } = await serve();
    const client = await RawClient.open(address, "disk");
    const gone = new Promise<void>((resolve) => {
      server.subscribe(({ type }) => type === "client-disconnected" && resolve());
    });
    const bytes = client.encode({ command: Command.Write, payload: pattern(100_000) });
    client.socket.write(bytes.subarray(0, 90_000));
    client.socket.end();
    await gone;
    expect((await contentOf(graph, node, 0, 100_000)).every((byte) => byte === 0)).toBe(true);
  });

  test("DISC answers what was asked before, then hangs up", async () => {
    const { address } = await serve();
    const client = await RawClient.open(address, "disk");
    client.socket.write(
      Buffer.concat([
        client.encode({ command: Command.Write, payload: pattern(512) }),
        client.encode({ command: Command.Read, length: 512 }),
        client.encode({ command: Command.Disconnect }),
        client.encode({ command: Command.Write, offset: 512, payload: pattern(512) }),
      ]),
    );
    expect((await client.reply()).error).toBe(0);
    expect((await client.reply()).payload.equals(pattern(512))).toBe(true);
    await client.hungUp();
  });

  test("closing its sending side first still gets it every answer", async () => {
    const { address } = await serve({ size: 8 * MiB });
    const client = await RawClient.open(address, "disk");
    for (let index = 0; index < 200; index += 1) client.send({ command: Command.Read, length: 32768 });
    client.socket.end();
    for (let index = 0; index < 200; index += 1) expect((await client.reply()).payload).toHaveLength(32768);
    await client.hungUp();
  });
});

describe("large requests that are taken at a time", () => {
  const KiB = 1024;

  /** Asks for more than is taken at a time, and takes every answer. */
  async function asking(serving: Serving): Promise<{ readonly answered: () => number }> {
    const client = await RawClient.open(serving.address, "disk");
    let bytes = 0;
    client.reader.release();
    client.socket.on("data", (chunk: Buffer) => (bytes += chunk.byteLength));
    client.socket.resume();
    for (let index = 0; index < 400; index += 1) client.send({ command: Command.Read, length: 256 * KiB });
    return { answered: () => Math.floor(bytes / (256 * KiB)) };
  }

  test("are few where the storage answers at once: more would only take memory", async () => {
    const serving = await serve({ faulty: true });
    serving.faults.add({ operation: "read", hold: true, times: 0 });
    await asking(serving);
    await serving.faults.waitForHeld("read");
    for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
    expect(serving.faults.held).toHaveLength(15);
    serving.faults.clear();
    serving.faults.release();
  });

  test("are as many as there is memory for where the storage keeps them waiting", async () => {
    const serving = await serve({ faulty: true });
    serving.faults.add({ operation: "read", delayMs: 25, times: 0 });
    const { answered } = await asking(serving);
    while (answered() < 150) await new Promise(setImmediate);
    serving.faults.clear();
    serving.faults.add({ operation: "read", hold: true, times: 0 });
    await serving.faults.waitForHeld("read");
    while (serving.faults.held.length < 100) await new Promise(setImmediate);
    serving.faults.clear();
    serving.faults.release();
  });
});

describe("memory", () => {
  test("a client that asks and does not read stops being served, and others go on", async () => {
    const { address, server } = await serve({ size: 4 * MiB, server: { maxBytes: 4 * MiB } });
    const greedy = await RawClient.open(address, "disk");
    greedy.reader.release();
    for (let index = 0; index < 400; index += 1) greedy.send({ command: Command.Read, length: MiB });
    const other = await RawClient.open(address, "disk");
    for (let index = 0; index < 50; index += 1) {
      expect((await other.ask({ command: Command.Read, length: 65536 })).error).toBe(0);
    }
    const reads = server.exports()[0]?.statistics().requests.read ?? 0;
    expect(reads).toBeGreaterThan(50);
    // What the limit holds, and what the sockets' buffers took; far from all it asked for.
    expect(reads - 50).toBeLessThan(20);
  });

  test("one request larger than the limit is served all the same", async () => {
    const { address } = await serve({ size: 4 * MiB, server: { maxBytes: 1000, maxRequests: 1 } });
    const client = await RawClient.open(address, "disk");
    for (let index = 0; index < 5; index += 1) client.send({ command: Command.Read, length: 2 * MiB });
    for (let index = 0; index < 5; index += 1) expect((await client.reply()).payload).toHaveLength(2 * MiB);
    expect((await client.ask({ command: Command.Write, payload: pattern(2 * MiB) })).error).toBe(0);
  });
});

test("counts requests, bytes and latencies", async () => {
  const { address, server } = await serve();
  const client = await RawClient.open(address, "disk");
  await client.ask({ command: Command.Write, payload: pattern(3000) });
  await client.ask({ command: Command.Read, length: 2000 });
  await client.ask({ command: Command.Read, offset: MiB, length: 1 });
  await client.ask({ command: Command.Flush });
  const statistics = server.exports()[0]?.statistics();
  expect(statistics).toMatchObject({ bytesRead: 2000, bytesWritten: 3000, failedRequests: 1 });
  expect(statistics?.requests).toMatchObject({ read: 2, write: 1, flush: 1, trim: 0 });
  expect(statistics?.latencyHistogram.reduce((sum, count) => sum + count, 0)).toBe(4);
});
