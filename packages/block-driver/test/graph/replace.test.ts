import { describe, expect, test } from "vitest";
import type { BlockEdge, BlockNode } from "../../src/index.ts";
import { disturbed, failure, filled, isSettled, makeGraph, parent, readBytes } from "../support/graphs.ts";

const memory = (nodeName: string, size = 4096): { driver: "memory" } & Record<string, unknown> => ({
  driver: "memory",
  nodeName,
  size,
});

function fileEdge(node: BlockNode): BlockEdge {
  const edge = node.child("file");
  if (edge === undefined) throw new Error(`node '${node.name}' has no file`);
  return edge;
}

describe("replacing a node", () => {
  test("leads every parent to the other node at one instant", async () => {
    const graph = makeGraph();
    const from = await graph.open(memory("from"));
    const to = await graph.open(memory("to"));
    const raw = await graph.open({ driver: "raw", readOnly: true, file: "from" });
    const users = [
      graph.attach(from, parent("a", { uses: ["read"] })),
      graph.attach(from, parent("b", { uses: ["read"] })),
    ];
    const maker = graph.attach(to, parent("maker"));
    maker.write(0, [filled(1, 5)]);
    await graph.detach(maker);
    await graph.replace(from, to);
    expect(from.parents.size).toBe(0);
    expect(users.map((edge) => edge.node)).toEqual([to, to]);
    expect(fileEdge(raw).node).toBe(to);
    for (const edge of [...users, graph.attach(raw, parent("c", { uses: ["read"] }))]) {
      expect(await readBytes(edge, 0, 1)).toEqual(filled(1, 5));
    }
  });

  test("waits for requests in flight, and later ones go to the new node", async () => {
    const { graph, node, edge, controller } = await disturbed();
    const to = await graph.open(memory("to", 64 * 1024));
    controller.add({ operation: "write", hold: true });
    const first = Promise.resolve(edge.write(0, [filled(1, 1)]));
    const replaced = graph.replace(node, to);
    const second = Promise.resolve(edge.write(1, [filled(1, 2)]));
    expect(await isSettled(replaced)).toBe(false);
    controller.release();
    await Promise.all([first, replaced, second]);
    expect(await readBytes(edge, 0, 2)).toEqual(Uint8Array.of(0, 2));
    expect(await readBytes(graph.attach(node, parent("old")), 0, 2)).toEqual(Uint8Array.of(1, 0));
  });

  test("parents inside the subtree of the new node stay, so that no loop arises", async () => {
    const graph = makeGraph();
    const base = await graph.open(memory("base"));
    const user = graph.attach(base, parent("user"));
    const filter = await graph.open({ driver: "fault", nodeName: "filter", file: "base" });
    await graph.replace(base, filter);
    expect(user.node).toBe(filter);
    expect(filter.child("filtered")?.node).toBe(base);
    await user.write(0, [filled(1, 1)]);
    await graph.replace(filter, base);
    expect(user.node).toBe(base);
  });

  test("is refused when the sizes differ, and nothing changes", async () => {
    const graph = makeGraph();
    const from = await graph.open(memory("from", 4096));
    const to = await graph.open(memory("to", 8192));
    const user = graph.attach(from, parent("user"));
    const error = await failure("EINVAL", () => graph.replace(from, to));
    expect(error.message).toMatch(/4096.*8192/);
    expect(user.node).toBe(from);
    await user.write(0, [filled(1, 1)]);
  });

  test("with one of another size leads overlays that are longer than neither, and nobody else", async () => {
    const graph = makeGraph();
    const from = await graph.open(memory("from", 64 * 1024));
    const to = await graph.open(memory("to", 128 * 1024));
    const overlay = async (name: string, size: number): Promise<BlockNode> => {
      await graph.open(memory(`${name}-file`, 0));
      await graph.create("qcow2", { file: `${name}-file`, size });
      return graph.open({ driver: "qcow2", nodeName: name, file: `${name}-file`, backing: "from" });
    };
    const small = await overlay("small", 64 * 1024);
    await graph.replace(from, to);
    expect(small.child("backing")?.node).toBe(to);
    await graph.replace(to, from);
    expect(small.child("backing")?.node).toBe(from);
    const large = await overlay("large", 65 * 1024);
    await failure("EINVAL", () => graph.replace(from, to));
    await graph.close(large);
    const user = graph.attach(from, parent("user", { uses: ["read"] }));
    await failure("EINVAL", () => graph.replace(from, to));
    await graph.detach(user);
    expect(small.child("backing")?.node).toBe(from);
  });

  test("is rolled back on a conflict of permissions", async () => {
    const graph = makeGraph();
    const from = await graph.open(memory("from"));
    const to = await graph.open(memory("to"));
    const users = [
      graph.attach(from, parent("reader", { uses: ["read"] })),
      graph.attach(from, parent("writer")),
    ];
    const keeper = graph.attach(to, { name: "keeper", uses: ["read"], shares: ["read"] });
    const error = await failure("EBUSY", () => graph.replace(from, to));
    for (const part of ["writer", "keeper", "'to'"]) expect(error.message).toContain(part);
    expect(users.map((edge) => edge.node)).toEqual([from, from]);
    expect(to.parents).toEqual(new Set([keeper]));
    await users[1]?.write(0, [filled(1, 1)]);
  });

  test("claims below filters follow their parents", async () => {
    const graph = makeGraph();
    const base = await graph.open(memory("base"));
    const filter = await graph.open({ driver: "fault", nodeName: "filter", file: "base" });
    const other = await graph.open(memory("other"));
    graph.attach(filter, parent("exclusive", { shares: [] }));
    await failure("EBUSY", () => graph.attach(base, parent("late")));
    await graph.replace(filter, other);
    graph.attach(base, parent("late"));
  });

  test("replaceNow wants the node drained, and unknown nodes are refused", async () => {
    const graph = makeGraph();
    const from = await graph.open(memory("from"));
    const to = await graph.open(memory("to"));
    expect(() => graph.replaceNow(from, to)).toThrow(TypeError);
    const section = await graph.drain(from);
    const kept = graph.attach(from, parent("kept", { uses: ["read"] }));
    const moved = graph.attach(from, parent("moved", { uses: ["read"] }));
    graph.replaceNow(from, to, (edge) => edge === kept);
    section.end();
    expect([kept.node, moved.node]).toEqual([from, to]);
    await graph.closeAll();
    await failure("ESHUTDOWN", () => graph.replace(from, to));
  });
});
