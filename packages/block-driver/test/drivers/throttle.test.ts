import { EagerClock, FakeClock, type ThrottleLimits } from "@blockmirror/ratelimit";
import { describe, expect, test } from "vitest";
import {
  ExtentList,
  FaultController,
  ThrottleDevice,
  ThrottleGroup,
  type BlockEdge,
  type BlockGraph,
  type BlockNode,
} from "../../src/index.ts";
import { inMemory, runConformance } from "../conformance/subjects.ts";
import { failure, filled, isSettled, makeGraph, parent, settle } from "../support/graphs.ts";

const SIZE = 65_536;

interface Throttled {
  readonly clock: FakeClock;
  readonly graph: BlockGraph;
  readonly group: ThrottleGroup;
  /** Nodes of the group, each with a user and what its child was asked. */
  readonly members: readonly Member[];
}

interface Member {
  readonly node: BlockNode;
  readonly edge: BlockEdge;
  readonly below: FaultController;
}

async function throttled(limits: Partial<ThrottleLimits>, count = 1): Promise<Throttled> {
  const clock = new FakeClock();
  const graph = makeGraph();
  const group = new ThrottleGroup({ name: "g", limits, clock });
  const members: Member[] = [];
  for (let index = 0; index < count; index += 1) {
    const below = new FaultController();
    const node = await graph.open({
      driver: "throttle",
      nodeName: `t${index}`,
      group,
      file: { driver: "fault", controller: below, file: { driver: "memory", size: SIZE } },
    });
    members.push({ node, edge: graph.attach(node, parent(`user ${index}`)), below });
  }
  return { clock, graph, group, members };
}

/** The one member of a group. */
async function single(limits: Partial<ThrottleLimits>): Promise<Omit<Throttled, "members"> & Member> {
  const { members, ...rest } = await throttled(limits);
  const [member] = members;
  if (member === undefined) throw new Error("no member");
  return { ...rest, ...member };
}

/** Sends requests of 1000 bytes, and notes the names of those that settle in their order. */
function send(
  order: string[],
  name: string,
  edge: BlockEdge,
  direction: "read" | "write",
  count: number,
): void {
  for (let index = 0; index < count; index += 1) {
    const buffer = [new Uint8Array(1000)];
    const request = direction === "read" ? edge.read(0, buffer) : edge.write(0, buffer);
    void Promise.resolve(request).then(() => order.push(name));
  }
}

await runConformance([
  {
    name: "throttle without limits over memory",
    storage: inMemory((file) => ({ driver: "throttle", group: new ThrottleGroup({ name: "g" }), file })),
  },
  {
    name: "throttle with limits over memory",
    storage: inMemory((file) => ({
      driver: "throttle",
      group: new ThrottleGroup({
        name: "g",
        limits: { bpsTotal: 1_000_000, iopsRead: 500, iopsWrite: 300, iopsSize: 4096 },
        clock: new EagerClock(),
      }),
      file,
    })),
  },
]);

describe("a throttle node", () => {
  test("answers as its child does while there is room, and holds back what exceeds it", async () => {
    const { clock, edge } = await single({ bpsTotal: 10_000 });
    expect(edge.write(0, [filled(1000, 1)])).toBeUndefined();
    expect(edge.read(0, [filled(1000, 1)])).toBeUndefined();
    const third = Promise.resolve(edge.read(0, [filled(500, 1)]));
    await clock.advance(99);
    expect(await isSettled(third)).toBe(false);
    await clock.advance(1);
    await third;
    expect(clock.pendingTimers).toBe(0);
  });

  test("keeps the rate over time, whatever the sizes", async () => {
    const { clock, edge } = await single({ bpsTotal: 100_000 });
    const sizes = [1, 4096, 512, 20_000, 60_000, 7];
    let bytes = 0;
    const work = (async () => {
      for (let index = 0; index < 300; index += 1) {
        const size = sizes[index % sizes.length] ?? 1;
        await edge.write(0, [new Uint8Array(size)]);
        bytes += size;
      }
    })();
    await clock.run(work);
    // Ahead by a tenth of a second at the most, and by the last request.
    expect(clock.now() / 1000).toBeGreaterThanOrEqual((bytes - 7 - 10_000) / 100_000 - 1e-6);
    expect(clock.now() / 1000).toBeLessThanOrEqual(bytes / 100_000);
  });

  test.each(["write", "writeZeroes", "discard"] as const)("counts a %s as a write", async (operation) => {
    const { clock, edge, below } = await single({ bpsWrite: 1000 });
    await edge.write(0, [filled(1100, 1)]);
    const run = {
      write: () => edge.write(0, [filled(512, 2)]),
      writeZeroes: () => edge.writeZeroes(0, 512),
      discard: () => edge.discard(0, 512),
    }[operation];
    const request = Promise.resolve(run());
    await edge.read(0, [new Uint8Array(512)]);
    below.clearLog();
    await clock.advance(999);
    expect(below.log).toEqual([]);
    await clock.run(request);
    expect(clock.now()).toBe(1000);
    expect(below.log.map((entry) => entry.operation)).toEqual([operation]);
  });

  test("does not limit flushes, questions of status and resizing", async () => {
    const { edge, clock } = await single({ bpsTotal: 1, iopsTotal: 1 });
    await edge.write(0, [filled(1000, 1)]);
    await edge.flush();
    await edge.status(0, SIZE, new ExtentList());
    await edge.resize(SIZE * 2);
    expect(clock.now()).toBe(0);
  });

  test("counts requests that fail", async () => {
    const { edge, below } = await single({ bpsTotal: 1000 });
    below.add({ operation: "write", error: "EIO" });
    await failure("EIO", () => edge.write(0, [filled(2000, 1)]));
    expect(await isSettled(Promise.resolve(edge.read(0, [new Uint8Array(1)])))).toBe(false);
  });

  test("refuses what is no group, and leaves the group when it cannot be opened", async () => {
    const graph = makeGraph();
    const file = { driver: "memory", size: SIZE };
    const group = new ThrottleGroup({ name: "g" });
    await failure("EINVAL", () => graph.open({ driver: "throttle", group: "g", file }));
    await failure("EINVAL", () => graph.open({ driver: "throttle", file }));
    await failure("EINVAL", () => graph.open({ driver: "throttle", group, file: "nobody" }));
    expect(group.memberCount).toBe(0);
    const node = await graph.open({ driver: "throttle", group, file });
    expect(group.memberCount).toBe(1);
    await graph.close(node);
    expect(group.memberCount).toBe(0);
  });
});

describe("members of a group", () => {
  test("share its limits, one request each in turn", async () => {
    const { clock, members } = await throttled({ bpsTotal: 10_000 }, 3);
    const order: string[] = [];
    const edges = members.map(({ edge }) => edge);
    for (const [index, edge] of edges.entries())
      send(order, "abc"[index] ?? "", edge, "read", [8, 3, 1][index] ?? 0);
    await settle();
    // Two fill the bucket: no other member had asked by then.
    expect(order.join("")).toBe("aa");
    await clock.advance(2000);
    expect(order.join("")).toBe("aaabcababaaa");
  });

  test("do not wait behind one that keeps many requests waiting", async () => {
    const { clock, members } = await throttled({ iopsTotal: 10 }, 2);
    const [greedy, modest] = members;
    if (greedy === undefined || modest === undefined) throw new Error("two members");
    const order: string[] = [];
    send(order, "g", greedy.edge, "read", 1000);
    await settle();
    for (let turn = 0; turn < 20; turn += 1) {
      const request = Promise.resolve(modest.edge.read(0, [new Uint8Array(1)]));
      // One request of the other's at the most comes before.
      const before = order.length;
      await clock.run(request, 200.1);
      expect(order.length - before).toBeLessThanOrEqual(1);
    }
  });

  test("reads and writes take turns where they share a limit", async () => {
    const { clock, edge } = await single({ bpsTotal: 10_000 });
    const order: string[] = [];
    send(order, "r", edge, "read", 8);
    send(order, "w", edge, "write", 4);
    await clock.advance(3000);
    expect(order.join("")).toBe("rrrwrwrwrwrr");
  });

  test("whoever comes does not pass those who wait, even when their timer is late", async () => {
    const { clock, edge } = await single({ bpsTotal: 10_000 });
    const order: string[] = [];
    send(order, "r", edge, "read", 2);
    send(order, "w", edge, "write", 1);
    clock.skip(500);
    send(order, "r", edge, "read", 1);
    await settle();
    expect(order.join("")).toBe("rrwr");
  });

  test("limits that change while requests wait take effect at once", async () => {
    const { clock, group, edge } = await single({ bpsTotal: 1000 });
    await edge.write(0, [filled(50_000, 1)]);
    const order: string[] = [];
    send(order, "r", edge, "read", 3);
    group.setLimits({ bpsTotal: 100_000 });
    await settle();
    // The debt of the old rate is forgotten, and the bucket of the new one is full: one goes at once.
    expect(order).toHaveLength(1);
    await clock.advance(10);
    expect(order).toHaveLength(2);
    group.setLimits({ bpsTotal: 0 });
    await settle();
    expect(order).toHaveLength(3);
    expect(clock.pendingTimers).toBe(0);
  });

  test("a limit that becomes lower makes requests that wait wait longer", async () => {
    const { clock, group, edge } = await single({ iopsTotal: 10 });
    await edge.read(0, [new Uint8Array(1)]);
    await edge.read(0, [new Uint8Array(1)]);
    const third = Promise.resolve(edge.read(0, [new Uint8Array(1)]));
    group.setLimits({ iopsTotal: 1 });
    // The bucket is full of what it holds now, a tenth of a request, and the next request goes.
    await third;
    const fourth = Promise.resolve(edge.read(0, [new Uint8Array(1)]));
    await clock.advance(999);
    expect(await isSettled(fourth)).toBe(false);
    await clock.advance(1);
    await fourth;
  });

  test("one that moves to another group takes its waiting requests along", async () => {
    const { clock, node, group, edge } = await single({ bpsTotal: 10 });
    await edge.write(0, [filled(1000, 1)]);
    const order: string[] = [];
    send(order, "r", edge, "read", 2);
    const other = new ThrottleGroup({ name: "other", limits: { iopsTotal: 1 }, clock });
    if (!(node.device instanceof ThrottleDevice)) throw new Error("not a throttle device");
    node.device.moveTo(other);
    expect([group.memberCount, other.memberCount, node.device.group]).toEqual([0, 1, other]);
    await settle();
    expect(order).toHaveLength(1);
    await clock.advance(1000);
    expect(order).toHaveLength(2);
    expect(clock.pendingTimers).toBe(0);
  });
});

describe("cancelling", () => {
  test("ends a request that waits, and lets the next one go in its place", async () => {
    const { clock, edge, below } = await single({ bpsTotal: 1000 });
    await edge.write(0, [filled(1100, 1)]);
    below.clearLog();
    const abort = new AbortController();
    const first = Promise.resolve(edge.write(0, [filled(30_000, 2)], { signal: abort.signal }));
    const second = Promise.resolve(edge.write(0, [filled(10, 3)]));
    abort.abort();
    await failure("ECANCELED", () => first);
    await clock.run(second);
    expect(clock.now()).toBe(1000);
    expect(below.log).toHaveLength(1);
    expect(clock.pendingTimers).toBe(0);
  });

  test("after a request went changes nothing", async () => {
    const { clock, edge } = await single({ bpsTotal: 1000 });
    await edge.write(0, [filled(1100, 1)]);
    const abort = new AbortController();
    const request = Promise.resolve(edge.write(0, [filled(10, 2)], { signal: abort.signal }));
    await clock.run(request);
    abort.abort();
    await settle();
    expect(clock.pendingTimers).toBe(0);
  });
});

describe("while it is drained", () => {
  test("what waits goes on, is charged, and what comes afterwards waits for it", async () => {
    const { clock, graph, node, edge } = await single({ bpsTotal: 1000 });
    const order: string[] = [];
    send(order, "w", edge, "write", 10);
    await settle();
    expect(order).toHaveLength(1);
    const section = await graph.drain(node);
    expect(order).toHaveLength(10);
    expect(clock.now()).toBe(0);
    section.end();
    const next = Promise.resolve(edge.read(0, [new Uint8Array(1)]));
    await clock.run(next);
    expect(clock.now()).toBe(9900);
  });

  test.each(["above", "at", "below"] as const)(
    "a section %s it does not wait for the limits",
    async (where) => {
      const clock = new FakeClock();
      const graph = makeGraph();
      const group = new ThrottleGroup({ name: "g", limits: { bpsTotal: 1 }, clock });
      const low = await graph.open({ driver: "memory", nodeName: "low", size: SIZE });
      const middle = await graph.open({ driver: "throttle", nodeName: "middle", group, file: "low" });
      const top = await graph.open({ driver: "raw", nodeName: "top", file: "middle" });
      const edge = graph.attach(top, parent("user"));
      await edge.write(0, [filled(1000, 1)]);
      const waiting = Promise.resolve(edge.write(0, [filled(1000, 2)]));
      const section = await graph.drain({ above: top, at: middle, below: low }[where]);
      await waiting;
      section.end();
      expect(clock.now()).toBe(0);
    },
  );

  test("a section on a backing file does not wait for the limits of the image above it", async () => {
    const clock = new FakeClock();
    const graph = makeGraph();
    const group = new ThrottleGroup({ name: "g", clock });
    const base = await graph.open({ driver: "memory", nodeName: "base", size: SIZE });
    await graph.open({ driver: "memory", nodeName: "store", size: 0 });
    await graph.create("qcow2", { file: "store", size: SIZE, backingFile: "base", backingFormat: "raw" });
    const file = { driver: "throttle", group, file: "store" };
    const top = await graph.open({ driver: "qcow2", file, backing: "base" });
    const edge = graph.attach(top, parent("user"));
    group.setLimits({ bpsTotal: 1 });
    const waiting = Promise.resolve(edge.write(0, [filled(1000, 2)]));
    expect(await isSettled(waiting)).toBe(false);
    // The request is above the backing file, and waits below the image, in another branch.
    const section = await graph.drain(base);
    await waiting;
    section.end();
    expect(clock.now()).toBe(0);
  });

  test("a job that works meanwhile is not held up; nested sections count", async () => {
    const { graph, node, clock } = await single({ bpsTotal: 1 });
    const job = graph.attach(node, parent("job", { onDrainBegin: () => {} }));
    const outer = await graph.drain(node);
    const inner = await graph.drain(node);
    await job.write(0, [filled(1000, 1)]);
    inner.end();
    await job.write(0, [filled(1000, 1)]);
    outer.end();
    expect(await isSettled(Promise.resolve(job.write(0, [filled(1, 1)])))).toBe(false);
    expect(clock.now()).toBe(0);
  });

  test("others of the group go on waiting", async () => {
    const { graph, members, clock } = await throttled({ bpsTotal: 1000 }, 2);
    const [first, second] = members;
    if (first === undefined || second === undefined) throw new Error("two members");
    await first.edge.write(0, [filled(1100, 1)]);
    const drained = Promise.resolve(first.edge.write(0, [filled(500, 1)]));
    const other = Promise.resolve(second.edge.write(0, [filled(500, 1)]));
    const section = await graph.drain(first.node);
    await drained;
    expect(await isSettled(other)).toBe(false);
    section.end();
    await clock.run(other);
    expect(clock.now()).toBe(1500);
  });
});

describe("closing", () => {
  test("does not wait for the limits: requests that wait go on first", async () => {
    const { graph, edge, below, clock } = await single({ bpsTotal: 1 });
    await edge.write(0, [filled(1000, 1)]);
    const waiting = Promise.resolve(edge.write(0, [filled(1000, 2)]));
    below.clearLog();
    await graph.closeAll();
    await waiting;
    expect(below.log.filter(({ operation }) => operation === "write")).toHaveLength(1);
    expect([clock.now(), clock.pendingTimers]).toEqual([0, 0]);
  });

  test("what is above a throttled file does not wait for the limits either", async () => {
    const clock = new FakeClock();
    const graph = makeGraph();
    const group = new ThrottleGroup({ name: "g", limits: { bpsTotal: 1 }, clock });
    const file = { driver: "throttle", group, file: { driver: "memory", size: SIZE } };
    const top = await graph.open({ driver: "raw", file });
    const edge = graph.attach(top, parent("user"));
    await edge.write(0, [filled(1000, 1)]);
    const waiting = Promise.resolve(edge.write(0, [filled(1000, 2)]));
    await graph.closeAll();
    await waiting;
    expect([clock.now(), group.memberCount]).toEqual([0, 0]);
  });
});
