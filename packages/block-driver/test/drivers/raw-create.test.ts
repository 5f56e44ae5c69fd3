import { describe, expect, test } from "vitest";
import { failure, filled, makeGraph, parent, readBytes } from "../support/graphs.ts";

async function onMemory(size: number) {
  const graph = makeGraph();
  const file = await graph.open({ driver: "memory", nodeName: "file", size });
  return { graph, file };
}

describe("creating a raw image", () => {
  test("gives its file the size, and keeps what it held", async () => {
    const { graph, file } = await onMemory(4096);
    const writer = graph.attach(file, parent("writer"));
    await writer.write(0, [filled(4096, 7)]);
    await graph.detach(writer);
    await graph.create("raw", { file: "file", size: 10_000 });
    expect(file.size).toBe(10_000);
    const user = graph.attach(file, { name: "user", uses: ["read"], shares: ["read", "write", "resize"] });
    expect(await readBytes(user, 0, 4096)).toEqual(filled(4096, 7));
    expect(await readBytes(user, 4096, 5904)).toEqual(filled(5904, 0));
    await graph.create("raw", { file: "file", size: 512, preallocation: "full" });
    expect(file.size).toBe(512);
    // The creation has let go of the file.
    expect(file.parents).toEqual(new Set([user]));
  });

  test("is content with a file of fixed size that is large enough", async () => {
    const { graph, file } = await onMemory(8192);
    const fixed = { driver: "strict", file: "file" };
    await graph.create("raw", { file: fixed, size: 4096 });
    await graph.create("raw", { file: fixed, size: 8192 });
    await failure("ENOTSUP", () => graph.create("raw", { file: fixed, size: 8193 }));
    expect(file.size).toBe(8192);
    expect(graph.nodes()).toEqual([file]);
  });

  test("needs to know what for, and refuses what it does not know", async () => {
    const { graph, file } = await onMemory(4096);
    await failure("EINVAL", () => graph.create("raw", { size: 1 }));
    await failure("EINVAL", () => graph.create("raw", { file: "file" }));
    await failure("EINVAL", () => graph.create("raw", { file: "file", size: 1, cluster: 1 }));
    await failure("EINVAL", () => graph.create("raw", { file: "nowhere", size: 1 }));
    expect(file.size).toBe(4096);
  });

  test("passes a failure on and leaves nothing open", async () => {
    const { graph, file } = await onMemory(4096);
    const broken = { driver: "fault", file: "file", rules: [{ operation: "resize", error: "ENOSPC" }] };
    await failure("ENOSPC", () => graph.create("raw", { file: broken, size: 8192 }));
    expect(graph.nodes()).toEqual([file]);
    expect(file.parents.size).toBe(0);
  });

  test("does not resize under somebody who does not share it", async () => {
    const { graph, file } = await onMemory(4096);
    graph.attach(file, { name: "keeper", uses: ["read"], shares: ["read"] });
    const error = await failure("EBUSY", () => graph.create("raw", { file: "file", size: 8192 }));
    expect(error.message).toContain("keeper");
    expect(file.size).toBe(4096);
  });
});
