import { describe, expect, test } from "vitest";
import { ExtentList } from "../../src/index.ts";
import { disturbed, filled, isSettled, makeGraph, parent, readBytes, settle } from "../support/graphs.ts";

describe("a drained section", () => {
  test("begins when what is in flight has settled, and not before", async () => {
    const { graph, node, edge, controller } = await disturbed();
    controller.add({ operation: "write", hold: true });
    const write = Promise.resolve(edge.write(0, [filled(512, 1)]));
    await controller.waitForHeld("write");
    const section = graph.drain(node);
    expect(await isSettled(section)).toBe(false);
    controller.release();
    await write;
    expect(node.inFlight).toBe(0);
    (await section).end();
  });

  test("holds every kind of request back and lets them go in order", async () => {
    const { graph, node, edge, controller } = await disturbed();
    const section = await graph.drain(node);
    controller.clearLog();
    const all = Promise.all([
      edge.write(0, [filled(512, 1)]),
      edge.read(0, [filled(512, 0)]),
      edge.writeZeroes(0, 512),
      edge.discard(512, 512),
      edge.status(0, 512, new ExtentList()),
      edge.resize(64 * 1024),
      edge.write(0, [filled(512, 2)]),
    ]);
    expect(await isSettled(all)).toBe(false);
    expect(controller.log).toEqual([]);
    section.end();
    await all;
    const order = controller.log.map(({ operation }) => operation);
    expect(order.filter((name) => name !== "resize")).toEqual([
      "write",
      "read",
      "writeZeroes",
      "discard",
      "status",
      "write",
    ]);
    expect(order).toContain("resize");
    expect(await readBytes(edge, 0, 512)).toEqual(filled(512, 2));
  });

  test("sections nest: requests flow when the last has ended; end is idempotent", async () => {
    const { graph, node, edge } = await disturbed();
    const first = await graph.drain(node);
    const second = await graph.drain(node);
    const write = Promise.resolve(edge.write(0, [filled(1, 1)]));
    first.end();
    first.end();
    expect(await isSettled(write)).toBe(false);
    second.end();
    await write;
  });

  test("that is given up before all is at rest holds nobody any more", async () => {
    const { graph, node, edge, controller } = await disturbed();
    controller.add({ operation: "write", hold: true });
    const write = Promise.resolve(edge.write(0, [filled(512, 1)]));
    await controller.waitForHeld("write");
    const giveUp = new AbortController();
    const section = graph.drain(node, { signal: giveUp.signal });
    const read = Promise.resolve(edge.read(4096, [filled(512, 0)]));
    expect(await isSettled(read)).toBe(false);
    giveUp.abort();
    await expect(section).rejects.toMatchObject({ code: "ECANCELED", node: node.name });
    await read;
    await expect(graph.drain(node, { signal: giveUp.signal })).rejects.toMatchObject({ code: "ECANCELED" });
    controller.release();
    await write;
    (await graph.drain(node)).end();
  });

  test("is not needed to wait for rest", async () => {
    const { graph, node, edge, controller } = await disturbed();
    controller.add({ operation: "write", hold: true });
    const write = Promise.resolve(edge.write(0, [filled(512, 1)]));
    await controller.waitForHeld("write");
    const idle = graph.idle(node);
    await edge.read(4096, [filled(512, 0)]);
    expect(await isSettled(idle)).toBe(false);
    controller.release();
    await Promise.all([write, idle]);
    expect(node.inFlight).toBe(0);
  });

  test("a cancelled request that waits is cancelled when it may go on", async () => {
    const { graph, node, edge } = await disturbed();
    const section = await graph.drain(node);
    const abort = new AbortController();
    const write = Promise.resolve(edge.write(0, [filled(1, 9)], { signal: abort.signal }));
    abort.abort();
    section.end();
    await expect(write).rejects.toMatchObject({ code: "ECANCELED" });
    expect(await readBytes(edge, 0, 1)).toEqual(filled(1, 0));
  });

  test("holds requests above through stacked nodes, and only those", async () => {
    const graph = makeGraph();
    const base = await graph.open({ driver: "memory", nodeName: "base", size: 4096 });
    const raw = await graph.open({ driver: "raw", file: { driver: "fault", file: "base" } });
    const other = await graph.open({ driver: "memory", size: 4096 });
    const top = graph.attach(raw, parent("top"));
    const beside = graph.attach(other, parent("beside"));
    const section = await graph.drain(base);
    const held = Promise.resolve(top.write(0, [filled(1, 1)]));
    beside.write(0, [filled(1, 1)]);
    expect(await isSettled(held)).toBe(false);
    section.end();
    await held;
    // Draining the top does not hold users of what is below.
    const upper = await graph.drain(raw);
    await graph.detach(top);
    const child = raw.child("file");
    expect(child).toBeDefined();
    child?.write(0, [filled(1, 2)]);
    upper.end();
  });

  test("requests admitted above run to their end though their child requests start later", async () => {
    const graph = makeGraph();
    const base = await graph.open({ driver: "memory", nodeName: "base", size: 64 * 1024 });
    const top = await graph.open({
      driver: "strict",
      align: { read: 512, write: 512 },
      later: true,
      file: "base",
    });
    const edge = graph.attach(top, parent("top"));
    // An unaligned write is a read and then a write below: the second starts after the section was asked for.
    const write = Promise.resolve(edge.write(100, [filled(1000, 3)]));
    const section = await graph.drain(base);
    expect(await isSettled(write)).toBe(true);
    section.end();
    expect(await readBytes(edge, 100, 1000)).toEqual(filled(1000, 3));
  });
});

describe("parents with drain callbacks", () => {
  test("are asked on every level, awaited, and told when it is over", async () => {
    const graph = makeGraph();
    const base = await graph.open({ driver: "memory", nodeName: "base", size: 4096 });
    const raw = await graph.open({ driver: "raw", file: "base" });
    const events: string[] = [];
    let quiet: (() => void) | undefined;
    graph.attach(
      raw,
      parent("job", {
        onDrainBegin: () => {
          events.push("begin");
          return new Promise<void>((resolve) => {
            quiet = resolve;
          });
        },
        onDrainEnd: () => events.push("end"),
      }),
    );
    const section = graph.drain(base);
    expect(await isSettled(section)).toBe(false);
    quiet?.();
    (await section).end();
    expect(events).toEqual(["begin", "end"]);
  });

  test("are not held at the edge: they finish what they began", async () => {
    const { graph, node } = await disturbed();
    const job = graph.attach(node, parent("job", { onDrainBegin: () => {} }));
    const section = await graph.drain(node);
    await job.write(0, [filled(1, 1)]);
    section.end();
  });

  test("that attach during a section are quiet from the start; nested sections count for each", async () => {
    const { graph, node } = await disturbed();
    let depth = 0;
    const counting = parent("late", {
      onDrainBegin: () => void (depth += 1),
      onDrainEnd: () => void (depth -= 1),
    });
    const first = await graph.drain(node);
    graph.attach(node, counting);
    expect(depth).toBe(1);
    const second = await graph.drain(node);
    expect(depth).toBe(2);
    first.end();
    second.end();
    expect(depth).toBe(0);
  });

  test("that are led to a node that is drained stay quiet until that is over, whoever they are above", async () => {
    const graph = makeGraph();
    const from = await graph.open({ driver: "memory", nodeName: "from", size: 4096 });
    const to = await graph.open({ driver: "memory", nodeName: "to", size: 4096 });
    const above = await graph.open({ driver: "raw", nodeName: "above", file: "from" });
    const held = { direct: 0, above: 0 };
    const counting = (who: keyof typeof held): Parameters<typeof graph.attach>[1] =>
      parent(who, {
        uses: [],
        onDrainBegin: () => void (held[who] += 1),
        onDrainEnd: () => void (held[who] -= 1),
      });
    graph.attach(from, counting("direct"));
    graph.attach(above, counting("above"));
    const section = await graph.drain(to);
    await graph.replace(from, to);
    expect(held).toEqual({ direct: 1, above: 1 });
    section.end();
    expect(held).toEqual({ direct: 0, above: 0 });
  });

  test("are told whether a section belongs to somebody who is changing the graph", async () => {
    const { graph, node } = await disturbed();
    const told: boolean[] = [];
    graph.attach(
      node,
      parent("asked", {
        onDrainBegin: ({ duringChange }) => void told.push(duringChange),
        onDrainEnd: () => {},
      }),
    );
    (await graph.drain(node)).end();
    (await graph.changing().drain(node)).end();
    expect(told).toEqual([false, true]);
    expect(graph.changing().find(node.name)).toBe(node);
  });

  test("that detach are not told any more", async () => {
    const { graph, node } = await disturbed();
    let ended = 0;
    const edge = graph.attach(
      node,
      parent("gone", { onDrainBegin: () => {}, onDrainEnd: () => void (ended += 1) }),
    );
    const section = await graph.drain(node);
    await graph.detach(edge);
    section.end();
    expect(ended).toBe(0);
  });

  test("that fail to become quiet end the section; the others are told", async () => {
    const { graph, node, edge } = await disturbed();
    let balance = 0;
    graph.attach(
      node,
      parent("fine", { onDrainBegin: () => void (balance += 1), onDrainEnd: () => void (balance -= 1) }),
    );
    graph.attach(node, parent("bad", { onDrainBegin: () => Promise.reject(new Error("cannot")) }));
    await expect(graph.drain(node)).rejects.toThrow("cannot");
    expect(balance).toBe(0);
    await edge.write(0, [filled(1, 1)]);
  });
});

test("a drain waits for requests that other parents hold in flight on the node", async () => {
  const { graph, node, controller } = await disturbed();
  const second = graph.attach(node, parent("second"));
  controller.add({ operation: "read", hold: true, times: 2 });
  const reads = [second.read(0, [filled(1, 0)]), second.read(1, [filled(1, 0)])];
  await settle();
  expect(controller.held).toHaveLength(2);
  const section = graph.drain(node);
  controller.held[0]?.release();
  expect(await isSettled(section)).toBe(false);
  controller.release();
  await Promise.all(reads);
  (await section).end();
});
