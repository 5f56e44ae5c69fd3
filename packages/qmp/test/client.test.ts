import { writeFile } from "node:fs/promises";
import { describe, expect, expectTypeOf, it } from "vitest";

import { type BlockType, CommandTable, QmpClient, QmpError, QmpServerConnection } from "../src/index.ts";
import { FakePeer, GREETING } from "./support/fake-peer.ts";
import { SAMPLE_SCHEMA } from "./support/sample-server.ts";
import { afterTest, socketPair, socketPath } from "./support/sockets.ts";
import { waitUntil } from "./support/wait-until.ts";

async function connect(
  peer: FakePeer,
  options: Parameters<typeof QmpClient.connect>[1] = {},
): Promise<QmpClient> {
  const client = await QmpClient.connect(peer.path, options);
  afterTest(() => client.close());
  return client;
}

function event(name: string, data: object): string {
  return `{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "${name}", "data": ${JSON.stringify(data)}}\r\n`;
}

describe("connecting", () => {
  it("takes the greeting and negotiates", async () => {
    const peer = await FakePeer.start();
    const client = await connect(peer);
    expect(client.greeting).toEqual({
      version: { qemu: { major: 9, minor: 1, micro: 2 }, package: "p" },
      capabilities: ["oob"],
    });
    expect(peer.requests).toEqual([{ execute: "qmp_capabilities", id: expect.any(String) }]);
    expect(client.isOpen).toBe(true);
  });

  it("enables out-of-band execution when asked to and offered", async () => {
    const peer = await FakePeer.start();
    const client = await connect(peer, { oob: true });
    expect(peer.requests[0]?.["arguments"]).toEqual({ enable: ["oob"] });
    await client.executeUntyped("x-oob", {}, { oob: true });
    expect(peer.requests[1]).toMatchObject({ "exec-oob": "x-oob" });
    peer.greeting = GREETING.replace('"oob"', "");
    const without = await connect(peer, { oob: true });
    expect(without.isOobEnabled).toBe(false);
    await expect(without.executeUntyped("x-oob", {}, { oob: true })).rejects.toThrow(TypeError);
  });

  it("says that the monitor is busy when no greeting comes", async () => {
    const peer = await FakePeer.start();
    peer.greeting = undefined;
    await expect(QmpClient.connect(peer.path, { greetingTimeoutMs: 20 })).rejects.toMatchObject({
      name: "QmpError",
      code: "QMP_BUSY",
      message: expect.stringContaining(peer.path),
    });
  });

  it("gives up when the peer greets and then is silent", async () => {
    const peer = await FakePeer.start();
    peer.answers.set("qmp_capabilities", () => "");
    await expect(QmpClient.connect(peer.path, { negotiationTimeoutMs: 20 })).rejects.toMatchObject({
      name: "QmpError",
      code: "QMP_TIMEOUT",
      command: "qmp_capabilities",
      message: expect.stringContaining(peer.path),
    });
    await waitUntil(() => peer.sockets[0]?.readableEnded === true);
  });

  it.each([
    ["another protocol", "SSH-2.0-OpenSSH\r\n", "QMP_PARSE"],
    ["something else in JSON", '{"hello": 1}\r\n', "QMP_NOT_QMP"],
    ["an array", "[1]\r\n", "QMP_NOT_QMP"],
    ["a greeting without a version", '{"QMP": {}}', "QMP_NOT_QMP"],
  ])("refuses %s", async (_what, greeting, code) => {
    const peer = await FakePeer.start();
    peer.greeting = greeting;
    await expect(QmpClient.connect(peer.path)).rejects.toMatchObject({ code });
  });

  it("tells why a socket cannot be reached", async () => {
    const path = await socketPath();
    await expect(QmpClient.connect(path)).rejects.toMatchObject({
      code: "QMP_CONNECT",
      cause: { code: "ENOENT" },
    });
    await writeFile(path, "");
    await expect(QmpClient.connect(path)).rejects.toMatchObject({ code: "QMP_CONNECT" });
    await expect(QmpClient.connect("")).rejects.toThrow(TypeError);
  });

  it("gives up when told so, before and while it waits for the greeting", async () => {
    const peer = await FakePeer.start();
    peer.greeting = undefined;
    const reason = new Error("enough");
    await expect(QmpClient.connect(peer.path, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const connecting = QmpClient.connect(peer.path, { signal: controller.signal });
    await waitUntil(() => peer.sockets.length === 1);
    controller.abort(reason);
    await expect(connecting).rejects.toBe(reason);
  });

  it("fails when the peer hangs up instead of greeting", async () => {
    const peer = await FakePeer.start();
    peer.greeting = undefined;
    const connecting = QmpClient.connect(peer.path);
    connecting.catch(() => undefined);
    await waitUntil(() => peer.sockets.length === 1);
    peer.hangUp();
    await expect(connecting).rejects.toMatchObject({ code: "QMP_CLOSED" });
  });
});

describe("commands", () => {
  it("are typed by their names", async () => {
    const peer = await FakePeer.start();
    const client = await connect(peer);
    peer.answers.set("query-block-jobs", (id) => `{"return": [], "id": ${id}}`);
    const jobs = await client.execute("query-block-jobs");
    expectTypeOf(jobs).toEqualTypeOf<readonly BlockType<"BlockJobInfo">[]>();
    expect(jobs).toEqual([]);
    await client.execute("job-cancel", { id: "j" });
    expect(peer.requests.at(-1)).toMatchObject({ execute: "job-cancel", arguments: { id: "j" } });
    // @ts-expect-error the arguments are missing
    await client.execute("job-cancel");
    // @ts-expect-error there is no such command
    await client.execute("job-nonsense", {});
  });

  it("fail with the class and the description of the server", async () => {
    const peer = await FakePeer.start();
    const client = await connect(peer);
    peer.answers.set(
      "block-job-cancel",
      (id) => `{"id": ${id}, "error": {"class": "DeviceNotActive", "desc": "Block job 'x' not found"}}`,
    );
    const failure = client.execute("block-job-cancel", { device: "x" });
    await expect(failure).rejects.toBeInstanceOf(QmpError);
    await expect(failure).rejects.toMatchObject({
      code: "QMP_COMMAND_FAILED",
      errorClass: "DeviceNotActive",
      command: "block-job-cancel",
      message: expect.stringContaining("Block job 'x' not found"),
    });
  });

  it("count an unknown class as GenericError", async () => {
    const peer = await FakePeer.start();
    const client = await connect(peer);
    peer.answers.set("quit", (id) => `{"id": ${id}, "error": {"class": "BrandNew", "desc": "d"}}`);
    await expect(client.execute("quit")).rejects.toMatchObject({ errorClass: "GenericError" });
  });

  it("get an error without id when the server could not read them", async () => {
    const peer = await FakePeer.start();
    const client = await connect(peer);
    peer.answers.set("quit", () => '{"error": {"class": "GenericError", "desc": "unreadable"}}');
    await expect(client.execute("quit")).rejects.toMatchObject({ code: "QMP_COMMAND_FAILED" });
  });

  it("may be answered in any order", async () => {
    const peer = await FakePeer.start();
    const client = await connect(peer);
    const ids: string[] = [];
    peer.answers.set("echo", (id) => {
      ids.push(id);
      return "";
    });
    const first = client.executeUntyped("echo");
    const second = client.executeUntyped("echo");
    await waitUntil(() => ids.length === 2);
    peer.say(`{"return": "second", "id": ${ids[1]}}{"return": "first", "id": ${ids[0]}}`);
    expect(await Promise.all([first, second])).toEqual(["first", "second"]);
  });

  it("keep 64-bit integers exact in both directions", async () => {
    const peer = await FakePeer.start();
    const client = await connect(peer);
    peer.answers.set("echo", (id) => `{"return": 18446744073709551615, "id": ${id}}`);
    expect(await client.executeUntyped("echo", { size: 9007199254740993n })).toBe(18446744073709551615n);
    expect(peer.requests.at(-1)?.["arguments"]).toEqual({ size: 9007199254740993n });
  });

  it("can be given up by signal and by time, and a late answer disturbs nobody", async () => {
    const peer = await FakePeer.start();
    const client = await connect(peer);
    const ids: string[] = [];
    peer.answers.set("echo", (id) => {
      ids.push(id);
      return "";
    });
    await expect(client.executeUntyped("echo", {}, { timeoutMs: 10 })).rejects.toMatchObject({
      code: "QMP_TIMEOUT",
      command: "echo",
    });
    const controller = new AbortController();
    const waiting = client.executeUntyped("echo", {}, { signal: controller.signal });
    const reason = new Error("not needed any more");
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await waitUntil(() => ids.length === 2);
    for (const id of ids) peer.say(`{"return": {}, "id": ${id}}`);
    expect(await client.execute("query-jobs")).toEqual({});
  });

  it("fail when the connection ends, and after that at once", async () => {
    const peer = await FakePeer.start();
    const client = await connect(peer);
    peer.answers.set("echo", () => "");
    const waiting = client.executeUntyped("echo");
    waiting.catch(() => undefined);
    await waitUntil(() => peer.requests.length === 2);
    peer.hangUp();
    await expect(waiting).rejects.toMatchObject({ code: "QMP_CLOSED" });
    expect(await client.closed).toMatchObject({ code: "QMP_CLOSED" });
    await expect(client.execute("query-jobs")).rejects.toMatchObject({ code: "QMP_CLOSED" });
    expect(client.isOpen).toBe(false);
  });

  it.each([
    ["broken JSON", '{"return": ^}', "QMP_PARSE"],
    ["an answer to nothing", '{"return": {}}', "QMP_NOT_QMP"],
    ["neither answer nor event", '{"id": "1"}', "QMP_NOT_QMP"],
  ])("fail when the peer sends %s", async (_what, text, code) => {
    const peer = await FakePeer.start();
    const client = await connect(peer);
    peer.say(text);
    expect(await client.closed).toMatchObject({ code });
  });
});

describe("events", () => {
  it("come in order to every iterator, none is lost between two turns", async () => {
    const peer = await FakePeer.start();
    const client = await connect(peer);
    const [one, two] = [client.events(), client.events()];
    peer.say(event("JOB_STATUS_CHANGE", { id: "a", status: "created" }));
    peer.say(event("JOB_STATUS_CHANGE", { id: "a", status: "running" }) + event("NEWER_THAN_WE", {}));
    const names: string[] = [];
    for await (const each of one) {
      if (each.event === "JOB_STATUS_CHANGE") {
        expectTypeOf(each.data.status).toEqualTypeOf<BlockType<"JobStatus">>();
        names.push(each.data.status);
      } else {
        names.push(each.event);
        break;
      }
    }
    expect(names).toEqual(["created", "running", "NEWER_THAN_WE"]);
    expect((await two.next()).value).toEqual({
      event: "JOB_STATUS_CHANGE",
      data: { id: "a", status: "created" },
      timestamp: { seconds: 1, microseconds: 2 },
    });
    expect(await one.next()).toEqual({ value: undefined, done: true });
  });

  it("may lack data and timestamp", async () => {
    const peer = await FakePeer.start();
    const client = await connect(peer);
    const events = client.events();
    peer.say('{"event": "STOP"}');
    expect((await events.next()).value).toEqual({
      event: "STOP",
      data: {},
      timestamp: { seconds: -1, microseconds: -1 },
    });
  });

  it("end with the signal, with the client, and with the error that ended the connection", async () => {
    const peer = await FakePeer.start();
    const client = await connect(peer);
    const controller = new AbortController();
    const aborted = client.events({ signal: controller.signal });
    const waiting = aborted.next();
    controller.abort();
    expect(await waiting).toMatchObject({ done: true });
    expect(await client.events({ signal: controller.signal }).next()).toMatchObject({ done: true });

    const broken = client.events();
    peer.say("^");
    await expect(broken.next()).rejects.toMatchObject({ code: "QMP_PARSE" });
    expect(await broken.next()).toMatchObject({ done: true });
    await expect(client.events().next()).rejects.toMatchObject({ code: "QMP_PARSE" });

    const another = await connect(peer);
    const closing = another.events().next();
    await another.close();
    expect(await closing).toMatchObject({ done: true });
    await another.close();
  });

  it("serve one consumer per iterator", async () => {
    const peer = await FakePeer.start();
    const client = await connect(peer);
    const events = client.events();
    const first = events.next();
    await expect(events.next()).rejects.toThrow(TypeError);
    await events.return?.();
    expect(await first).toMatchObject({ done: true });
  });
});

describe("our own server", () => {
  it("and our own client understand each other over any stream", async () => {
    const { near, far } = await socketPair();
    const table = new CommandTable(SAMPLE_SCHEMA).add(SAMPLE_SCHEMA, { echo: ({ value }) => value ?? null });
    const connection = new QmpServerConnection(far, table, {
      version: { qemu: { major: 7, minor: 2, micro: 1 }, package: "ours" },
    });
    await using client = await QmpClient.over(near, "pair");
    expect(client.name).toBe("pair");
    expect(await client.executeUntyped("echo", { value: { text: "é\u0000", big: 2n ** 60n } })).toEqual({
      text: "é\u0000",
      big: 2n ** 60n,
    });
    const events = client.events();
    connection.sendEvent("HELLO", { to: "you" });
    expect((await events.next()).value).toMatchObject({ event: "HELLO", data: { to: "you" } });
  });
});
