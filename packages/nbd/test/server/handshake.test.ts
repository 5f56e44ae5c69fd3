import { describe, expect, test } from "vitest";
import { InfoType, Option, OPTION_MAGIC, OptionReply } from "../../src/protocol/constants.ts";
import { RawClient, string, u16, u32 } from "./support/raw-client.ts";
import { serve } from "./support/serving.ts";

const go = (name: string, ...wanted: readonly number[]): Buffer =>
  Buffer.concat([string(name), u16(wanted.length, ...wanted)]);
const query = (name: string, ...queries: readonly string[]): Buffer =>
  Buffer.concat([string(name), u32(queries.length), ...queries.map(string)]);
const types = (answers: readonly { readonly type: number }[]): readonly number[] =>
  answers.map(({ type }) => type);

describe("options", () => {
  test("unknown flags of the client end the connection", async () => {
    const { address } = await serve();
    await (await RawClient.greeted(address, 4)).hungUp();
  });

  test("without the fixed newstyle only EXPORT_NAME is there", async () => {
    const { address } = await serve();
    const client = await RawClient.greeted(address, 0);
    client.socket.write(Buffer.concat([OPTION_MAGIC, u32(Option.List, 0)]));
    await client.hungUp();
  });

  test("EXPORT_NAME answers size, flags and padding as agreed, and goes on to transmission", async () => {
    const { address } = await serve({ size: 65536 });
    for (const [flags, length] of [
      [3, 10],
      [1, 134],
    ] as const) {
      const client = await RawClient.greeted(address, flags);
      client.socket.write(Buffer.concat([OPTION_MAGIC, u32(Option.ExportName, 4), Buffer.from("disk")]));
      const answer = await client.reader.read(length);
      expect(answer.readBigUInt64BE(0)).toBe(65536n);
      expect(answer.readUInt16BE(8)).toBe(0xd6d);
      expect((await client.ask({ command: 0, length: 16 })).payload).toHaveLength(16);
    }
  });

  test("EXPORT_NAME of an unknown export hangs up", async () => {
    const { address } = await serve();
    const client = await RawClient.greeted(address);
    client.socket.write(Buffer.concat([OPTION_MAGIC, u32(Option.ExportName, 2), Buffer.from("no")]));
    await client.hungUp();
  });

  test("ABORT is acknowledged, then the connection ends", async () => {
    const { address } = await serve();
    const client = await RawClient.greeted(address);
    expect(types(await client.option(Option.Abort))).toEqual([OptionReply.Ack]);
    await client.hungUp();
  });

  test("LIST names every export with its description", async () => {
    const { address, server, node } = await serve();
    server.addExport({ name: "second", node, description: "a text" });
    const client = await RawClient.greeted(address);
    const answers = await client.option(Option.List);
    expect(answers.slice(0, -1).map(({ data }) => data.subarray(4).toString())).toEqual([
      "disk",
      "seconda text",
    ]);
  });

  test("INFO tells what is asked for and goes on; GO begins transmission", async () => {
    const { address } = await serve({ size: 8192, exported: { description: "words" } });
    const client = await RawClient.greeted(address);
    const answers = await client.option(
      Option.Info,
      go("disk", InfoType.Name, InfoType.Description, InfoType.BlockSize, 77),
    );
    const items = new Map(answers.slice(0, -1).map(({ data }) => [data.readUInt16BE(0), data.subarray(2)]));
    expect(items.get(InfoType.Export)?.toString("hex")).toBe("00000000000020000d6d");
    expect(items.get(InfoType.Name)?.toString()).toBe("disk");
    expect(items.get(InfoType.Description)?.toString()).toBe("words");
    expect(items.get(InfoType.BlockSize)?.toString("hex")).toBe("000000010000100002000000");
    expect(types(await client.option(Option.Go, go("disk")))).toEqual([OptionReply.Info, OptionReply.Ack]);
    expect((await client.ask({ command: 0, length: 1 })).error).toBe(0);
  });

  test("an unknown export can be corrected; the empty name is the only export, while there is one", async () => {
    const { address, server, node } = await serve();
    const client = await RawClient.greeted(address);
    expect(types(await client.option(Option.Go, go("no")))).toEqual([OptionReply.ErrorUnknown]);
    expect(types(await client.option(Option.Info, go("")))).toEqual([OptionReply.Info, OptionReply.Ack]);
    server.addExport({ name: "second", node });
    expect(types(await client.option(Option.Info, go("")))).toEqual([OptionReply.ErrorUnknown]);
  });

  test.each<[string, number, Buffer, number]>([
    ["an unknown option", 99, Buffer.from("abc"), OptionReply.ErrorUnsupported],
    ["PEEK_EXPORT", 4, Buffer.alloc(0), OptionReply.ErrorUnsupported],
    ["STARTTLS without TLS", Option.StartTls, Buffer.alloc(0), OptionReply.ErrorPolicy],
    ["LIST with data", Option.List, Buffer.from("x"), OptionReply.ErrorInvalid],
    ["STRUCTURED_REPLY with data", Option.StructuredReply, Buffer.from("x"), OptionReply.ErrorInvalid],
    ["INFO cut short", Option.Info, Buffer.from("abc"), OptionReply.ErrorInvalid],
    ["INFO with a name beyond its data", Option.Info, u32(100), OptionReply.ErrorInvalid],
    ["INFO with a name of 4097 bytes", Option.Info, go("x".repeat(4097)), OptionReply.ErrorInvalid],
    [
      "INFO with a count beyond its data",
      Option.Info,
      Buffer.concat([string("disk"), u16(9)]),
      OptionReply.ErrorInvalid,
    ],
    [
      "INFO with a byte too many",
      Option.Info,
      Buffer.concat([go("disk"), Buffer.of(0)]),
      OptionReply.ErrorInvalid,
    ],
    ["INFO with a NUL in the name", Option.Info, go("di\0sk"), OptionReply.ErrorInvalid],
    [
      "INFO with a name that is not UTF-8",
      Option.Info,
      Buffer.from("00000001ff0000", "hex"),
      OptionReply.ErrorInvalid,
    ],
    ["SET_META_CONTEXT too early", Option.SetMetaContext, query("disk"), OptionReply.ErrorInvalid],
    [
      "LIST_META_CONTEXT with a count beyond its data",
      Option.ListMetaContext,
      Buffer.concat([string("disk"), u32(0xffffffff)]),
      OptionReply.ErrorInvalid,
    ],
    ["LIST_META_CONTEXT of an unknown export", Option.ListMetaContext, query("no"), OptionReply.ErrorUnknown],
  ])("%s is refused, and the two stay in step", async (_name, option, data, type) => {
    const { address } = await serve();
    const client = await RawClient.greeted(address);
    expect(types(await client.option(option, data))).toEqual([type]);
    expect(types(await client.option(Option.Abort))).toEqual([OptionReply.Ack]);
  });

  test("too much data is refused without reading it", async () => {
    const { address } = await serve();
    const client = await RawClient.greeted(address);
    client.socket.write(Buffer.concat([OPTION_MAGIC, u32(Option.Info, 0xfffffff0)]));
    expect((await client.reader.read(20)).readUInt32BE(12)).toBe(OptionReply.ErrorTooBig);
  });

  test("a wrong magic ends the connection", async () => {
    const { address } = await serve();
    const client = await RawClient.greeted(address);
    client.socket.write(Buffer.from("IHAVEOPS00000000"));
    await client.hungUp();
  });

  test("options that arrive byte by byte, or all at once, are the same", async () => {
    const { address } = await serve();
    const slow = await RawClient.greeted(address);
    const bytes = Buffer.concat([OPTION_MAGIC, u32(Option.StructuredReply, 0)]);
    for (const byte of bytes) {
      slow.socket.write(Buffer.of(byte));
      await new Promise(setImmediate);
    }
    expect((await slow.reader.read(20)).readUInt32BE(12)).toBe(OptionReply.Ack);
    const data = go("disk");
    const fast = await RawClient.greeted(address);
    fast.socket.write(
      Buffer.concat([bytes, OPTION_MAGIC, u32(Option.Go, data.length), data, fast.encode({ command: 3 })]),
    );
    const answers = await fast.reader.read(20 + 32 + 20);
    expect(answers.readUInt32BE(12)).toBe(OptionReply.Ack);
    expect((await fast.reply()).error).toBe(0);
  });
});

describe("contexts", () => {
  test("a listing shows all, a namespace's, or the one asked for", async () => {
    const { address, server, node } = await serve();
    node.createDirtyBitmap({ name: "b0" });
    server.addExport({ name: "more", node, bitmaps: ["b0"], allocationDepth: true });
    const client = await RawClient.greeted(address);
    const list = async (...queries: readonly string[]): Promise<readonly string[]> => {
      const answers = await client.option(Option.ListMetaContext, query("more", ...queries));
      return answers.slice(0, -1).map(({ data }) => data.subarray(4).toString());
    };
    const all = ["base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:b0"];
    expect(await list()).toEqual(all);
    expect(await list("base:")).toEqual(all.slice(0, 1));
    expect(await list("qemu:")).toEqual(all.slice(1));
    expect(await list("qemu:dirty-bitmap:")).toEqual(all.slice(2));
    expect(await list("qemu:dirty-bitmap:b0", "base:allocation", "base:allocation")).toEqual([
      all[2],
      all[0],
    ]);
    expect(await list("x-other:thing", "base:unknown", "")).toEqual([]);
  });

  test("a selection needs exact names, and each replaces the one before, even when it fails", async () => {
    const { address } = await serve();
    const client = await RawClient.greeted(address);
    await client.option(Option.StructuredReply);
    const select = async (...queries: readonly string[]): Promise<number> =>
      (await client.option(Option.SetMetaContext, query("disk", ...queries))).length - 1;
    expect(await select("base:")).toBe(0);
    expect(await select()).toBe(0);
    expect(await select("base:allocation")).toBe(1);
    await client.option(Option.SetMetaContext, u32(9));
    await client.option(Option.Go, go("disk"));
    expect((await client.ask({ command: 7, length: 4096 })).error).toBe(22);
  });

  test("a selection for another export does not count", async () => {
    const { address, server, node } = await serve();
    server.addExport({ name: "other", node });
    const client = await RawClient.greeted(address);
    await client.option(Option.StructuredReply);
    await client.option(Option.SetMetaContext, query("other", "base:allocation"));
    await client.option(Option.Go, go("disk"));
    expect((await client.ask({ command: 7, length: 4096 })).error).toBe(22);
  });
});

describe("clients that do not come to the point", () => {
  test("are dropped when their time is over", async () => {
    const { address, server } = await serve({ server: { handshakeTimeoutMs: 30 } });
    const silent = await RawClient.connect(address);
    await silent.reader.read(18);
    await silent.hungUp();
    const halfway = await RawClient.greeted(address);
    halfway.socket.write(OPTION_MAGIC);
    await halfway.hungUp();
    expect(server.clients()).toEqual([]);
  });

  test("are refused beyond the limit, and room is made when one leaves", async () => {
    const { address, server } = await serve({ server: { maxConnections: 2 } });
    const first = await RawClient.open(address, "disk");
    await RawClient.open(address, "disk");
    await (await RawClient.connect(address)).hungUp();
    const left = new Promise<void>((resolve) => {
      server.subscribe((event) => event.type === "client-disconnected" && resolve());
    });
    first.close();
    await left;
    expect((await (await RawClient.open(address, "disk")).ask({ command: 3 })).error).toBe(0);
  });

  test("make room for others, those first that have waited longest", async () => {
    const { address, server } = await serve({ server: { maxConnections: 3 } });
    const served = await RawClient.open(address, "disk");
    const oldest = await RawClient.connect(address);
    await oldest.reader.read(18);
    const younger = await RawClient.greeted(address);
    const newcomer = await RawClient.open(address, "disk");
    await oldest.hungUp();
    expect(server.connectionCount).toBe(3);
    const next = await RawClient.greeted(address);
    await younger.hungUp();
    await next.option(Option.Go, go("disk"));
    // All have an export now: the limit holds for the newcomer, and nobody else notices.
    await (await RawClient.connect(address)).hungUp();
    expect(server.connectionCount).toBe(3);
    for (const client of [served, newcomer, next]) expect((await client.ask({ command: 3 })).error).toBe(0);
  });

  test("in any number keep nobody out, and hold no more places than there are", async () => {
    const { address, server } = await serve({ server: { maxConnections: 2 } });
    const served = await RawClient.open(address, "disk");
    const silent = [];
    for (let count = 0; count < 20; count += 1) {
      silent.push(await RawClient.connect(address));
      await silent.at(-1)?.reader.read(18);
      expect(server.connectionCount).toBe(2);
    }
    const newcomer = await RawClient.open(address, "disk");
    for (const client of silent) await client.hungUp();
    for (const client of [served, newcomer]) expect((await client.ask({ command: 3 })).error).toBe(0);
    expect(server.clients()).toHaveLength(2);
  });

  test("can be dropped while TLS begins", async () => {
    const { address, server } = await serve({
      server: { maxConnections: 1, tls: { keys: new Map([["me", Buffer.alloc(16, 1)]]) } },
    });
    const halfway = await RawClient.greeted(address);
    await halfway.option(Option.StartTls);
    const next = await RawClient.greeted(address);
    await halfway.hungUp();
    expect(server.connectionCount).toBe(1);
    next.close();
  });
});
