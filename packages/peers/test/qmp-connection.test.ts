import { mkdtemp, rm } from "node:fs/promises";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { PeerError } from "../src/error.ts";
import { QmpConnection } from "../src/qmp-connection.ts";

const GREETING = { QMP: { version: {}, capabilities: [] } };

/** A QMP server that answers with what the test scripted; the test writes events through `peer`. */
let directory: string;
let server: Server;
let peer: Socket;
let client: Socket;
let qmp: QmpConnection;

function send(...messages: readonly object[]): void {
  peer.write(messages.map((message) => `${JSON.stringify(message)}\r\n`).join(""));
}

function event(name: string, data: object = {}): object {
  return { event: name, data, timestamp: { seconds: 5, microseconds: 7 } };
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "blockmirror-qmp-"));
  const path = join(directory, "sock");
  server = createServer((socket) => {
    peer = socket;
    send(GREETING);
    let text = "";
    socket.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        const { execute, id, arguments: args } = JSON.parse(line);
        if (execute === "refuse") send({ id, error: { class: "GenericError", desc: "not today" } });
        else if (execute !== "ignore") send({ id, return: args ?? {} });
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  client = createConnection(path);
  qmp = await QmpConnection.open(client);
});

afterEach(async () => {
  qmp.fail(new PeerError("PEER_GONE", "test over"));
  await new Promise((resolve) => server.close(resolve));
  await rm(directory, { recursive: true, force: true });
});

describe("commands", () => {
  test("each gets the reply with its own id", async () => {
    const replies = await Promise.all([
      qmp.execute("a", { n: 1 }),
      qmp.execute("b", { n: 2 }),
      qmp.execute("c"),
    ]);
    expect(replies).toEqual([{ n: 1 }, { n: 2 }, {}]);
  });

  test("a refusal carries its class and names the command", async () => {
    await expect(qmp.execute("refuse")).rejects.toMatchObject({
      code: "QMP_ERROR",
      qmpClass: "GenericError",
      message: "QMP: refuse: not today",
    });
  });

  test("a connection that ends fails what waits and what comes later", async () => {
    const command = qmp.execute("ignore");
    const waiting = qmp.waitForEvent("NEVER");
    const both = Promise.allSettled([command, waiting]);
    await qmp.execute("sync");
    peer.destroy();
    for (const outcome of await both) expect(outcome).toMatchObject({ reason: { code: "PEER_GONE" } });
    await expect(qmp.execute("late")).rejects.toMatchObject({ code: "PEER_GONE" });
    await expect(qmp.waitForEvent("LATE")).rejects.toMatchObject({ code: "PEER_GONE" });
  });
});

describe("events", () => {
  test("one that came before anybody waited is not lost, and is taken only once", async () => {
    send(event("READY", { device: "j" }));
    await qmp.execute("sync");
    expect(qmp.queuedEvents).toHaveLength(1);
    await expect(qmp.waitForEvent("READY")).resolves.toEqual({
      event: "READY",
      data: { device: "j" },
      timestamp: { seconds: 5, microseconds: 7 },
    });
    expect(qmp.queuedEvents).toHaveLength(0);
  });

  test("the ones that do not match stay queued in order", async () => {
    const wanted = qmp.waitForEvent(["B", "C"], { match: { id: "x" } });
    send(event("A"), event("B", { id: "y" }), event("C", { id: "x" }), event("C", { id: "x" }));
    await expect(wanted).resolves.toMatchObject({ event: "C" });
    await qmp.execute("sync");
    expect(qmp.queuedEvents.map((queued) => queued.event)).toEqual(["A", "B", "C"]);
  });

  test("a message split over packets, even within a character, is one message", async () => {
    const wanted = qmp.waitForEvent("SPLIT");
    const bytes = Buffer.from(`${JSON.stringify(event("SPLIT", { text: "ü" }))}\r\n`);
    const middle = bytes.indexOf("ü") + 1;
    const before = client.bytesRead;
    peer.write(bytes.subarray(0, middle));
    while (client.bytesRead < before + middle) await new Promise((resolve) => setImmediate(resolve));
    peer.write(bytes.subarray(middle));
    await expect(wanted).resolves.toMatchObject({ data: { text: "ü" } });
  });

  test("a line that is not JSON ends the connection with that line in the message", async () => {
    const waiting = qmp.waitForEvent("READY");
    peer.write("segmentation fault\r\n");
    await expect(waiting).rejects.toMatchObject({
      code: "PEER_GONE",
      message: expect.stringContaining("segmentation fault"),
    });
  });

  test("nothing in time: says what came instead", async () => {
    send(event("OTHER"));
    await qmp.execute("sync");
    await expect(qmp.waitForEvent("READY", { timeoutMs: 1 })).rejects.toMatchObject({
      code: "PEER_TIMEOUT",
      message: expect.stringMatching(/READY.*OTHER/u),
    });
  });
});
