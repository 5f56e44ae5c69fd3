import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  ALL_PERMISSIONS,
  PassThroughDevice,
  type BlockEdge,
  type BlockGraph,
  type BlockNode,
  type FilterInit,
  type MaybePromise,
} from "../../src/index.ts";
import { failure, filled, makeGraph, parent, readBytes } from "../support/graphs.ts";
import "../support/seed.ts";

function pass(nodeName: string, init: Partial<FilterInit> = {}): FilterInit {
  return { nodeName, device: (child) => new PassThroughDevice("pass", child), ...init };
}

async function disk(): Promise<{ readonly graph: BlockGraph; readonly node: BlockNode }> {
  const graph = makeGraph();
  return { graph, node: await graph.open({ driver: "memory", nodeName: "disk", size: 4096 }) };
}

const WRITER_ALONE = { uses: ["read", "write"], shares: ["read"] } as const;

describe("inserting and removing a filter", () => {
  test("parents use the filter and then the node again; an exclusive writer stays exclusive", async () => {
    const { graph, node } = await disk();
    const user = graph.attach(node, { name: "user", ...WRITER_ALONE });
    const filter = await graph.insertFilter(node, pass("filter"));
    expect(user.node).toBe(filter);
    await user.write(0, [filled(4, 1)]);
    await failure("EBUSY", () => graph.attach(node, parent("past")));
    await failure("EBUSY", () => graph.attach(filter, parent("second")));
    await graph.removeFilter(filter);
    expect(user.node).toBe(node);
    expect(graph.find("filter")).toBeUndefined();
    expect(filter.isOpen).toBe(false);
    expect(node.parents).toEqual(new Set([user]));
    expect(await readBytes(user, 0, 4)).toEqual(filled(4, 1));
    await failure("EBUSY", () => graph.attach(node, parent("second")));
  });

  test("parents can be kept below", async () => {
    const { graph, node } = await disk();
    const kept = graph.attach(node, parent("kept"));
    const moved = graph.attach(node, parent("moved"));
    const filter = await graph.insertFilter(node, pass("filter", { keepBelow: (edge) => edge === kept }));
    expect([kept.node, moved.node]).toEqual([node, filter]);
    await graph.removeFilter(filter);
    expect([kept.node, moved.node]).toEqual([node, node]);
  });

  test("a filter that shares no 'write' is never written past", async () => {
    const { graph, node } = await disk();
    const user = graph.attach(node, parent("user"));
    const filter = await graph.insertFilter(node, pass("filter", { shares: ["read"] }));
    const error = await failure("EBUSY", () => graph.attach(node, parent("past")));
    for (const part of ["past", "'filter'", "write"]) expect(error.message).toContain(part);
    graph.attach(node, parent("reader", { uses: ["read"] }));
    const second = graph.attach(filter, parent("second"));
    await second.write(0, [filled(1, 1)]);
    await user.write(1, [filled(1, 2)]);
    await graph.removeFilter(filter);
    expect(await readBytes(user, 0, 2)).toEqual(Uint8Array.of(1, 2));
    graph.attach(node, parent("past"));
  });

  test("it is refused while somebody below writes, and everything is as before", async () => {
    const { graph, node } = await disk();
    const kept = graph.attach(node, parent("kept"));
    const user = graph.attach(node, parent("user"));
    const init = pass("filter", { shares: ["read"], keepBelow: (edge) => edge === kept });
    const error = await failure("EBUSY", () => graph.insertFilter(node, init));
    expect(error.message).toContain("kept");
    expect(graph.find("filter")).toBeUndefined();
    expect(node.parents).toEqual(new Set([kept, user]));
    expect([kept.node, user.node]).toEqual([node, node]);
    await user.write(0, [filled(1, 1)]);
    await graph.detach(kept);
    await graph.insertFilter(node, init);
  });

  test("a rolled back insertion closes the filter's device; one that cannot be made leaves no node", async () => {
    const { graph, node } = await disk();
    const kept = graph.attach(node, parent("kept"));
    let closed = 0;
    class Counting extends PassThroughDevice {
      override async close(): Promise<void> {
        closed += 1;
      }
    }
    await failure("EBUSY", () =>
      graph.insertFilter(node, {
        nodeName: "filter",
        device: (child) => new Counting("counting", child),
        shares: [],
        keepBelow: () => true,
      }),
    );
    expect(closed).toBe(1);
    const broken = pass("filter", {
      device: () => {
        throw new Error("cannot");
      },
    });
    await expect(graph.insertFilter(node, broken)).rejects.toThrow("cannot");
    expect(graph.nodes()).toEqual([node]);
    expect(node.parents).toEqual(new Set([kept]));
    await graph.insertFilter(node, pass("filter"));
  });

  test("removal is rolled back when the parents exclude each other without the filter", async () => {
    const { graph, node } = await disk();
    const user = graph.attach(node, parent("user"));
    const filter = await graph.insertFilter(node, pass("filter", { shares: ["read"] }));
    const other = await graph.open({ driver: "memory", nodeName: "other", size: 4096 });
    graph.attach(other, { name: "keeper", uses: ["read"], shares: ["read"] });
    await failure("EBUSY", async () => {
      const section = await graph.drain(filter);
      try {
        await graph.removeFilter(filter, other);
      } finally {
        section.end();
      }
    });
    expect(user.node).toBe(filter);
    await user.write(0, [filled(1, 1)]);
    await failure("EBUSY", () => graph.attach(node, parent("past")));
    await graph.removeFilter(filter);
    expect(user.node).toBe(node);
  });

  test("only filters are removed; names are unique", async () => {
    const { graph, node } = await disk();
    await expect(graph.removeFilter(node)).rejects.toThrow(TypeError);
    await failure("EEXIST", () => graph.insertFilter(node, pass("disk")));
  });

  test("filters stack, and resizing goes through them", async () => {
    const { graph, node } = await disk();
    const user = graph.attach(node, parent("user"));
    const lower = await graph.insertFilter(node, pass("lower"));
    const upper = await graph.insertFilter(lower, pass("upper"));
    await user.resize(8192);
    expect([node.size, lower.size, upper.size]).toEqual([8192, 8192, 8192]);
    await graph.removeFilter(lower);
    expect(upper.child("filtered")?.node).toBe(node);
    await user.write(8000, [filled(1, 1)]);
    await graph.removeFilter(upper);
    expect(await readBytes(user, 8000, 1)).toEqual(filled(1, 1));
  });
});

/** Counts writes and answers later, so that requests are in flight while the graph changes. */
class SlowDevice extends PassThroughDevice {
  readonly #turn: () => Promise<void>;

  constructor(child: PassThroughDevice["child"], turn: () => Promise<void>) {
    super("slow", child);
    this.#turn = turn;
  }

  override write(offset: number, from: readonly Uint8Array[]): MaybePromise<void> {
    return this.#turn().then(() => super.write(offset, from));
  }

  override read(offset: number, into: readonly Uint8Array[]): MaybePromise<void> {
    return this.#turn().then(() => super.read(offset, into));
  }
}

const turn = (): Promise<void> => new Promise<void>(setImmediate);

test("property: live requests are neither lost nor failed while filters come and go and nodes are replaced", async () => {
  const BLOCK = 64;
  const change = fc.oneof(
    fc.constant("insert" as const),
    fc.constant("insert-exclusive" as const),
    fc.constant("remove" as const),
    fc.constant("replace" as const),
    fc.constant("drain" as const),
  );
  const request = fc.record({
    user: fc.nat(2),
    block: fc.nat(15),
    value: fc.integer({ min: 1, max: 255 }),
    kind: fc.constantFrom("write" as const, "zero" as const, "read" as const),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof({ weight: 3, arbitrary: request }, { weight: 1, arbitrary: change }), {
        maxLength: 60,
      }),
      async (steps) => {
        const graph = makeGraph();
        const storage = await graph.open({ driver: "memory", nodeName: "storage", size: 16 * BLOCK });
        // Two views of one storage, to switch between without losing data.
        let current = await graph.open({ driver: "fault", nodeName: "view1", file: "storage" });
        let views = 1;
        const users: BlockEdge[] = [0, 1, 2].map((index) => graph.attach(current, parent(`user ${index}`)));
        const filters: BlockNode[] = [];
        const model = new Uint8Array(16);
        // One request per block at a time: overlapping ones would have no defined order.
        const tails = new Map<number, Promise<void>>();
        const pending: Promise<void>[] = [];
        const changes: Promise<void>[] = [];
        let topology = Promise.resolve();
        let made = 0;
        const top = (): BlockNode => filters.at(-1) ?? current;
        const changeGraph = async (what: string): Promise<void> => {
          if (what === "insert" || what === "insert-exclusive") {
            made += 1;
            const shares = what === "insert" ? ALL_PERMISSIONS : (["read"] as const);
            filters.push(
              await graph.insertFilter(top(), {
                nodeName: `filter${made}`,
                device: (child) => new SlowDevice(child, turn),
                shares,
              }),
            );
          } else if (what === "remove") {
            const [filter] = filters.splice(Math.floor(filters.length / 2), 1);
            if (filter !== undefined) await graph.removeFilter(filter);
          } else if (what === "replace") {
            views += 1;
            const next = await graph.open({ driver: "fault", nodeName: `view${views}`, file: "storage" });
            const before = current;
            await graph.replace(before, next);
            current = next;
            await graph.close(before);
          } else {
            const section = await graph.drain(storage);
            expect(graph.nodes().every((node) => node.inFlight === 0)).toBe(true);
            await turn();
            expect(graph.nodes().every((node) => node.inFlight === 0)).toBe(true);
            section.end();
          }
        };
        for (const step of steps) {
          if (typeof step === "string") {
            topology = topology.then(() => changeGraph(step));
            changes.push(topology);
          } else {
            const user = users[step.user];
            if (user === undefined) throw new Error("no such user");
            const work = (tails.get(step.block) ?? Promise.resolve()).then(async () => {
              const offset = step.block * BLOCK;
              if (step.kind === "write") {
                await user.write(offset, [filled(BLOCK, step.value)]);
                model[step.block] = step.value;
              } else if (step.kind === "zero") {
                await user.writeZeroes(offset, BLOCK);
                model[step.block] = 0;
              } else {
                expect(await readBytes(user, offset, BLOCK)).toEqual(filled(BLOCK, model[step.block] ?? 0));
              }
            });
            tails.set(step.block, work);
            pending.push(work);
          }
          if (pending.length % 4 === 0) await Promise.resolve();
        }
        await Promise.all([...pending, ...changes]);
        const [user] = users;
        if (user === undefined) throw new Error("no user");
        for (const [block, value] of model.entries()) {
          expect(await readBytes(user, block * BLOCK, BLOCK)).toEqual(filled(BLOCK, value));
        }
        expect(graph.nodes().every((node) => node.inFlight === 0)).toBe(true);
        await graph.closeAll();
      },
    ),
    { numRuns: 60 },
  );
});
