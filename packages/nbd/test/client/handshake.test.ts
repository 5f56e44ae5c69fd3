import { BlockError } from "@blockmirror/block-driver";
import { describe, expect, test } from "vitest";
import { InfoType, Option, OptionReply, TransmissionFlag } from "../../src/protocol/constants.ts";
import { openNbd, readBytes } from "./support/devices.ts";
import {
  FakeServer,
  PLAIN_FLAGS,
  u16,
  u32,
  u64,
  type FakeBehaviour,
  type FakePeer,
} from "./support/fake-server.ts";

const MAGIC = Buffer.from("NBDMAGICIHAVEOPT");

async function outcome(behaviour: Partial<FakeBehaviour>): Promise<unknown> {
  await using server = await FakeServer.start(behaviour);
  try {
    await using device = await openNbd({ uri: server.uri });
    return device.node.info;
  } catch (error) {
    return error;
  }
}

/** Answers one option in its own way. */
function during(option: number, answer: (peer: FakePeer, data: Buffer) => void): Partial<FakeBehaviour> {
  return {
    onOption: (peer, asked, data) => {
      if (asked !== option) return false;
      answer(peer, data);
      return true;
    },
  };
}

const exportInfo = (size = 65_536, flags = PLAIN_FLAGS): Buffer =>
  Buffer.concat([u16(InfoType.Export), u64(size), u16(flags)]);
const blockInfo = (minimum: number, preferred: number, maximum: number): Buffer =>
  Buffer.concat([u16(InfoType.BlockSize), u32(minimum), u32(preferred), u32(maximum)]);

function replyToGo(type: number, data: Buffer): Buffer {
  const magic = Buffer.from("0003e889045565a9", "hex");
  return Buffer.concat([magic, u32(Option.Go), u32(type), u32(data.byteLength), data]);
}

/** Ends `Go` with these items. */
function going(...items: readonly Buffer[]): Partial<FakeBehaviour> {
  return during(Option.Go, (peer) => {
    for (const item of items) peer.optionReply(Option.Go, OptionReply.Info, item);
    peer.optionReply(Option.Go, OptionReply.Ack);
  });
}

describe("a handshake that breaks the protocol is refused with a clear error:", () => {
  const cases: readonly (readonly [string, Partial<FakeBehaviour>])[] = [
    [
      "another protocol",
      { onConnect: (peer) => (peer.raw(Buffer.from("SSH-2.0-OpenSSH_9.2p1 Debian\r\n")), true) },
    ],
    [
      "oldstyle",
      { onConnect: (peer) => (peer.raw(Buffer.from("NBDMAGIC00420281861253"), Buffer.alloc(200)), true) },
    ],
    ["hanging up at once", { onConnect: (peer) => (peer.socket.end(), true) }],
    [
      "hanging up after the greeting",
      { onConnect: (peer) => (peer.socket.end(Buffer.concat([MAGIC, u16(3)])), true) },
    ],
    [
      "a wrong magic number of a reply",
      during(Option.StructuredReply, (peer) => peer.raw(Buffer.alloc(20, 1))),
    ],
    [
      "an answer to another option",
      during(Option.StructuredReply, (peer) => peer.optionReply(Option.List, OptionReply.Ack)),
    ],
    [
      "an answer of 4 GiB",
      during(Option.StructuredReply, (peer) =>
        peer.raw(
          Buffer.from("0003e889045565a9", "hex"),
          u32(Option.StructuredReply),
          u32(OptionReply.Ack),
          u32(0xff_ff_ff_ff),
        ),
      ),
    ],
    [
      "an acknowledgement with data",
      during(Option.StructuredReply, (peer) =>
        peer.optionReply(Option.StructuredReply, OptionReply.Ack, u32(1)),
      ),
    ],
    [
      "an answer of an unknown type",
      during(Option.StructuredReply, (peer) => peer.optionReply(Option.StructuredReply, 77)),
    ],
    [
      "information without end",
      during(Option.Go, (peer) => {
        for (let index = 0; index < 200; index += 1)
          peer.optionReply(Option.Go, OptionReply.Info, exportInfo());
      }),
    ],
    ["an export without a word about it", going()],
    ["a description that is too short", going(exportInfo().subarray(0, 11))],
    ["an item without a type", going(Buffer.alloc(1))],
    ["block sizes that are too short", going(exportInfo(), blockInfo(1, 4096, 65_536).subarray(0, 13))],
    ["a smallest block that is no power of two", going(exportInfo(), blockInfo(513, 4096, 65_536))],
    ["a smallest block of zero", going(exportInfo(), blockInfo(0, 4096, 65_536))],
    ["a smallest block beyond 64 KiB", going(exportInfo(2 ** 30), blockInfo(131_072, 131_072, 2 ** 25))],
    ["a preferred block below the smallest", going(exportInfo(), blockInfo(4096, 512, 65_536))],
    ["a largest payload below the smallest block", going(exportInfo(), blockInfo(4096, 4096, 512))],
    [
      "a context that nobody asked for",
      during(Option.SetMetaContext, (peer) => {
        peer.optionReply(
          Option.SetMetaContext,
          OptionReply.MetaContext,
          Buffer.concat([u32(1), Buffer.from("x-other:y")]),
        );
        peer.optionReply(Option.SetMetaContext, OptionReply.Ack);
      }),
    ],
    [
      "a context twice",
      during(Option.SetMetaContext, (peer) => {
        const context = Buffer.concat([u32(1), Buffer.from("base:allocation")]);
        for (let index = 0; index < 2; index += 1)
          peer.optionReply(Option.SetMetaContext, OptionReply.MetaContext, context);
        peer.optionReply(Option.SetMetaContext, OptionReply.Ack);
      }),
    ],
    [
      "a flood before anything was asked",
      { onConnect: (peer) => (peer.raw(MAGIC, u16(3), Buffer.alloc(100_000)), true) },
    ],
  ];
  for (const [name, behaviour] of cases) {
    test(name, async () => {
      const error = await outcome(behaviour);
      expect(error).toBeInstanceOf(BlockError);
      expect(error).toMatchObject({ code: "EIO", operation: "open" });
    });
  }

  test("a reply before there was a request", async () => {
    await using server = await FakeServer.start({
      ...during(Option.Go, (peer) => {
        peer.raw(
          replyToGo(OptionReply.Info, exportInfo()),
          replyToGo(OptionReply.Ack, Buffer.alloc(0)),
          Buffer.alloc(20, 3),
        );
      }),
    });
    await expect(openNbd({ uri: server.uri })).rejects.toMatchObject({ code: "EIO" });
  });
});

describe("a server that says no is quoted:", () => {
  const refusals: readonly (readonly [number, string])[] = [
    [OptionReply.ErrorUnknown, "ENOENT"],
    [OptionReply.ErrorPolicy, "EACCES"],
    [OptionReply.ErrorTlsRequired, "EINVAL"],
    [OptionReply.ErrorShutdown, "EINVAL"],
    [OptionReply.ErrorBlockSizeRequired, "EINVAL"],
    [0x80_00_ff_ff, "EINVAL"],
  ];
  for (const [type, code] of refusals) {
    test(`0x${type.toString(16)}`, async () => {
      const text = "no\u001b[31m, because";
      const error = await outcome(
        during(Option.Go, (peer) => peer.optionReply(Option.Go, type, Buffer.from(text))),
      );
      expect(error).toMatchObject({ code, message: expect.stringContaining("no?[31m, because") });
    });
  }

  test("an export of 2^53 bytes or more", async () => {
    expect(await outcome({ size: 2 ** 53 })).toMatchObject({ code: "EFBIG" });
    expect(await outcome({ size: 2 ** 53 - 1, form: "simple" })).toMatchObject({ size: 2 ** 53 - 1 });
  });

  test("an export whose end no block reaches", async () => {
    expect(await outcome(going(exportInfo(65_537), blockInfo(512, 4096, 65_536)))).toMatchObject({
      code: "EINVAL",
      message: expect.stringContaining("does not divide"),
    });
  });
});

describe("what servers of all ages agree to is used:", () => {
  for (const form of ["simple", "structured", "extended"] as const) {
    test(`${form} replies`, async () => {
      await using server = await FakeServer.start({ form });
      await using device = await openNbd({ uri: server.uri });
      expect(device.node.info).toMatchObject({
        can: { status: form === "simple" ? "none" : "exact", fua: true, writeZeroes: "slow" },
        details: { replies: form },
      });
      await device.edge.write(100, [new Uint8Array(100).fill(1)]);
      await device.edge.writeZeroes(120, 10, { unmap: true });
      await device.edge.flush();
      const expected = new Uint8Array(100).fill(1).fill(0, 20, 30);
      expect(await readBytes(device.edge, 100, 100)).toEqual(expected);
    });
  }

  test("EXPORT_NAME, from a server that knows no GO, padded or not", async () => {
    for (const pads of [false, true]) {
      await using server = await FakeServer.start({ form: "simple" });
      server.behaviour.onOption = (peer, option) => {
        if (option === Option.Go) peer.optionReply(option, OptionReply.ErrorUnsupported);
        if (option === Option.ExportName && pads) queueMicrotask(() => peer.raw(Buffer.alloc(124)));
        return option === Option.Go;
      };
      if (pads) server.greeting = 1;
      await using device = await openNbd({ uri: server.uri });
      server.disk.fill(4);
      expect(await readBytes(device.edge, 0, 512)).toEqual(new Uint8Array(512).fill(4));
    }
  });

  test("EXPORT_NAME alone, from a server that is not fixed newstyle", async () => {
    await using server = await FakeServer.start({ form: "simple" });
    server.greeting = 2;
    const options: number[] = [];
    server.behaviour.onOption = (_peer, option) => {
      options.push(option);
      return false;
    };
    await using device = await openNbd({ uri: server.uri });
    expect(device.node.size).toBe(65_536);
    expect(options).toEqual([Option.ExportName]);
  });

  test("the order of options, and the block sizes asked for", async () => {
    await using server = await FakeServer.start({});
    const asked: (readonly [number, string])[] = [];
    server.behaviour.onOption = (_peer, option, data) => {
      asked.push([option, data.toString("latin1")]);
      return false;
    };
    await using device = await openNbd({ server: { path: server.uri.split("=")[1] }, export: "näme" });
    const name = Buffer.from("näme").toString("latin1");
    expect(device.node.info.details).toMatchObject({ export: "näme" });
    expect(asked).toEqual([
      [Option.ExtendedHeaders, ""],
      [Option.StructuredReply, ""],
      [Option.SetMetaContext, `\0\0\0\u0005${name}\0\0\0\u0001\0\0\0\u000fbase:allocation`],
      [Option.Go, `\0\0\0\u0005${name}\0\u0001\0\u0003`],
    ]);
  });

  test("flags of every kind become capabilities, and nothing else is sent", async () => {
    const { HasFlags, ReadOnly, SendFlush, SendFua, SendTrim, SendWriteZeroes, SendFastZero } =
      TransmissionFlag;
    const info = await outcome({ flags: HasFlags });
    expect(info).toMatchObject({
      can: { write: true, fua: false, flush: false, writeZeroes: "no", discard: "no", unmap: false },
    });
    const all = HasFlags | SendFlush | SendFua | SendTrim | SendWriteZeroes | SendFastZero;
    expect(await outcome({ flags: all })).toMatchObject({
      can: { fua: true, flush: true, writeZeroes: "fast", discard: "hint", unmap: true },
    });
    expect(await outcome({ flags: all | ReadOnly })).toMatchObject({ code: "EROFS" });
  });

  test("command flags: FUA, NO_HOLE unless unmapping, FAST_ZERO only where it was offered", async () => {
    const seen: (readonly [number, number])[] = [];
    const { SendFastZero } = TransmissionFlag;
    for (const flags of [PLAIN_FLAGS, PLAIN_FLAGS | SendFastZero]) {
      await using server = await FakeServer.start({
        flags,
        onRequest: (peer, request) => {
          seen.push([request.command, request.flags]);
          peer.answer(request);
        },
      });
      await using device = await openNbd({ uri: server.uri });
      const { edge } = device;
      await edge.write(0, [new Uint8Array(1)], { fua: true });
      await edge.writeZeroes(0, 512);
      await edge.writeZeroes(0, 512, { unmap: true, fua: true });
      const fast = Promise.resolve().then(() => edge.writeZeroes(0, 512, { noFallback: true }));
      if (flags === PLAIN_FLAGS) await expect(fast).rejects.toMatchObject({ code: "ENOTSUP" });
      else await fast;
      await edge.flush();
    }
    const common = [
      [1, 1],
      [6, 2],
      [6, 1],
    ];
    expect(seen).toEqual([...common, [3, 0], ...common, [6, 2 | 16], [3, 0]]);
  });
});
