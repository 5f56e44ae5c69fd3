import { describe, expect, it, vi } from "vitest";

import { CommandTable, QmpServerConnection } from "../src/index.ts";
import { Dialogue } from "./support/dialogue.ts";
import { SAMPLE_SCHEMA, startSample } from "./support/sample-server.ts";
import { afterTest, socketPair } from "./support/sockets.ts";
import { waitUntil } from "./support/wait-until.ts";

const NEGOTIATE = '{"execute":"qmp_capabilities"}';

describe("negotiation", () => {
  it("greets at once, on one line that ends in CRLF", async () => {
    const { dialogue } = await startSample();
    expect(await dialogue.next()).toEqual({
      QMP: { version: { qemu: { major: 7, minor: 2, micro: 0 }, package: "test" }, capabilities: ["oob"] },
    });
    expect(dialogue.received).toMatch(/^[^\r\n]*\r\n$/);
  });

  it("runs nothing before it, and nothing of it twice", async () => {
    const { dialogue } = await startSample();
    await dialogue.next();
    const [early, negotiated, again, echoed] = await dialogue.ask(
      `{"execute":"echo","id":1}${NEGOTIATE}${NEGOTIATE}{"execute":"echo","id":[1,{"a":null}]}`,
      4,
    );
    expect(early).toMatchObject({ error: { class: "CommandNotFound" }, id: 1 });
    expect(negotiated).toEqual({ return: {} });
    expect(again).toMatchObject({ error: { class: "CommandNotFound" } });
    expect(echoed).toEqual({ return: {}, id: [1, { a: null }] });
  });

  it("sends no event before it", async () => {
    const { dialogue, connection } = await startSample();
    await dialogue.next();
    connection.sendEvent("EARLY", {});
    await dialogue.ask(NEGOTIATE);
    connection.sendEvent("LATE", { id: "é" }, { seconds: 5, microseconds: 6 });
    expect(await dialogue.next()).toEqual({
      event: "LATE",
      data: { id: "é" },
      timestamp: { seconds: 5, microseconds: 6 },
    });
    expect(dialogue.received).toContain("\\u00e9");
  });

  it("refuses capabilities that it did not offer", async () => {
    const { dialogue } = await startSample({ oob: false });
    expect(await dialogue.next()).toMatchObject({ QMP: { capabilities: [] } });
    const [refused] = await dialogue.ask('{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}');
    expect(refused).toMatchObject({ error: { class: "GenericError" } });
    expect(await dialogue.ask(NEGOTIATE)).toEqual([{ return: {} }]);
  });
});

describe("requests", () => {
  it.each([
    ["{'execute':'nope','id':'x'}", { error: { class: "CommandNotFound" }, id: "x" }],
    ['{"execute":"toString","id":2}', { error: { class: "CommandNotFound" }, id: 2 }],
    ['{"execute":}', { error: { class: "GenericError" } }],
    ['{"execute":"echo","bogus":1,"id":3}', { error: { class: "GenericError" }, id: 3 }],
    ["[1,2]", { error: { class: "GenericError" } }],
    ["7 ", { error: { class: "GenericError" } }],
    ['{"arguments":{}}', { error: { class: "GenericError" } }],
    ['{"execute":1,"id":4}', { error: { class: "GenericError" }, id: 4 }],
    ['{"execute":"echo","arguments":[]}', { error: { class: "GenericError" } }],
    ['{"execute":"echo","arguments":null,"id":5}', { error: { class: "GenericError" }, id: 5 }],
    ['{"execute":"echo","arguments":{"a":1},"id":1}', { error: { class: "GenericError" }, id: 1 }],
    ['{"execute":"hold","id":1}', { error: { class: "GenericError" }, id: 1 }],
    ['{"exec-oob":"echo","id":5}', { error: { class: "GenericError" }, id: 5 }],
    ["\x01", { error: { class: "GenericError" } }],
    [
      '{"execute":"fail","arguments":{"class":"DeviceNotFound"}}',
      { error: { class: "DeviceNotFound", desc: "gone" } },
    ],
    ['{"execute":"echo","id":18446744073709551615}', { return: {}, id: 18446744073709551615n }],
    ['{"execute":"echo","id":null}', { return: {}, id: null }],
    ['{"execute":"echo","arguments":{"value":9007199254740993}}', { return: 9007199254740993n }],
  ])("answers %s", async (text, answer) => {
    const { dialogue } = await startSample();
    await dialogue.next();
    await dialogue.ask(NEGOTIATE);
    const [first, after] = await dialogue.ask(`${text}\n{"execute":"echo","id":"after"}`, 2);
    expect(first).toMatchObject(answer);
    expect("id" in (first ?? {})).toBe("id" in answer);
    expect(after).toEqual({ return: {}, id: "after" });
  });

  it("tells its owner of a command that crashed, and the client that it failed", async () => {
    const told: unknown[] = [];
    const { dialogue } = await startSample({ onInternalError: (...args) => told.push(args) });
    await dialogue.next();
    const [, crashed] = await dialogue.ask(`${NEGOTIATE}{"execute":"crash","id":1}`, 2);
    expect(crashed).toEqual({ error: { class: "GenericError", desc: "a bug" }, id: 1 });
    expect(told).toEqual([[expect.any(TypeError), "crash"]]);
  });

  it("lists what it has", async () => {
    const { dialogue } = await startSample();
    await dialogue.next();
    const [, commands, schema] = await dialogue.ask(
      `${NEGOTIATE}{"execute":"query-commands"}{"execute":"query-qmp-schema"}`,
      3,
    );
    const names = Object.keys(SAMPLE_SCHEMA.commands).sort();
    expect(commands?.["return"]).toHaveLength(names.length);
    expect(schema?.["return"]).toContainEqual({
      name: "x-oob",
      "meta-type": "command",
      "arg-type": "x-oob-arg",
      "ret-type": "any",
      "allow-oob": true,
    });
  });
});

describe("order", () => {
  it("runs commands one after the other", async () => {
    const { dialogue, held, began } = await startSample();
    await dialogue.next();
    await dialogue.ask(NEGOTIATE);
    dialogue.send(
      '{"execute":"hold","arguments":{"name":"a"}}{"execute":"hold","arguments":{"name":"b"}}{"bad',
    );
    await waitUntil(() => began.length > 0);
    expect(began).toEqual(["a"]);
    held.get("a")?.();
    expect(await dialogue.next()).toEqual({ return: "a" });
    await waitUntil(() => began.length > 1);
    held.get("b")?.();
    expect(await dialogue.next()).toEqual({ return: "b" });
  });

  it("lets out-of-band commands overtake once they are enabled", async () => {
    const { dialogue, held } = await startSample();
    await dialogue.next();
    await dialogue.ask('{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}');
    const [first] = await dialogue.ask(
      '{"execute":"hold","arguments":{"name":"a"},"id":1}{"exec-oob":"x-oob","id":2}',
    );
    expect(first).toEqual({ return: "overtook", id: 2 });
    held.get("a")?.();
    expect(await dialogue.next()).toEqual({ return: "a", id: 1 });
    const [refused] = await dialogue.ask('{"exec-oob":"echo","id":5}');
    expect(refused).toMatchObject({ error: { class: "GenericError" }, id: 5 });
  });

  it("reads no further than a few commands ahead of the one that runs", async () => {
    const { dialogue, held, began } = await startSample();
    await dialogue.next();
    await dialogue.ask(NEGOTIATE);
    dialogue.send('{"execute":"hold","arguments":{"name":"a"}}');
    await waitUntil(() => began.length === 1);
    for (let index = 0; index < 100; index += 1) dialogue.send(`{"execute":"echo","id":${index}}`);
    held.get("a")?.();
    expect(await dialogue.next()).toEqual({ return: "a" });
    for (let index = 0; index < 100; index += 1) {
      expect(await dialogue.next()).toEqual({ return: {}, id: index });
    }
  });
});

describe("the end", () => {
  it("tells a running command that its client is gone", async () => {
    const { dialogue, connection, began, signals, hangUp } = await startSample();
    await dialogue.next();
    dialogue.send(`${NEGOTIATE}{"execute":"hold","arguments":{"name":"a"}}`);
    await waitUntil(() => began.length === 1);
    const [signal] = signals;
    hangUp();
    await connection.closed;
    expect(signal?.aborted).toBe(true);
    connection.sendEvent("LATE", {}); // nobody listens, nothing happens
  });

  it("answers what was asked before the client closed its side", async () => {
    const { dialogue, connection, endInput } = await startSample();
    dialogue.send(`${NEGOTIATE}{"execute":"echo","id":1}{"execute":"echo","id":2}`);
    endInput();
    await dialogue.next();
    const answers = [
      await dialogue.next(),
      await dialogue.next(),
      await dialogue.next(),
      await dialogue.next(),
    ];
    expect(answers.map((answer) => answer?.["id"])).toEqual([undefined, 1, 2, undefined]);
    await connection.closed;
  });

  it("closes though its client has stopped reading, after two seconds", async () => {
    const { near, far } = await socketPair();
    const version = { qemu: { major: 7, minor: 2, micro: 0 }, package: "test" };
    const connection = new QmpServerConnection(far, new CommandTable(SAMPLE_SCHEMA), { version });
    near.write(NEGOTIATE);
    await waitUntil(() => connection.isNegotiated);
    connection.sendEvent("LONG", { text: "x".repeat(4 * 1024 * 1024) });
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    afterTest(() => void vi.useRealTimers());
    const closing = connection.close();
    vi.advanceTimersByTime(1999);
    for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate);
    expect(far.destroyed).toBe(false);
    vi.advanceTimersByTime(1);
    await closing;
    expect(vi.getTimerCount()).toBe(0);
  });

  it("delivers what it has said before it closes", async () => {
    const { dialogue, connection } = await startSample();
    dialogue.send(NEGOTIATE);
    await waitUntil(() => connection.isNegotiated);
    connection.sendEvent("BYE", {});
    await connection.close();
    await dialogue.next();
    await dialogue.next();
    expect(await dialogue.next()).toMatchObject({ event: "BYE" });
    await connection.close();
  });

  it("answers all that a client asks for at once and reads, and others get their turn meanwhile", async () => {
    const { near, far } = await socketPair();
    const table = new CommandTable(SAMPLE_SCHEMA).add(SAMPLE_SCHEMA, { echo: () => [text] });
    const version = { qemu: { major: 7, minor: 2, micro: 0 }, package: "test" };
    const connection = new QmpServerConnection(far, table, { version, maxBacklogBytes: 1024 * 1024 });
    const text = "x".repeat(100_000);
    const dialogue = new Dialogue(near);
    await dialogue.next();
    await dialogue.ask(NEGOTIATE);
    let turns = 0;
    const turn = (): void => {
      turns += 1;
      turning = setImmediate(turn);
    };
    let turning = setImmediate(turn);
    const count = 100;
    dialogue.send(`{"execute":"echo"}\n`.repeat(count));
    for (let answered = 0; answered < count; answered += 1) {
      expect(await dialogue.next()).toEqual({ return: [text] });
    }
    clearImmediate(turning);
    expect(turns).toBeGreaterThan(1);
    await connection.close();
  });

  it("disconnects a client that does not read what piles up", async () => {
    const { near, far } = await socketPair();
    const table = new CommandTable(SAMPLE_SCHEMA);
    const connection = new QmpServerConnection(far, table, {
      version: { qemu: { major: 1, minor: 0, micro: 0 }, package: "" },
      maxBacklogBytes: 1024 * 1024,
    });
    near.on("error", () => undefined);
    near.write(NEGOTIATE);
    await waitUntil(() => connection.isNegotiated);
    const data = { text: "x".repeat(65_536) };
    for (let sent = 0; sent < 1000 && !far.destroyed; sent += 1) connection.sendEvent("E", data);
    expect(far.destroyed).toBe(true);
    await connection.closed;
  });
});

describe("the table", () => {
  it("refuses commands that the schema does not describe, and the same one twice", () => {
    const table = new CommandTable(SAMPLE_SCHEMA);
    const other = {
      types: {},
      events: {},
      commands: { other: { arguments: {}, returns: "any" } },
    } as const;
    expect(() => table.add(other, { other: () => null })).toThrow(TypeError);
    table.add(SAMPLE_SCHEMA, { echo: () => null });
    expect(() => table.add(SAMPLE_SCHEMA, { echo: () => null })).toThrow(/there already/);
    expect(table.names).toEqual(["qmp_capabilities", "query-commands", "query-qmp-schema", "echo"]);
  });
});

describe("any bytes", () => {
  it("never end the connection, and leave it usable", async () => {
    const { dialogue } = await startSample();
    await dialogue.next();
    await dialogue.ask(NEGOTIATE);
    let state = 12_345;
    const garbage = Buffer.alloc(20_000);
    for (let at = 0; at < garbage.length; at += 1) {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      garbage[at] = Math.floor(state / 65_536) % 256;
    }
    dialogue.send(garbage);
    dialogue.send('\x01\n{"execute":"echo","id":"still here"}');
    for (
      let message = await dialogue.next();
      message?.["id"] !== "still here";
      message = await dialogue.next()
    ) {
      expect(message).toMatchObject({ error: { class: "GenericError" } });
    }
  });

  it("of many clients that come and vanish mid-command do no harm", async () => {
    for (let index = 0; index < 50; index += 1) {
      const { dialogue, connection, hangUp } = await startSample();
      dialogue.send(`${NEGOTIATE}{"execute":"echo"}{"execute":"ec`);
      await dialogue.next();
      hangUp();
      await connection.closed;
      expect(connection.isNegotiated).toBe(true);
    }
  });
});
