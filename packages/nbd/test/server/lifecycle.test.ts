import { once } from "node:events";
import { chmodSync, existsSync, linkSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { ThrottleGroup, type BlockNode } from "@blockmirror/block-driver";
import { describe, expect, test, vi } from "vitest";
import { Command } from "../../src/protocol/constants.ts";
import { NbdErrno } from "../../src/protocol/errors.ts";
import { NbdServer, type NbdServerEvent } from "../../src/index.ts";
import { RawClient } from "./support/raw-client.ts";
import { contentOf, onCleanup, pattern, serve, temporaryDirectory } from "./support/serving.ts";

const MiB = 1024 * 1024;

/** A client whose writes to a disk that takes a byte a second have been begun: the second one waits for the first. */
async function waitingClient(): Promise<{
  readonly server: NbdServer;
  readonly client: RawClient;
  readonly slow: BlockNode;
}> {
  const { address, graph, server } = await serve();
  const group = new ThrottleGroup({ name: "slow", limits: { bpsTotal: 1 } });
  const slow = await graph.open({
    driver: "throttle",
    nodeName: "slow",
    group,
    file: { driver: "memory", size: MiB },
  });
  server.addExport({ name: "slow", node: slow, writable: true });
  const client = await RawClient.open(address, "slow");
  for (const value of [1, 2]) client.send({ command: Command.Write, payload: pattern(MiB, value) });
  expect((await client.reply()).error).toBe(0);
  while (slow.inFlight === 0) await new Promise(setImmediate);
  return { server, client, slow };
}

describe("requests that wait for a limit", () => {
  test("go on when the export is removed", async () => {
    const { server, slow } = await waitingClient();
    await server.removeExport("slow", "hard");
    expect([slow.inFlight, slow.parents.size]).toEqual([0, 0]);
  });

  test("are answered when the server closes", async () => {
    const { server, client, slow } = await waitingClient();
    await server.close();
    expect((await client.reply()).error).toBe(0);
    expect([slow.inFlight, slow.parents.size]).toEqual([0, 0]);
  });
});

test("a server may be closed after its graph", async () => {
  const { graph, server } = await serve();
  await graph.closeAll();
  await server.close();
  expect(server.exports()).toEqual([]);
});

describe("in the graph", () => {
  test("while the node is drained, requests wait and nothing is in flight; then they are answered in order", async () => {
    const { address, graph, node } = await serve();
    const client = await RawClient.open(address, "disk");
    const section = await graph.drain(node);
    client.send({ command: Command.Write, payload: pattern(4096, 1) });
    client.send({ command: Command.Write, payload: pattern(4096, 2) });
    client.send({ command: Command.Read, length: 4096 });
    // An answer to another connection shows that the server has had its turn.
    await RawClient.open(address, "disk");
    expect(node.inFlight).toBe(0);
    expect((await contentOfHeld(node.device, 4096)).every((byte) => byte === 0)).toBe(true);
    section.end();
    expect((await client.reply()).error).toBe(0);
    expect((await client.reply()).error).toBe(0);
    expect((await client.reply()).payload.equals(pattern(4096, 2))).toBe(true);
  });

  test("a drain waits for what is in flight", async () => {
    const { address, graph, node, faults } = await serve({ faulty: true });
    faults.add({ operation: "write", hold: true, times: 1 });
    const client = await RawClient.open(address, "disk");
    client.send({ command: Command.Write, payload: pattern(512) });
    await faults.waitForHeld("write");
    let isDrained = false;
    const drained = graph.drain(node).then((section) => {
      isDrained = true;
      return section;
    });
    await new Promise(setImmediate);
    expect(isDrained).toBe(false);
    faults.release();
    (await drained).end();
    expect((await client.reply()).error).toBe(0);
  });

  test("clients do not notice that the node is replaced, and no write is lost", async () => {
    const { address, graph, node, server } = await serve();
    const target = await graph.open({ driver: "memory", size: MiB, nodeName: "target" });
    const clients = await Promise.all([1, 2, 3].map(() => RawClient.open(address, "disk")));
    // Everything that was written before is carried over inside the drained section, as a mirror does.
    const progress = { writes: 0, isOver: false };
    const last = new Map<number, number>();
    const running = clients.map(async (client, index) => {
      while (!progress.isOver) {
        const block = index * 64 + (progress.writes % 64);
        progress.writes += 1;
        const salt = progress.writes;
        const payload = pattern(4096, salt);
        expect((await client.ask({ command: Command.Write, offset: block * 4096, payload })).error).toBe(0);
        last.set(block, salt);
        const back = await client.ask({ command: Command.Read, offset: block * 4096, length: 4096 });
        expect(back.payload.equals(payload)).toBe(true);
      }
    });
    let [from, to] = [node, target];
    for (let round = 0; round < 6; round += 1) {
      const enough = progress.writes + 30;
      while (progress.writes < enough) await new Promise(setImmediate);
      const above = await graph.drain(from);
      await to.device.write?.(0, [await contentOfHeld(from.device, MiB)]);
      graph.replaceNow(from, to);
      above.end();
      [from, to] = [to, from];
    }
    progress.isOver = true;
    await Promise.all(running);
    expect(server.exports()[0]?.node).toBe(from);
    const content = await contentOf(graph, from, 0, MiB);
    for (const [block, salt] of last) {
      expect(content.subarray(block * 4096, (block + 1) * 4096).equals(pattern(4096, salt))).toBe(true);
    }
    expect(progress.writes).toBeGreaterThan(180);
  });

  test("an export that conflicts with another user is refused, naming both", async () => {
    const { graph, server } = await serve();
    const other = await graph.open({ driver: "memory", size: 4096, nodeName: "other" });
    graph.attach(other, { name: "somebody", uses: ["write"], shares: ["read"] });
    expect(() => server.addExport({ name: "x", node: other, writable: true })).toThrow(
      expect.objectContaining({ code: "EBUSY" }),
    );
    expect(server.exports()).toHaveLength(1);
  });
});

/** What a device holds, past the graph, whose node may be drained. */
async function contentOfHeld(
  device: { read(offset: number, into: readonly Uint8Array[]): unknown },
  length: number,
): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  await device.read(0, [bytes]);
  return bytes;
}

describe("exports", () => {
  test("come and go while the server runs; safe removal refuses while there are clients, hard removal drops them", async () => {
    const { address, graph, server } = await serve();
    const node = await graph.open({ driver: "memory", size: 4096, nodeName: "more" });
    const events: NbdServerEvent["type"][] = [];
    onCleanup(server.subscribe(({ type }) => events.push(type)));
    server.addExport({ name: "more", node });
    expect(() => server.addExport({ name: "more", node })).toThrow(
      expect.objectContaining({ code: "EEXIST" }),
    );
    const client = await RawClient.open(address, "more");
    expect(server.clients()).toMatchObject([{ exportName: "more", isSecure: false }]);
    await expect(server.removeExport("more")).rejects.toMatchObject({ code: "EBUSY" });
    await server.removeExport("more", "hard");
    await client.hungUp();
    await graph.close(node);
    await expect(server.removeExport("more")).rejects.toMatchObject({ code: "ENOENT" });
    expect(events).toEqual(["export-added", "client-connected", "client-disconnected", "export-removed"]);
    expect((await (await RawClient.open(address, "disk")).ask({ command: Command.Flush })).error).toBe(0);
  });

  test("bad names, bitmaps and read-only nodes are refused before anything happens", async () => {
    const { graph, server, node } = await serve();
    const readOnly = await graph.open({
      driver: "raw",
      readOnly: true,
      file: { driver: "memory", size: 4096 },
    });
    for (const [init, code] of [
      [{ name: "x".repeat(4097), node }, "EINVAL"],
      [{ name: "a\0b", node }, "EINVAL"],
      [{ name: "b", node, bitmaps: ["none"] }, "EINVAL"],
      [{ name: "c", node: readOnly, writable: true }, "EROFS"],
    ] as const) {
      expect(() => server.addExport(init)).toThrow(expect.objectContaining({ code }));
    }
    expect(server.exports()).toHaveLength(1);
  });
});

/** What a killed server leaves behind: the name of a socket that nobody listens on. */
async function leaveStale(socket: string): Promise<void> {
  const dying = net.createServer().listen(socket);
  await once(dying, "listening");
  const kept = `${socket}.kept`;
  linkSync(socket, kept);
  dying.close();
  await once(dying, "close");
  renameSync(kept, socket);
}

describe("sockets", () => {
  test("only the owner may connect to a Unix socket, unless more is asked for", async () => {
    const { server, directory } = await serve();
    const mode = (name: string): number => statSync(path.join(directory, name)).mode & 0o777;
    expect(mode("nbd.sock")).toBe(0o600);
    await server.listen({ path: path.join(directory, "open.sock"), mode: 0o660 });
    expect(mode("open.sock")).toBe(0o660);
    await server.close();
    expect(existsSync(path.join(directory, "nbd.sock"))).toBe(false);
  });

  test("a live socket is not taken, a stale one is replaced, a file is left alone", async () => {
    const { graph, server, directory, address } = await serve();
    const other = new NbdServer({ graph });
    onCleanup(() => other.close());
    await expect(other.listen({ path: path.join(directory, "nbd.sock") })).rejects.toMatchObject({
      code: "EBUSY",
    });
    expect((await (await RawClient.open(address, "disk")).ask({ command: Command.Flush })).error).toBe(0);
    const stale = path.join(directory, "stale.sock");
    await leaveStale(stale);
    await server.listen({ path: stale });
    expect(
      (await (await RawClient.open({ path: stale }, "disk")).ask({ command: Command.Flush })).error,
    ).toBe(0);
    const file = path.join(directory, "file");
    writeFileSync(file, "precious");
    chmodSync(file, 0o644);
    await expect(server.listen({ path: file })).rejects.toMatchObject({ code: "EEXIST" });
    await expect(server.listen({ path: `/${"x".repeat(120)}` })).rejects.toMatchObject({ code: "EINVAL" });
  });

  test("a dead socket that several find at once is one server's, and nobody removes another one's", async () => {
    const { graph } = await serve();
    const socket = path.join(temporaryDirectory(), "nbd.sock");
    const listening = async (): Promise<NbdServer> => {
      const server = new NbdServer({ graph });
      onCleanup(() => server.close());
      await server.listen({ path: socket });
      return server;
    };
    for (let round = 0; round < 20; round += 1) {
      await leaveStale(socket);
      const attempts = await Promise.allSettled([1, 2, 3, 4].map(listening));
      const winners = attempts.flatMap((attempt) => (attempt.status === "fulfilled" ? [attempt.value] : []));
      expect(winners).toHaveLength(1);
      (await RawClient.greeted({ path: socket })).close();
      await winners[0]?.close();
      expect(existsSync(socket)).toBe(false);
    }
    const first = await listening();
    rmSync(socket);
    const second = await listening();
    await first.close();
    (await RawClient.greeted({ path: socket })).close();
    await second.close();
    expect(existsSync(socket)).toBe(false);
  });

  test("TCP is on this machine unless asked otherwise, and several listeners serve the same exports", async () => {
    const { server } = await serve();
    const address = await server.listen({ port: 0 });
    expect(address).toMatchObject({ host: "localhost" });
    const client = await RawClient.open(address, "disk");
    expect((await client.ask({ command: Command.Read, length: 100_000 })).payload).toHaveLength(100_000);
    expect(server.uris("disk")).toHaveLength(2);
    const { graph } = await serve();
    const other = new NbdServer({ graph });
    onCleanup(() => other.close());
    await expect(other.listen({ ...address })).rejects.toMatchObject({ code: "EBUSY" });
  });
});

describe("shutdown", () => {
  test("answers what is in flight, refuses what comes later, and frees the node", async () => {
    const { address, graph, node, server, faults } = await serve({ faulty: true });
    faults.add({ operation: "write", hold: true, times: 1 });
    const client = await RawClient.open(address, "disk");
    const idle = await RawClient.open(address, "disk");
    const waiting = await RawClient.greeted(address);
    client.send({ command: Command.Write, payload: pattern(512) });
    await faults.waitForHeld("write");
    const closed = server.close();
    await idle.hungUp();
    await waiting.hungUp();
    expect(node.parents.size).toBe(1);
    faults.release();
    expect((await client.reply()).error).toBe(0);
    await client.hungUp();
    await closed;
    expect(node.parents.size).toBe(0);
    await graph.close(node);
    await expect(server.listen({ path: path.join(temporaryDirectory(), "s") })).rejects.toMatchObject({
      code: "ESHUTDOWN",
    });
    expect(NbdErrno.ESHUTDOWN).toBe(108);
  });

  test("answers what had arrived by then", async () => {
    const { server, address } = await serve();
    const client = await RawClient.open(address, "disk");
    client.send({ command: Command.Read, length: 512 });
    const closed = server.close();
    expect(await client.reply()).toMatchObject({ error: 0, payload: Buffer.alloc(512) });
    await client.hungUp();
    await closed;
  });

  test("a client that has long been idle is not waited for, one that was just answered is", async () => {
    const { server, address } = await serve();
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    onCleanup(() => void vi.useRealTimers());
    const stubborn = async (): Promise<RawClient> => {
      const client = await RawClient.open(address, "disk");
      // It hears the server's goodbye and stays.
      client.socket.allowHalfOpen = true;
      onCleanup(() => client.close());
      return client;
    };
    const idle = await stubborn();
    expect((await idle.ask({ command: Command.Flush })).error).toBe(0);
    vi.advanceTimersByTime(1999);
    const busy = await stubborn();
    expect((await busy.ask({ command: Command.Flush })).error).toBe(0);
    vi.advanceTimersByTime(1);
    const closed = server.close();
    await idle.hungUp();
    await busy.hungUp();
    while (server.connectionCount > 1) await new Promise(setImmediate);
    for (let turn = 0; turn < 100; turn += 1) await new Promise(setImmediate);
    expect(server.clients()).toMatchObject([{ id: 2 }]);
    vi.advanceTimersByTime(1999);
    await closed;
  });

  test("carries out what was there already and waited for room", async () => {
    const { address, graph, node, server, faults } = await serve({
      faulty: true,
      server: { maxRequests: 2 },
    });
    faults.add({ operation: "write", hold: true, times: 2 });
    const client = await RawClient.open(address, "disk");
    const payloads = [0, 1, 2, 3, 4, 5].map((salt) => pattern(512, salt));
    const writes = payloads.map((payload, index) =>
      client.encode({ command: Command.Write, offset: index * 512, payload }),
    );
    client.socket.write(Buffer.concat(writes));
    await faults.waitForHeld("write");
    const closed = server.close();
    for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
    faults.release();
    for (const _ of writes) expect((await client.reply()).error).toBe(0);
    await client.hungUp();
    await closed;
    expect((await contentOf(graph, node, 0, 6 * 512)).equals(Buffer.concat(payloads))).toBe(true);
  });

  test("a client that goes on asking over TCP gets every answer that was given, however late it reads", async () => {
    const { server } = await serve({ size: 8 * MiB });
    const client = await RawClient.open(await server.listen({ host: "127.0.0.1", port: 0 }), "disk");
    client.reader.release();
    for (let index = 0; index < 8; index += 1) {
      client.send({ command: Command.Read, offset: index * MiB, length: MiB });
    }
    // Its answers are in the buffers of the system, or are given to it as it reads.
    await (await RawClient.open(server.addresses[0] ?? { path: "" }, "disk")).ask({ command: Command.Flush });
    const closed = server.close();
    for (let index = 0; index < 100; index += 1) {
      client.send({ command: Command.Flush });
      await new Promise(setImmediate);
    }
    let got = 0;
    client.socket.on("data", (chunk: Buffer) => {
      got += chunk.byteLength;
      if (client.socket.writable) client.send({ command: Command.Flush });
    });
    client.socket.resume();
    await new Promise((resolve) => client.socket.once("close", resolve));
    await closed;
    expect(got).toBeGreaterThanOrEqual(8 * (MiB + 16));
  });

  test("a client that does not take its answers is dropped after the grace time", async () => {
    const { address, server } = await serve({ size: 4 * MiB });
    const greedy = await RawClient.open(address, "disk");
    greedy.reader.release();
    for (let index = 0; index < 100; index += 1) greedy.send({ command: Command.Read, length: MiB });
    await (await RawClient.open(address, "disk")).ask({ command: Command.Flush });
    await server.close({ graceMs: 50 });
    expect(server.connectionCount).toBe(0);
  });
});

test("bad options are refused", async () => {
  const { graph } = await serve();
  expect(() => new NbdServer({ graph, maxConnections: 0 })).toThrow(RangeError);
  expect(() => new NbdServer({ graph, maxBytes: 1.5 })).toThrow(RangeError);
  expect(() => new NbdServer({ graph, tls: { cert: "x", key: "y", verifyClient: true } })).toThrow(TypeError);
  expect(() => new NbdServer({ graph, tls: { cert: "x", key: "y" } })).toThrow(Error);
});
