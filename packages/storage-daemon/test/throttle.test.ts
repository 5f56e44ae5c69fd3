import {
  BlockError,
  ThrottleDevice,
  type BlockDriver,
  type BlockEdge,
  type DriverRegistry,
} from "@blockmirror/block-driver";
import { QmpClient, QmpError } from "@blockmirror/qmp";
import { EagerClock, FakeClock, type Clock } from "@blockmirror/ratelimit";
import { describe, expect, it } from "vitest";

import { createDaemonRegistry, Daemon, nullDriver, type NullOptions } from "../src/index.ts";
import { makeImage, rawNode } from "./support/images.ts";
import { Side } from "./support/sides.ts";

const KIB = 1024;
const SIZE = 4 * KIB * KIB;

/** A daemon with a throttled disk, and a guest that reaches it over NBD. */
class Throttled implements AsyncDisposable {
  readonly side: Side;
  readonly edge: BlockEdge;
  readonly #guest: Daemon;

  private constructor(side: Side, guest: Daemon, edge: BlockEdge) {
    this.side = side;
    this.#guest = guest;
    this.edge = edge;
  }

  static async start(clock: Clock, limits: Readonly<Record<string, number>>): Promise<Throttled> {
    const side = await Side.ours({ clock });
    const file = { driver: "memory", size: SIZE };
    await side.run("object-add", { "qom-type": "throttle-group", id: "g", limits });
    await side.run("blockdev-add", { driver: "throttle", "node-name": "t", "throttle-group": "g", file });
    const path = side.path("nbd.sock");
    await side.run("nbd-server-start", { addr: { type: "unix", data: { path } } });
    await side.run("block-export-add", { type: "nbd", id: "e", "node-name": "t", writable: true });
    const guest = new Daemon();
    const server = { type: "unix", path };
    const node = await guest.nodes.add({ driver: "nbd", "node-name": "d", server, export: "t" });
    const edge = guest.graph.attach(node, { name: "guest", uses: ["read", "write"], shares: [] });
    return new Throttled(side, guest, edge);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#guest.close();
    await this.side[Symbol.asyncDispose]();
  }
}

/** Keeps four requests of 64 KiB on their way until all are done. */
async function writeAll(edge: BlockEdge, count: number): Promise<void> {
  const length = 64 * KIB;
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) {
      await edge.write((index * length) % SIZE, [Buffer.alloc(length, 1)]);
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
}

describe("a guest of a throttled export", () => {
  it("gets the bytes per second of the group", async () => {
    const clock = new EagerClock();
    await using disk = await Throttled.start(clock, { "bps-total": 1_000_000 });
    const count = 200;
    await writeAll(disk.edge, count);
    const seconds = clock.now() / 1000;
    const bytes = count * 64 * KIB;
    // A tenth of a second and the last request may be ahead.
    expect(seconds).toBeGreaterThan((bytes - 64 * KIB) / 1_000_000 - 0.1 - 1e-6);
    expect(seconds).toBeLessThan(bytes / 1_000_000);
  });

  it("gets the requests per second of the group, large ones counted by their size", async () => {
    const clock = new EagerClock();
    await using disk = await Throttled.start(clock, { "iops-write": 100, "iops-size": 16 * KIB });
    await writeAll(disk.edge, 100);
    // Four requests each.
    expect(clock.now() / 1000).toBeGreaterThan(3.96 - 0.1 - 1e-6);
    expect(clock.now() / 1000).toBeLessThan(4);
  });

  it("goes on at once when the limit is raised while it waits", async () => {
    const clock = new FakeClock();
    await using disk = await Throttled.start(clock, { "bps-total": 1 });
    await disk.edge.write(0, [Buffer.alloc(KIB)]);
    const waiting = Promise.resolve(disk.edge.write(0, [Buffer.alloc(KIB)]));
    while (clock.pendingTimers === 0) await clock.settle();
    await disk.side.run("qom-set", { path: "g", property: "limits", value: { "bps-total": 0 } });
    await waiting;
    expect([clock.now(), clock.pendingTimers]).toEqual([0, 0]);
  });

  it("goes on waiting in the group that its node is moved to", async () => {
    const clock = new FakeClock();
    await using disk = await Throttled.start(clock, { "bps-total": 1 });
    const { side } = disk;
    await side.run("object-add", { "qom-type": "throttle-group", id: "free" });
    await disk.edge.write(0, [Buffer.alloc(KIB)]);
    const waiting = Promise.resolve(disk.edge.write(0, [Buffer.alloc(KIB)]));
    while (clock.pendingTimers === 0) await clock.settle();
    const file = { driver: "memory", size: SIZE };
    const options = [{ driver: "throttle", "node-name": "t", "throttle-group": "free", file }];
    await side.run("blockdev-reopen", { options });
    await waiting;
    await side.run("object-del", { id: "g" });
    expect(await side.ask("object-del", { id: "free" })).toEqual({ error: "GenericError" });
  });

  it.each(["nbd-server-stop", "block-export-del"])("does not hold up %s", async (command) => {
    const clock = new FakeClock();
    await using disk = await Throttled.start(clock, { "bps-total": 1 });
    await disk.edge.read(0, [Buffer.alloc(KIB)]);
    // The client may be gone before it has its answer.
    const waiting = Promise.resolve(disk.edge.read(0, [Buffer.alloc(KIB)])).catch(() => undefined);
    while (clock.pendingTimers === 0) await clock.settle();
    await disk.side.run(command, command === "block-export-del" ? { id: "e", mode: "hard" } : undefined);
    await disk.side.run("blockdev-del", { "node-name": "t" });
    await disk.side.run("object-del", { id: "g" });
    expect(clock.now()).toBe(0);
    await waiting;
  });
});

it("limits that are refused are called by the names they have in QMP", async () => {
  await using side = await Side.ours();
  const limits = { "iops-total": 5, "iops-total-max": 4 };
  const refused = side.run("object-add", { "qom-type": "throttle-group", id: "g", limits });
  await expect(refused).rejects.toThrow(QmpError);
  await expect(refused).rejects.toThrow("iops-total-max must not be below iops-total");
});

it("a job whose reads would wait for hours ends with the daemon", async () => {
  const clock = new FakeClock();
  await using side = await Side.ours({ clock });
  await makeImage(side, "src.raw", SIZE, 7);
  await makeImage(side, "dst.raw", SIZE, 0);
  await side.run("object-add", { "qom-type": "throttle-group", id: "g", limits: { "bps-read": 1 } });
  const file = rawNode(side, "src", "src.raw");
  await side.run("blockdev-add", { driver: "throttle", "node-name": "t", "throttle-group": "g", file });
  await side.run("blockdev-add", rawNode(side, "dst", "dst.raw"));
  await side.run("blockdev-mirror", { "job-id": "j", device: "t", target: "dst", sync: "full" });
  // The first read goes at once, and the others wait for it.
  while (clock.pendingTimers === 0) await clock.settle();
  await side.run("quit");
  const words = await side.eventsUntil((word) => word === "null");
  expect(words).toContain("BLOCK_JOB_CANCELLED");
  await side.daemon.ended;
});

/** Something that happens once, and that others wait for. */
class Moment {
  readonly reached: Promise<void>;
  reach: () => void = () => undefined;

  constructor() {
    this.reached = new Promise((resolve) => (this.reach = resolve));
  }
}

/** The drivers of a daemon, and `slow`, whose opening says that it has begun and waits for `outcome`. */
function withSlowDriver(outcome: Promise<void>, begun: () => void): DriverRegistry {
  const slow: BlockDriver<NullOptions> = {
    ...nullDriver,
    name: "slow",
    async open(options, context) {
      begun();
      await outcome;
      return nullDriver.open(options, context);
    },
  };
  return createDaemonRegistry().register(slow);
}

describe("a group that a node is about to join", () => {
  const group = { "qom-type": "throttle-group", id: "g" };
  const node = { driver: "throttle", "node-name": "t", "throttle-group": "g", file: { driver: "slow" } };

  it("cannot be removed while the node is being opened", async () => {
    const [begun, permitted] = [new Moment(), new Moment()];
    await using side = await Side.ours({ registry: withSlowDriver(permitted.reached, begun.reach) });
    await side.run("object-add", group);
    const adding = side.ask("blockdev-add", node);
    await begun.reached;
    const second = await QmpClient.connect(side.socketPath);
    const refused = second.executeUntyped("object-del", { id: "g" });
    await expect(refused).rejects.toMatchObject({ errorClass: "GenericError" });
    permitted.reach();
    expect(await adding).toEqual({ return: {} });
    // The node is limited by the group of that name, and the group is used by it.
    const device = side.daemon.graph.find("t")?.device;
    expect(device instanceof ThrottleDevice && device.group === side.daemon.objects.throttleGroup("g")).toBe(
      true,
    );
    expect(await side.ask("object-del", { id: "g" })).toEqual({ error: "GenericError" });
    await side.run("blockdev-del", { "node-name": "t" });
    await side.run("object-del", { id: "g" });
    await second.close();
  });

  it("can be removed when the opening has failed", async () => {
    const outcome = Promise.reject(new BlockError("EIO", "no such disk"));
    outcome.catch(() => undefined);
    await using side = await Side.ours({ registry: withSlowDriver(outcome, () => undefined) });
    await side.run("object-add", group);
    expect(await side.ask("blockdev-add", node)).toEqual({ error: "GenericError" });
    await side.run("object-del", { id: "g" });
  });
});
