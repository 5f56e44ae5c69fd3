import { connect } from "node:net";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { lacksPeers, StorageDaemon } from "@blockmirror/peers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { BLOCK_SCHEMA, CommandTable, isJsonObject, QmpClient, QmpServerConnection } from "../src/index.ts";
import { Dialogue } from "./support/dialogue.ts";
import { afterTest, socketPair } from "./support/sockets.ts";

describe.skipIf(lacksPeers("qemu-storage-daemon"))("qemu-storage-daemon", () => {
  let daemon: StorageDaemon;
  beforeAll(async () => void (daemon = await StorageDaemon.start()));
  afterAll(() => daemon.stop());

  async function dial(): Promise<Dialogue> {
    const socket = connect(daemon.qmpSocketPath);
    afterTest(
      () =>
        new Promise<void>((resolve) => {
          socket.once("close", () => resolve());
          socket.destroy();
        }),
    );
    const dialogue = new Dialogue(socket);
    await dialogue.next();
    return dialogue;
  }

  it("is driven by the typed client: a mirror with its events", async () => {
    await writeFile(join(daemon.directory, "a"), Buffer.alloc(1024 * 1024, 7));
    await writeFile(join(daemon.directory, "b"), Buffer.alloc(1024 * 1024));
    await using client = await QmpClient.connect(daemon.qmpSocketPath, { oob: true });
    expect(client.greeting.version.qemu.major).toBeGreaterThanOrEqual(7);
    for (const name of ["a", "b"]) {
      const file = { driver: "file", filename: join(daemon.directory, name) } as const;
      await client.execute("blockdev-add", { driver: "raw", "node-name": name, file });
    }
    const events = client.events();
    await client.execute("blockdev-mirror", { "job-id": "j", device: "a", target: "b", sync: "full" });
    const seen: string[] = [];
    for await (const event of events) {
      seen.push(event.event === "JOB_STATUS_CHANGE" ? event.data.status : event.event);
      if (event.event === "BLOCK_JOB_READY") await client.execute("job-complete", { id: "j" });
      if (event.event === "JOB_STATUS_CHANGE" && event.data.status === "null") break;
    }
    expect(seen).toEqual([
      "created",
      "running",
      "ready",
      "BLOCK_JOB_READY",
      "waiting",
      "pending",
      "BLOCK_JOB_COMPLETED",
      "concluded",
      "null",
    ]);
    const nodes = await client.execute("query-named-block-nodes", { flat: true });
    expect(nodes.map((node) => node["node-name"])).toEqual(expect.arrayContaining(["a", "b"]));
    expect((await client.execute("query-qmp-schema")).length).toBeGreaterThan(100);
    await expect(client.execute("block-job-cancel", { device: "nosuch" })).rejects.toMatchObject({
      errorClass: "DeviceNotActive",
    });
  });

  it("is busy while it serves another client", async () => {
    await using first = await QmpClient.connect(daemon.qmpSocketPath);
    await expect(QmpClient.connect(daemon.qmpSocketPath, { greetingTimeoutMs: 200 })).rejects.toMatchObject({
      code: "QMP_BUSY",
    });
    expect(await first.execute("query-jobs")).toEqual([]);
  });

  it("has every command of the table, but for what is newer", async () => {
    await using client = await QmpClient.connect(daemon.qmpSocketPath);
    const names = new Set((await client.execute("query-commands")).map(({ name }) => name));
    const missing = Object.keys(BLOCK_SCHEMA.commands).filter((name) => !names.has(name));
    expect(missing.filter((name) => name !== "block-job-change")).toEqual([]);
  });

  it.each([
    '{"execute":}',
    '{"execute":"query-jobs","bogus":1}',
    "[1,2]",
    '"text"',
    '{"arguments":{}}',
    '{"execute":"query-jobs","arguments":[]}',
    '{"execute":"query-jobs","arguments":{"a":1},"id":1}',
    '{"execute":"nope","id":{"a":[1]}}',
    '{"exec-oob":"query-jobs","id":5}',
    '{"execute":"query-jobs","exec-oob":"query-jobs","id":3}',
    '{"execute":1,"id":3}',
    '{"execute":"blockdev-del","arguments":{"node-name":7},"id":4}',
    '{"execute":"blockdev-del","id":4}',
    "\x01",
    "}",
    "[}",
    "{]",
    "^ abc",
    '{"a" ^ 1}',
    '{"a":"x\ny"}',
    '{"a":1,"a":1}',
    '{"execute":"query-jobs","id":"\\ud800"}',
    '{"execute":"query-jobs","id":"\\q"}',
    '{"execute":"query-jobs","id":1.}',
    "nul",
    `${"[".repeat(1024)}${"]".repeat(1024)}`,
    "{'execute':'query-jobs','id':'it\\'s'}",
    '{"execute":"query-jobs","id":18446744073709551615}',
    '{"execute":"query-jobs","id":[1,{"b":2.5},null]}',
    '{"execute":"qmp_capabilities"}',
  ])("answers %s as we do: the same number of messages, classes, ids", async (text) => {
    const theirs = await dial();
    const { near, far } = await socketPair();
    const table = new CommandTable(BLOCK_SCHEMA).add(BLOCK_SCHEMA, {
      "query-jobs": () => [],
      "blockdev-del": () => undefined,
    });
    const server = new QmpServerConnection(far, table, {
      version: { qemu: { major: 7, minor: 2, micro: 0 }, package: "" },
    });
    afterTest(() => server.destroy());
    const ours = new Dialogue(near);
    await ours.next();

    const outline = async (dialogue: Dialogue): Promise<unknown[]> => {
      await dialogue.ask('{"execute":"qmp_capabilities"}');
      dialogue.send(Buffer.from(`${text}\n{"execute":"query-jobs","id":"last"}`, "latin1"));
      const answers: unknown[] = [];
      for (;;) {
        const message = await dialogue.next();
        if (message === undefined || message["id"] === "last") return [...answers, message];
        const { error } = message;
        answers.push({ ...message, error: isJsonObject(error) ? error["class"] : error });
      }
    };
    expect(await outline(ours)).toEqual(await outline(theirs));
  });
});
