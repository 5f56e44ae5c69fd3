import { describe, expect, test } from "vitest";
import { ALL_PERMISSIONS, type BlockGraph, type BlockNode, type Permission } from "../../src/index.ts";
import { failure, filled, makeGraph, parent } from "../support/graphs.ts";

async function disk(): Promise<{ readonly graph: BlockGraph; readonly node: BlockNode }> {
  const graph = makeGraph();
  return { graph, node: await graph.open({ driver: "memory", nodeName: "disk", size: 4096 }) };
}

function without(permission: Permission): readonly Permission[] {
  return ALL_PERMISSIONS.filter((other) => other !== permission);
}

describe("claims of two parents of a node", () => {
  test.each(ALL_PERMISSIONS)(
    "'%s' is refused to a newcomer when somebody does not share it",
    async (permission) => {
      const { graph, node } = await disk();
      graph.attach(node, { name: "keeper", uses: [], shares: without(permission) });
      const error = await failure("EBUSY", () =>
        graph.attach(node, { name: "newcomer", uses: [permission], shares: ALL_PERMISSIONS }),
      );
      for (const part of ["'disk'", "keeper", "newcomer", permission]) expect(error.message).toContain(part);
      expect(node.parents.size).toBe(1);
    },
  );

  test.each(ALL_PERMISSIONS)("nobody may stop sharing '%s' while somebody uses it", async (permission) => {
    const { graph, node } = await disk();
    graph.attach(node, { name: "user", uses: [permission], shares: ALL_PERMISSIONS });
    const error = await failure("EBUSY", () =>
      graph.attach(node, { name: "keeper", uses: [], shares: without(permission) }),
    );
    for (const part of ["'disk'", "keeper", "user", permission]) expect(error.message).toContain(part);
    expect(node.parents.size).toBe(1);
  });

  test("detaching gives the permission back", async () => {
    const { graph, node } = await disk();
    const keeper = graph.attach(node, { name: "keeper", uses: [], shares: ["read"] });
    await failure("EBUSY", () => graph.attach(node, parent("writer")));
    await graph.detach(keeper);
    graph.attach(node, parent("writer"));
  });
});

describe("changing a claim", () => {
  test("is refused on conflict, and the old claim stays", async () => {
    const { graph, node } = await disk();
    const reader = graph.attach(node, { name: "reader", uses: ["read"], shares: ["read"] });
    const other = graph.attach(node, { name: "other", uses: ["read"], shares: ALL_PERMISSIONS });
    await failure("EBUSY", () => graph.reclaim(other, { uses: ["write"], shares: ALL_PERMISSIONS }));
    expect(() => other.write(0, [filled(1, 1)])).toThrow(TypeError);
    graph.reclaim(reader, { uses: ["read"], shares: ["read", "write"] });
    graph.reclaim(other, { uses: ["write"], shares: ALL_PERMISSIONS });
    other.write(0, [filled(1, 1)]);
  });

  test("reaches through filters to the storage", async () => {
    const graph = makeGraph();
    const base = await graph.open({ driver: "memory", nodeName: "base", size: 4096 });
    const top = await graph.open({ driver: "fault", file: { driver: "fault", file: "base" } });
    const direct = graph.attach(base, { name: "direct", uses: ["read"], shares: ["read"] });
    const above = graph.attach(top, { name: "above", uses: ["read"], shares: ALL_PERMISSIONS });
    await failure("EBUSY", () => graph.reclaim(above, { uses: ["write"], shares: ALL_PERMISSIONS }));
    await graph.detach(direct);
    graph.reclaim(above, { uses: ["write"], shares: ["read"] });
    await failure("EBUSY", () => graph.attach(base, parent("direct")));
    graph.reclaim(above, { uses: ["read"], shares: ALL_PERMISSIONS });
    graph.attach(base, parent("direct"));
  });
});

describe("what an edge may do", () => {
  test("writing and resizing without the claim is a programmer's error", async () => {
    const { graph, node } = await disk();
    const edge = graph.attach(node, { name: "reader", uses: ["read"], shares: ALL_PERMISSIONS });
    expect(() => edge.write(0, [filled(1, 1)])).toThrow(TypeError);
    expect(() => edge.writeZeroes(0, 1)).toThrow(TypeError);
    expect(() => edge.discard(0, 1)).toThrow(TypeError);
    await expect(edge.resize(0)).rejects.toThrow(TypeError);
  });
});

describe("claims of a format on its children", () => {
  test("a writable format is alone with its file; a read-only one shares it with readers", async () => {
    const graph = makeGraph();
    const file = await graph.open({ driver: "memory", nodeName: "file", size: 4096 });
    const raw = await graph.open({ driver: "raw", nodeName: "raw", file: "file" });
    await failure("EBUSY", () => graph.attach(file, parent("writer")));
    await failure("EBUSY", () => graph.open({ driver: "raw", file: "file" }));
    await graph.close(raw);
    await graph.open({ driver: "raw", readOnly: true, file: "file" });
    await graph.open({ driver: "raw", readOnly: true, file: "file" });
    await failure("EBUSY", () => graph.open({ driver: "raw", file: "file" }));
  });

  test("a backing image cannot be written by others, but a commit may fold equal bytes in", async () => {
    const graph = makeGraph();
    const base = await graph.open({ driver: "memory", nodeName: "base", size: 512 });
    await graph.open({ driver: "layer", blocks: ".", backing: "base" });
    await failure("EBUSY", () => graph.attach(base, parent("writer", { uses: ["write"] })));
    graph.attach(base, parent("commit", { uses: ["read", "write-unchanged"] }));
  });
});
