import { expect, test } from "vitest";
import type { DeviceEvent } from "../../src/index.ts";
import { BlockGraph, createDefaultRegistry, WriteWatch } from "../../src/index.ts";
import { filled, parent } from "../support/graphs.ts";

test("tells once of a write that ends beyond the threshold, and keeps the highest end", async () => {
  const graph = new BlockGraph({ registry: createDefaultRegistry() });
  const node = await graph.open({ driver: "memory", size: 65_536 });
  const edge = graph.attach(node, parent("guest"));
  const told: number[] = [];
  node.writes.watch(8192, (amount) => told.push(amount));
  await edge.write(4096, [filled(4096, 1)]);
  await edge.discard(32_768, 4096);
  expect([told, node.writes.threshold, node.writes.highestEnd]).toEqual([[], 8192, 8192]);
  await edge.writeZeroes(12_288, 4096);
  await edge.write(20_480, [filled(512, 1)]);
  expect([told, node.writes.threshold, node.writes.highestEnd]).toEqual([[8192], 0, 20_992]);
  await graph.closeAll();
});

test("0 ends the watch; what is no offset is refused", () => {
  const watch = new WriteWatch();
  const told: number[] = [];
  watch.watch(1, (amount) => told.push(amount));
  watch.watch(0, (amount) => told.push(amount));
  watch.note(2 ** 40);
  expect(told).toEqual([]);
  for (const bad of [-1, 0.5, Number.NaN, 2 ** 53]) {
    expect(() => watch.watch(bad, () => undefined)).toThrow(RangeError);
  }
});

test("a graph tells of what its devices report, when the node has it in its events", async () => {
  const told: unknown[] = [];
  const graph = new BlockGraph({
    registry: createDefaultRegistry(),
    onDeviceEvent: (node, event: DeviceEvent) => told.push([node.name, event, node.events.at(-1) === event]),
  });
  const node = await graph.open({ driver: "memory", nodeName: "m", size: 512 });
  const warning = { type: "warning", message: "odd" } as const;
  const corruption = { type: "corruption", message: "bad", offset: 1 } as const;
  node.report(warning);
  node.report(corruption);
  node.report(corruption);
  expect(told).toEqual([
    ["m", warning, true],
    ["m", corruption, true],
  ]);
  await graph.closeAll();
});
