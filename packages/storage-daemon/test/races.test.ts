import { once } from "node:events";
import net from "node:net";
import { join } from "node:path";
import { FaultController, type BlockGraph } from "@blockmirror/block-driver";
import type { JsonObject } from "@blockmirror/qmp";
import { describe, expect, it, vi } from "vitest";

import { Daemon } from "../src/index.ts";
import { afterTest, scratch } from "./support/daemon-process.ts";
import { MIB } from "./support/images.ts";

const MIRROR = { "job-id": "j", device: "src", target: "dst", sync: "full" };

/** Runs a command as a client would; a refusal is its result. */
function run(daemon: Daemon, command: string, args: JsonObject): Promise<unknown> {
  const prepared = daemon.commands.prepare(command, args, false);
  return prepared({ signal: new AbortController().signal }).catch((error: unknown) => error);
}

function nbdServerStart(daemon: Daemon, path: string): Promise<unknown> {
  return run(daemon, "nbd-server-start", { addr: { type: "unix", data: { path } } });
}

/** A daemon with nodes `src` and `dst`, and a guest whose write to `src` is held below. */
async function withBusySource(): Promise<{
  readonly daemon: Daemon;
  readonly graph: BlockGraph;
  /** Lets the write go on, and waits for it. */
  readonly release: () => Promise<void>;
}> {
  const controller = new FaultController();
  const daemon = new Daemon();
  afterTest(() => daemon.close());
  const { graph } = daemon;
  const file = { driver: "memory", size: MIB };
  const source = await graph.open({ driver: "fault", nodeName: "src", controller, file });
  await graph.open({ ...file, nodeName: "dst" });
  controller.add({ operation: "write", hold: true, times: 1 });
  const guest = graph.attach(source, {
    name: "the guest",
    uses: ["read", "write"],
    shares: ["read", "write", "write-unchanged"],
  });
  const writing = guest.write(0, [Buffer.alloc(512, 1)]);
  await controller.waitForHeld("write");
  return {
    daemon,
    graph,
    release: async () => {
      controller.release();
      await writing;
    },
  };
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise(setImmediate);
}

describe("a daemon that ends meanwhile", () => {
  it("ends a server that was being started", async () => {
    const path = join(await scratch(), "nbd.sock");
    const daemon = new Daemon();
    const starting = nbdServerStart(daemon, path);
    await daemon.close();
    await starting;
    const [error]: unknown[] = await once(net.connect(path), "error");
    expect(error).toMatchObject({ code: "ENOENT" });
  });

  it("waits for a server that is being stopped", async () => {
    const daemon = new Daemon();
    await nbdServerStart(daemon, join(await scratch(), "nbd.sock"));
    let isStopped = false;
    const stopping = run(daemon, "nbd-server-stop", {}).then(() => (isStopped = true));
    await daemon.close();
    expect(isStopped).toBe(true);
    await stopping;
  });

  it("gives up a node that is being opened, and opens no other", async () => {
    const path = join(await scratch(), "silent.sock");
    const silent = net.createServer().listen(path);
    afterTest(() => silent.close());
    const connected = once(silent, "connection");
    const daemon = new Daemon();
    const server = { type: "unix", path };
    const adding = run(daemon, "blockdev-add", { driver: "nbd", "node-name": "n", server });
    await connected;
    await daemon.close();
    expect(await adding).toMatchObject({ code: "ECANCELED" });
    const late = await run(daemon, "blockdev-add", { driver: "null-co", "node-name": "late" });
    expect(late).toMatchObject({ errorClass: "GenericError" });
    expect(await nbdServerStart(daemon, path)).toMatchObject({ errorClass: "GenericError" });
    expect(daemon.graph.nodes()).toEqual([]);
  });

  it("ends a job that waited for a guest's request to start, and starts no other", async () => {
    const { daemon, graph, release } = await withBusySource();
    const words: string[] = [];
    daemon.jobs.manager.subscribe(({ event, data }) => {
      words.push(event === "JOB_STATUS_CHANGE" ? data.status : event);
    });
    const starting = run(daemon, "blockdev-mirror", MIRROR);
    const closing = daemon.close();
    await turns(10);
    await release();
    await closing;
    expect(await starting).toEqual({});
    expect(words.slice(-3)).toEqual(["BLOCK_JOB_CANCELLED", "concluded", "null"]);
    expect(await run(daemon, "drive-mirror", { ...MIRROR, target: "/nowhere" })).toMatchObject({
      errorClass: "GenericError",
    });
    const filename = join(await scratch(), "late.raw");
    const options = { driver: "file", filename, size: 512 };
    expect(await run(daemon, "blockdev-create", { "job-id": "late", options })).toMatchObject({
      errorClass: "GenericError",
    });
    expect(daemon.jobs.list()).toEqual([]);
    expect(graph.nodes()).toEqual([]);
  });
});

it("an export goes although a request of a client hangs, and the monitor is not held up", async () => {
  const socket = join(await scratch(), "nbd.sock");
  const controller = new FaultController();
  const daemon = new Daemon();
  afterTest(() => daemon.close());
  afterTest(() => controller.release());
  const file = { driver: "memory", size: MIB };
  await daemon.graph.open({ driver: "fault", nodeName: "n", controller, file });
  await nbdServerStart(daemon, socket);
  const exported = { type: "nbd", id: "e", "node-name": "n", writable: true };
  await run(daemon, "block-export-add", exported);
  const guest = new Daemon();
  afterTest(() => guest.close());
  const server = { type: "unix", path: socket };
  const disk = await guest.nodes.add({ driver: "nbd", "node-name": "d", server, export: "n" });
  const edge = guest.graph.attach(disk, { name: "guest", uses: ["write"], shares: [] });
  controller.add({ operation: "write", hold: true, times: 1 });
  const writing = Promise.resolve(edge.write(0, [Buffer.alloc(512, 1)])).catch((error: unknown) => error);
  await controller.waitForHeld("write");
  const events: string[] = [];
  const tell = daemon.broadcast.bind(daemon);
  daemon.broadcast = (name, data, ...rest) => {
    events.push(name);
    tell(name, data, ...rest);
  };

  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  afterTest(() => void vi.useRealTimers());
  const removing = run(daemon, "block-export-del", { id: "e", mode: "hard" });
  vi.advanceTimersByTime(1000);
  expect(await removing).toEqual({});
  vi.useRealTimers();
  expect(daemon.exports.list()).toMatchObject([{ id: "e", "shutting-down": true }]);
  expect(await run(daemon, "block-export-del", { id: "e" })).toMatchObject({
    message: "Export 'e' is not found",
  });
  expect(await run(daemon, "block-export-add", exported)).toMatchObject({ errorClass: "GenericError" });
  expect(events).toEqual([]);

  // The server can only stop when nothing of it is in flight; what comes after is another export of that name.
  const stopping = run(daemon, "nbd-server-stop", {});
  await turns(10);
  controller.release();
  expect(await stopping).toEqual({});
  await nbdServerStart(daemon, socket);
  expect(await run(daemon, "block-export-add", exported)).toEqual({});
  await turns(10);
  expect(events).toEqual(["BLOCK_EXPORT_DELETED"]);
  expect(daemon.exports.list()).toMatchObject([{ id: "e", "shutting-down": false }]);
  await guest.close().catch(() => undefined);
  await writing;
});

it("the end of a job does not close the target of one that is about to start", async () => {
  const { daemon, graph, release } = await withBusySource();
  const target = join(await scratch(), "target.raw");
  const starting = run(daemon, "drive-mirror", { ...MIRROR, target, format: "raw", "node-name": "new" });
  while (graph.find("new")?.isOpen !== true) await turns(1);
  await run(daemon, "blockdev-create", {
    "job-id": "other",
    options: { driver: "file", filename: `${target}.other`, size: 512 },
  });
  await daemon.jobs.find("other").job.done;
  await turns(10);
  await release();
  expect(await starting).toEqual({});
  daemon.jobs.find("j").job.cancel({ force: true });
  await daemon.jobs.close();
  expect(graph.find("new")).toBeUndefined();
});
