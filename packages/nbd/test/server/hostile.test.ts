import { mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { makeCertificates } from "@blockmirror/peers";
import { describe, expect, test } from "vitest";
import { Command, Option, OPTION_MAGIC, OptionReply } from "../../src/protocol/constants.ts";
import { RawClient, u32 } from "./support/raw-client.ts";
import { pattern, serve, temporaryDirectory, type Serving } from "./support/serving.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

/** Whatever was sent before has been dealt with when another client has had this many answers. */
async function witness({ address }: Serving): Promise<void> {
  const other = await RawClient.open(address, "disk");
  for (let turn = 0; turn < 50; turn += 1) {
    expect((await other.ask({ command: Command.Flush })).error).toBe(0);
  }
  other.close();
}

describe("a refusal", () => {
  test("reaches a client that sends all of an option before it reads, and ends with it or with its time", async () => {
    const { server } = await serve({ server: { handshakeTimeoutMs: 500 } });
    const client = await RawClient.greeted(await server.listen({ host: "127.0.0.1", port: 0 }));
    const data = Buffer.alloc(8 * MiB);
    const header = Buffer.concat([OPTION_MAGIC, u32(Option.Go, data.byteLength)]);
    client.socket.write(header);
    const failure = await new Promise((resolve) => client.socket.write(data, resolve));
    expect(failure ?? undefined).toBeUndefined();
    const reply = await client.reader.read(20);
    expect(reply.readUInt32BE(12)).toBe(OptionReply.ErrorTooBig);
    await client.reader.read(reply.readUInt32BE(16));
    await client.hungUp();
    client.socket.end();
    while (server.connectionCount > 0) await new Promise(setImmediate);
  });

  test("does not keep the connection of a client that neither reads nor leaves", async () => {
    const { server, address } = await serve({ server: { handshakeTimeoutMs: 50 } });
    const client = await RawClient.greeted(address);
    client.socket.write(Buffer.alloc(64 * KiB));
    const sending = setInterval(() => client.socket.write(Buffer.alloc(64 * KiB)), 5);
    while (server.connectionCount > 0) await new Promise(setImmediate);
    clearInterval(sending);
    client.close();
  });
});

describe("memory that one client can take", () => {
  test("requests to warm a cache are counted by what they read at a time", async () => {
    const serving = await serve({ size: 8 * MiB, faulty: true, server: { maxBytes: 4 * MiB } });
    serving.faults.add({ operation: "read", hold: true, times: 0 });
    const client = await RawClient.open(serving.address, "disk");
    for (let index = 0; index < 64; index += 1) client.send({ command: Command.Cache, length: 2 * MiB });
    await serving.faults.waitForHeld("read");
    await witness(serving);
    const { held } = serving.faults;
    serving.faults.clear();
    serving.faults.release();
    expect(held).toHaveLength(4);
    for (let index = 0; index < 64; index += 1) expect((await client.reply()).error).toBe(0);
  });

  test("block status is counted by the extents it has room for", async () => {
    const serving = await serve({ size: 4 * MiB, server: { maxBytes: 256 * KiB } });
    const { server, node } = serving;
    await server.removeExport("disk");
    const bitmap = node.createDirtyBitmap({ name: "b", granularity: 512 });
    for (let at = 0; at < 4 * MiB; at += KiB) bitmap.bits.set(at, 1);
    server.addExport({ name: "disk", node, writable: true, bitmaps: ["b"] });
    const contexts = ["qemu:dirty-bitmap:b"];
    const greedy = await RawClient.open(serving.address, "disk", { form: "structured", contexts });
    greedy.reader.release();
    for (let index = 0; index < 200; index += 1) {
      greedy.send({ command: Command.BlockStatus, length: 4 * MiB });
    }
    await witness(serving);
    // Two that fit into the limit, and what the sockets' buffers took; each answer has 32 KiB.
    const answered = server.exports()[0]?.statistics().requests.blockStatus ?? 0;
    expect(answered).toBeGreaterThan(0);
    expect(answered).toBeLessThan(30);
  });

  test("a payload in single bytes takes no more than it has", async () => {
    const serving = await serve();
    const client = await RawClient.open(serving.address, "disk");
    const payload = pattern(3000);
    const bytes = client.encode({ command: Command.Write, payload });
    for (let at = 0; at < bytes.byteLength; at += 1) {
      client.socket.write(bytes.subarray(at, at + 1));
      if (at % 500 === 0) await new Promise(setImmediate);
    }
    expect((await client.reply()).error).toBe(0);
    const read = await client.ask({ command: Command.Read, length: 3000 });
    expect(Buffer.compare(read.payload, payload)).toBe(0);
  });
});

describe("work that nobody waits for any more", () => {
  test("warming a cache ends with its client", async () => {
    const { server, address, faults } = await serve({ size: 64 * MiB, faulty: true });
    faults.add({ operation: "read", hold: true, times: 1 });
    const client = await RawClient.open(address, "disk");
    client.send({ command: Command.Cache, length: 64 * MiB });
    await faults.waitForHeld("read");
    const removed = server.removeExport("disk", "hard");
    await client.hungUp();
    faults.release();
    await removed;
    expect(faults.log.filter(({ operation }) => operation === "read")).toHaveLength(1);
  });
});

test("warming a cache does not keep a drain waiting for the rest of the disk", async () => {
  const { graph, node, address, faults } = await serve({ size: 64 * MiB, faulty: true });
  faults.add({ operation: "read", hold: true, times: 1 });
  const client = await RawClient.open(address, "disk");
  client.send({ command: Command.Cache, length: 64 * MiB });
  await faults.waitForHeld("read");
  const drained = graph.drain(node);
  faults.release();
  (await drained).end();
  expect((await client.reply()).error).toBe(0);
  expect(faults.log.filter(({ operation }) => operation === "read")).toHaveLength(1);
});

/** A server with a certificate, and little patience. */
async function tlsServer() {
  const directory = path.join(temporaryDirectory(), "pki");
  mkdirSync(directory);
  await makeCertificates(directory);
  const read = (name: string): Buffer => readFileSync(path.join(directory, name));
  const tls = { cert: read("server-cert.pem"), key: read("server-key.pem") };
  const serving = await serve({ server: { tls, handshakeTimeoutMs: 2000 } });
  return { ...serving, ca: read("ca-cert.pem") };
}

describe("clients that stop in the middle of TLS", () => {
  test("are dropped when their time is over, wherever they are", async () => {
    const { address, server, ca } = await tlsServer();
    const silent = await RawClient.greeted(address);
    expect(await silent.option(Option.StartTls)).toMatchObject([{ type: OptionReply.Ack }]);
    const secured = await RawClient.greeted(address);
    await secured.option(Option.StartTls);
    await secured.secure({ ca, servername: "localhost" });
    await Promise.all([silent.hungUp(), secured.hungUp()]);
    const garbled = await RawClient.greeted(address);
    await garbled.option(Option.StartTls);
    garbled.reader.release();
    garbled.socket.resume();
    const closed = new Promise((resolve) => garbled.socket.once("close", resolve));
    garbled.socket.write(Buffer.alloc(5000, 0x16));
    await closed;
    expect(server.clients()).toEqual([]);
    // Others are served.
    const good = await RawClient.greeted(address);
    await good.option(Option.StartTls);
    await good.secure({ ca, servername: "localhost" });
    expect((await good.option(Option.List)).at(-1)).toMatchObject({ type: OptionReply.Ack });
    expect(server.connectionCount).toBe(1);
  });
});
