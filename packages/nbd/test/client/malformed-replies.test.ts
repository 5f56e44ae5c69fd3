import { BlockError, ExtentList } from "@blockmirror/block-driver";
import { describe, expect, test } from "vitest";
import { openNbd, readBytes, type OpenNbd } from "./support/devices.ts";
import {
  FakeServer,
  u16,
  u32,
  u64,
  type FakeBehaviour,
  type FakePeer,
  type FakeRequest,
} from "./support/fake-server.ts";
import { turns, until } from "./support/until.ts";

type Reply = (peer: FakePeer, request: FakeRequest) => void;
type Form = FakeBehaviour["form"];

const DONE = 1;
const NONE = 0;
const DATA = 1;
const HOLE = 2;
const STATUS = 5;
const STATUS_EXT = 6;
const ERROR = 0x80_01;

const data = (offset: number, length: number): Buffer =>
  Buffer.concat([u64(offset), Buffer.alloc(length, 9)]);
const hole = (offset: number, length: number): Buffer => Buffer.concat([u64(offset), u32(length)]);
const status = (...extents: readonly (readonly [number, number])[]): Buffer =>
  Buffer.concat([u32(7), ...extents.flatMap(([length, flags]) => [u32(length), u32(flags)])]);
const error = (number: number, text: string, textLength = text.length): Buffer =>
  Buffer.concat([u32(number), u16(textLength), Buffer.from(text)]);

/** Reads 4096..8192, or asks about it, of a server that answers everything with `reply`. */
async function attempt(
  form: Form,
  reply: Reply,
  use: (device: OpenNbd) => Promise<unknown>,
): Promise<unknown> {
  await using server = await FakeServer.start({ form, onRequest: reply });
  await using device = await openNbd({ uri: server.uri, reconnectDelayMs: 0 });
  try {
    return await use(device);
  } catch (failure) {
    return failure;
  }
}

const read = ({ edge }: OpenNbd): Promise<Uint8Array> => readBytes(edge, 4096, 4096);
const ask = async ({ edge }: OpenNbd): Promise<ExtentList> => {
  const extents = new ExtentList();
  await edge.status(4096, 4096, extents);
  return extents;
};
const write = async ({ edge }: OpenNbd): Promise<void> => edge.write(0, [new Uint8Array(512)]);

/** The connection is over, with a reason that says so. */
function expectBroken(outcome: unknown): void {
  expect(outcome).toBeInstanceOf(BlockError);
  expect(outcome).toMatchObject({ code: "EIO", cause: { name: "ProtocolError" } });
}

describe("a reply that breaks the protocol ends the connection with a clear error:", () => {
  const cases: readonly (readonly [string, Form, Reply, (device: OpenNbd) => Promise<unknown>])[] = [
    ["an unknown magic number", "simple", (peer) => peer.raw(Buffer.alloc(64, 0xee)), read],
    [
      "a structured reply that was not agreed",
      "simple",
      (peer, request) => peer.chunk(request, DONE, NONE, Buffer.alloc(0)),
      write,
    ],
    [
      "a simple reply where extended headers were agreed",
      "extended",
      (peer, request) => peer.simple(request),
      write,
    ],
    [
      "a cookie of no request",
      "simple",
      (peer) => peer.raw(u32(0x67_44_66_98), u32(0), Buffer.alloc(8, 0xaa)),
      read,
    ],
    [
      "the same answer twice",
      "simple",
      (peer, request) => {
        if (request.number !== 0) return;
        peer.simple(request, 0, Buffer.alloc(4096));
        peer.simple(request, 0, Buffer.alloc(4096));
      },
      async (device) => {
        const first = read(device);
        const second = read(device);
        await first;
        return second;
      },
    ],
    [
      "a simple reply to a read in chunks",
      "structured",
      (peer, request) => peer.simple(request, 0, Buffer.alloc(4096)),
      read,
    ],
    [
      "a chunk before the read",
      "structured",
      (peer, request) => peer.chunk(request, DONE, DATA, data(0, 4096)),
      read,
    ],
    [
      "a chunk that leaves the read",
      "structured",
      (peer, request) => peer.chunk(request, DONE, DATA, data(4097, 4096)),
      read,
    ],
    [
      "a chunk at an absurd offset",
      "structured",
      (peer, request) =>
        peer.chunk(request, DONE, DATA, Buffer.concat([Buffer.alloc(8, 0xff), Buffer.alloc(16)])),
      read,
    ],
    [
      "a chunk of 4 GiB",
      "structured",
      (peer, request) =>
        peer.raw(u32(0x66_8e_33_ef), u16(DONE), u16(DATA), request.cookie, u32(0xff_ff_ff_ff), u64(4096)),
      read,
    ],
    [
      "an extended chunk of 2^63 bytes",
      "extended",
      (peer, request) =>
        peer.raw(
          u32(0x6e_8a_27_8c),
          u16(DONE),
          u16(DATA),
          request.cookie,
          u64(4096),
          u32(0x80_00_00_00),
          u32(0),
          u64(4096),
        ),
      read,
    ],
    [
      "a chunk without data",
      "structured",
      (peer, request) => peer.chunk(request, DONE, DATA, data(4096, 0)),
      read,
    ],
    [
      "overlapping chunks",
      "structured",
      (peer, request) => {
        peer.chunk(request, 0, DATA, data(4096, 2048));
        peer.chunk(request, DONE, DATA, data(6143, 2049));
      },
      read,
    ],
    [
      "the same chunk twice, out of order",
      "structured",
      (peer, request) => {
        peer.chunk(request, 0, DATA, data(6144, 2048));
        peer.chunk(request, 0, DATA, data(6144, 2048));
      },
      read,
    ],
    [
      "a missing chunk",
      "structured",
      (peer, request) => {
        peer.chunk(request, 0, DATA, data(4096, 2048));
        peer.chunk(request, DONE, NONE, Buffer.alloc(0));
      },
      read,
    ],
    [
      "thousands of scattered chunks",
      "structured",
      (peer, request) => {
        for (let at = 4097; at < 8190; at += 2) peer.chunk(request, 0, DATA, data(at, 1));
      },
      read,
    ],
    ["an empty hole", "structured", (peer, request) => peer.chunk(request, DONE, HOLE, hole(4096, 0)), read],
    [
      "a hole that leaves the read",
      "structured",
      (peer, request) => peer.chunk(request, DONE, HOLE, hole(4096, 4097)),
      read,
    ],
    [
      "a hole with data",
      "structured",
      (peer, request) => peer.chunk(request, DONE, HOLE, Buffer.concat([hole(4096, 4096), Buffer.alloc(4)])),
      read,
    ],
    [
      "a hole of half a header",
      "structured",
      (peer, request) => peer.chunk(request, DONE, HOLE, u64(4096)),
      read,
    ],
    [
      "data for a write",
      "structured",
      (peer, request) => peer.chunk(request, DONE, DATA, data(0, 512)),
      write,
    ],
    [
      "an unknown chunk",
      "structured",
      (peer, request) => peer.chunk(request, DONE, 99, Buffer.alloc(4)),
      read,
    ],
    [
      "an empty chunk that is not the last",
      "structured",
      (peer, request) => peer.chunk(request, 0, NONE, Buffer.alloc(0)),
      write,
    ],
    [
      "a last chunk with content that has none",
      "structured",
      (peer, request) => peer.chunk(request, DONE, NONE, Buffer.alloc(1)),
      write,
    ],
    [
      "an error chunk without an error",
      "structured",
      (peer, request) => peer.chunk(request, DONE, ERROR, error(0, "")),
      read,
    ],
    [
      "an error text longer than its chunk",
      "structured",
      (peer, request) => peer.chunk(request, DONE, ERROR, error(5, "x", 9999)),
      read,
    ],
    [
      "an error chunk of a megabyte",
      "structured",
      (peer, request) => peer.chunk(request, DONE, ERROR, error(5, "x".repeat(65_535))),
      read,
    ],
    [
      "an error chunk of three bytes",
      "structured",
      (peer, request) => peer.chunk(request, DONE, ERROR, Buffer.alloc(3)),
      read,
    ],
    [
      "errors without end",
      "structured",
      (peer, request) => {
        for (let index = 0; index < 100; index += 1) peer.chunk(request, 0, ERROR, error(5, "again"));
      },
      read,
    ],
    ["status of nothing", "structured", (peer, request) => peer.chunk(request, DONE, STATUS, status()), ask],
    ["status by a simple reply", "structured", (peer, request) => peer.simple(request), ask],
    [
      "no status at all",
      "structured",
      (peer, request) => peer.chunk(request, DONE, NONE, Buffer.alloc(0)),
      ask,
    ],
    [
      "status of another context",
      "structured",
      (peer, request) => peer.chunk(request, DONE, STATUS, Buffer.concat([u32(8), u32(4096), u32(0)])),
      ask,
    ],
    [
      "status twice",
      "structured",
      (peer, request) => {
        peer.chunk(request, 0, STATUS, status([4096, 0]));
        peer.chunk(request, DONE, STATUS, status([4096, 0]));
      },
      ask,
    ],
    [
      "an empty extent",
      "structured",
      (peer, request) => peer.chunk(request, DONE, STATUS, status([0, 0], [4096, 0])),
      ask,
    ],
    [
      "an extent beyond the export",
      "structured",
      (peer, request) => peer.chunk(request, DONE, STATUS, status([65_536, 0])),
      ask,
    ],
    [
      "extents that add up to beyond the export",
      "structured",
      (peer, request) => peer.chunk(request, DONE, STATUS, status([4096, 0], [4096, 3], [0xff_ff_ff_ff, 0])),
      ask,
    ],
    [
      "a third of an extent",
      "structured",
      (peer, request) => peer.chunk(request, DONE, STATUS, Buffer.concat([status([4096, 0]), u32(1)])),
      ask,
    ],
    [
      "more extents than allowed",
      "structured",
      (peer, request) =>
        peer.raw(u32(0x66_8e_33_ef), u16(DONE), u16(STATUS), request.cookie, u32(4 + 8 * (2 ** 20 + 1))),
      ask,
    ],
    [
      "the compact status where extended headers were agreed",
      "extended",
      (peer, request) => peer.chunk(request, DONE, STATUS, status([4096, 0])),
      ask,
    ],
    [
      "a wrong number of extents",
      "extended",
      (peer, request) =>
        peer.chunk(request, DONE, STATUS_EXT, Buffer.concat([u32(7), u32(2), u64(4096), u64(0)])),
      ask,
    ],
    [
      "an extended extent of 2^64-1 bytes",
      "extended",
      (peer, request) =>
        peer.chunk(request, DONE, STATUS_EXT, Buffer.concat([u32(7), u32(1), Buffer.alloc(8, 0xff), u64(0)])),
      ask,
    ],
  ];
  for (const [name, form, reply, use] of cases) {
    test(name, async () => {
      expectBroken(await attempt(form, reply, use));
    });
  }
});

/** What a read ends with that was answered with one error chunk. */
function answered(type: number, number: number): Promise<unknown> {
  return attempt("structured", (peer, request) => peer.chunk(request, DONE, type, error(number, "")), read);
}

describe("a reply that is unusual but right is understood:", () => {
  test("chunks in any order, with holes, and the end by itself", async () => {
    const bytes = await attempt(
      "structured",
      (peer, request) => {
        peer.chunk(request, 0, DATA, data(7168, 1024));
        peer.chunk(request, 0, HOLE, hole(5120, 1024));
        peer.chunk(request, 0, DATA, data(4096, 1024));
        peer.chunk(request, 0, HOLE, hole(6144, 1024));
        peer.chunk(request, DONE, NONE, Buffer.alloc(0));
      },
      read,
    );
    const expected = Buffer.alloc(4096, 9).fill(0, 1024, 3072);
    expect(Buffer.compare(bytes instanceof Uint8Array ? bytes : Buffer.alloc(0), expected)).toBe(0);
  });

  test("one byte at a time", async () => {
    const bytes = await attempt(
      "structured",
      (peer, request) => {
        const reply = Buffer.concat([
          u32(0x66_8e_33_ef),
          u16(DONE),
          u16(DATA),
          request.cookie,
          u32(8 + 4096),
          data(4096, 4096),
        ]);
        for (let at = 0; at < reply.byteLength; at += 1) peer.socket.write(reply.subarray(at, at + 1));
      },
      read,
    );
    expect(bytes).toEqual(new Uint8Array(4096).fill(9));
  });

  test("an error of an unknown type, and an error number of no name", async () => {
    expect(await answered(0x90_00, 5)).toMatchObject({
      code: "EIO",
      message: expect.stringContaining("the server answered"),
    });
    expect(await answered(ERROR, 7777)).toMatchObject({ code: "EINVAL" });
  });

  test("the first of several errors, after part of the data, with the server's text", async () => {
    const failure = await attempt(
      "structured",
      (peer, request) => {
        peer.chunk(request, 0, DATA, data(4096, 100));
        peer.chunk(request, 0, ERROR, error(28, "the disk is full"));
        peer.chunk(request, DONE, ERROR, error(5, "and broken"));
      },
      read,
    );
    expect(failure).toMatchObject({ code: "ENOSPC", operation: "read", offset: 4096, length: 4096 });
    expect(String(failure)).toContain("the disk is full");
  });

  test("status that says more than was asked, and a list that is too small for it", async () => {
    await using server = await FakeServer.start({
      onRequest: (peer, request) =>
        peer.chunk(request, DONE, STATUS, status([1024, 0], [1024, 3], [1024, 2], [20_000, 0])),
    });
    await using device = await openNbd({ uri: server.uri });
    const extents = new ExtentList(2);
    await device.edge.status(4096, 4096, extents);
    expect([extents.count, extents.next, extents.flagsAt(0), extents.flagsAt(1)]).toEqual([2, 7168, 1, 2]);
    expect(await ask(device)).toMatchObject({ count: 3 });
  });
});

test("each error number has its code", async () => {
  const codes = [
    [1, "EROFS"],
    [5, "EIO"],
    [12, "EIO"],
    [22, "EINVAL"],
    [28, "ENOSPC"],
    [75, "EINVAL"],
    [95, "ENOTSUP"],
    [108, "ESHUTDOWN"],
  ] as const;
  for (const [number, code] of codes) {
    expect(await attempt("simple", (peer, request) => peer.simple(request, number), read)).toMatchObject({
      code,
    });
  }
});

test("an answer before the data of a write was taken does not free its buffers early", async () => {
  const size = 8 * 2 ** 20;
  const received: Uint8Array[] = [];
  await using server = await FakeServer.start({
    form: "simple",
    size,
    onWriteHeader: async (peer, cookie) => {
      peer.socket.pause();
      peer.raw(u32(0x67_44_66_98), u32(22), cookie);
      // The answer is read meanwhile, and most of the data is still in the client's hands.
      await turns(50);
      peer.socket.resume();
    },
    onRequest: (peer, request) => {
      if (request.payload.byteLength > 0) received.push(request.payload);
      else peer.answer(request);
    },
  });
  await using device = await openNbd({ uri: server.uri });
  const buffer = new Uint8Array(size).fill(1);
  await expect(device.edge.write(0, [buffer])).rejects.toMatchObject({ code: "EINVAL" });
  buffer.fill(2);
  const arrived = (): Buffer => Buffer.concat(received);
  await until(() => arrived().byteLength === size);
  expect(arrived().equals(Buffer.alloc(size, 1))).toBe(true);
});
