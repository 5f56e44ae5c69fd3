import { describe, expect, test } from "vitest";
import { constrainedDriver, throughWrappers } from "../../src/conformance/index.ts";
import { BlockGraph, createDefaultRegistry } from "../../src/index.ts";
import { parent } from "../support/graphs.ts";
import { inFile, inMemory, runConformance } from "./subjects.ts";

await runConformance([
  ...throughWrappers({ name: "memory", storage: inMemory() }),
  ...throughWrappers({
    name: "raw over file",
    features: { persistent: true },
    storage: inFile((file) => ({ driver: "raw", file })),
  }),
]);

describe("the constrained driver", () => {
  const registry = createDefaultRegistry().register(constrainedDriver);
  const file = { driver: "memory", size: 65_536 };

  test("fails whoever calls its device against the contract", async () => {
    const graph = new BlockGraph({ registry });
    const limits = { block: 512, transfer: 4096, iovecs: 2 };
    const { device } = await graph.open({ driver: "constrained", ...limits, file });
    expect(() => device.read(1, [new Uint8Array(512)])).toThrow("not aligned to 512");
    expect(() => device.read(0, [new Uint8Array(8192)])).toThrow("at most 4096");
    expect(() =>
      device.read(
        0,
        [0, 1, 2].map(() => new Uint8Array(512)),
      ),
    ).toThrow("at most 2");
    expect(() => device.read(65_536, [new Uint8Array(512)])).toThrow("outside");
    expect(() => device.write?.(0, [new Uint8Array(100)])).toThrow("not aligned to 512");
    expect(() => device.writeZeroes?.(256, 512)).toThrow("not aligned to 512");
    expect(() => device.discard?.(256, 512)).toThrow("not aligned to 512");
  });

  test("fails whoever calls what it has not announced", async () => {
    const graph = new BlockGraph({ registry });
    const { device } = await graph.open({ driver: "constrained", members: "required", file });
    expect(() => device.write?.(0, [new Uint8Array(512)])).toThrow("not announced");
    expect(() => device.writeZeroes?.(0, 512)).toThrow("not announced");
    expect(() => device.discard?.(0, 512)).toThrow("not announced");
    expect(() => device.flush?.()).toThrow("not announced");
    await expect(device.resize?.(0)).rejects.toThrow("not announced");
  });

  test("is demanding of its size too", async () => {
    const graph = new BlockGraph({ registry });
    const odd = { driver: "memory", size: 1000 };
    await expect(graph.open({ driver: "constrained", block: 512, file: odd })).rejects.toMatchObject({
      code: "EINVAL",
    });
    const node = await graph.open({ driver: "constrained", block: 512, file });
    const edge = graph.attach(node, parent("user"));
    await expect(edge.resize(1000)).rejects.toMatchObject({ code: "EINVAL" });
    await edge.resize(1024);
    expect(node.size).toBe(1024);
  });
});
