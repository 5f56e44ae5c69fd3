import { truncate } from "node:fs/promises";
import { lacksPeers } from "@blockmirror/peers";
import { isJsonObject, stringify, type JsonObject, type JsonValue } from "@blockmirror/qmp";
import { describe, it } from "vitest";

import { compare } from "./support/compare.ts";
import { exportOverNbd, qemuImg, runGuest } from "./support/qemu.ts";
import type { Side } from "./support/sides.ts";

const group = (id: string, more: JsonObject = {}): JsonObject => ({
  "qom-type": "throttle-group",
  id,
  ...more,
});

/** Makes groups `g1` and `g2`, and a throttled image `t` of the first. */
async function addThrottled(side: Side): Promise<void> {
  await qemuImg("create", "-q", "-f", "qcow2", side.path("base.qcow2"), "1M");
  await qemuImg(
    "create",
    "-q",
    "-f",
    "qcow2",
    "-b",
    side.path("base.qcow2"),
    "-F",
    "qcow2",
    side.path("a.qcow2"),
  );
  await side.run("object-add", group("g1", { limits: { "bps-total": 1_000_000_000, "iops-read": 100_000 } }));
  await side.run("object-add", group("g2"));
  const file = { driver: "file", filename: side.path("a.qcow2") };
  await side.run("blockdev-add", { driver: "qcow2", "node-name": "q", file });
  await side.run("blockdev-add", { driver: "throttle", "node-name": "t", "throttle-group": "g1", file: "q" });
}

/** A value with names of options in one order, sizes that the allocation decides left out, and the directory's name. */
function comparable(side: Side, value: JsonValue | undefined): unknown {
  if (typeof value === "string") {
    if (value.startsWith("json:")) return comparable(side, JSON.parse(value.slice(5)));
    return value.replaceAll(side.directory, "DIR");
  }
  if (Array.isArray(value)) return value.map((each: JsonValue) => comparable(side, each));
  if (typeof value === "bigint" || !isJsonObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name]) => name !== "actual-size" && name !== "dirty-flag")
      .map(([name, member]) => [name, comparable(side, member)]),
  );
}

/** What is shown of the nodes that have a name of a user's, in the order of their names. */
async function shown(side: Side, flat: boolean): Promise<unknown> {
  const nodes: readonly JsonObject[] = await side.client.execute("query-named-block-nodes", { flat });
  const named = new Map(nodes.map((node) => [JSON.stringify(node["node-name"]), node]));
  return [...named.keys()]
    .filter((name) => !name.startsWith('"#'))
    .toSorted()
    .map((name) => comparable(side, named.get(name)));
}

/** The edges of the graph by the names of their ends, with what they claim. */
async function edges(side: Side): Promise<unknown> {
  const { nodes, edges: all } = await side.client.execute("x-debug-query-block-graph");
  const names = new Map(nodes.map((node) => [node.id, node.name.replace(/^#block.*/, "#")]));
  return all
    .map((edge) => ({
      parent: names.get(edge.parent),
      child: names.get(edge.child),
      name: edge.name,
      perm: edge.perm.toSorted(),
      shared: edge["shared-perm"].toSorted(),
    }))
    .filter(({ parent }) => parent === "t")
    .toSorted((one, other) => String(one.child).localeCompare(String(other.child)));
}

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-img", "qemu-io"))(
  "throttling, as qemu-storage-daemon's",
  () => {
    const limits: readonly JsonObject[] = [
      {},
      { "bps-total": 1000 },
      { "bps-total": 1000, "bps-read": 1 },
      { "bps-total": 0, "bps-read": 4 },
      { "bps-read": 4, "bps-write": 5, "iops-read": 3, "iops-write": 4 },
      { "iops-total": 3, "iops-write-max": 4 },
      { "bps-total-max": 1000 },
      { "bps-total": 1000, "bps-total-max": 500 },
      { "bps-total": 1000, "bps-total-max": 1000 },
      { "bps-total": 1000, "bps-total-max": 5000, "bps-total-max-length": 0 },
      { "bps-total": 1000, "bps-total-max": 5000, "bps-total-max-length": 4_294_967_295 },
      { "bps-total": 1000, "bps-total-max": 5000, "bps-total-max-length": 4_294_967_296 },
      { "bps-total": 1000, "bps-total-max-length": 2 },
      { "bps-total": 1000, "bps-total-max-length": 1 },
      { "bps-total-max-length": 1 },
      { "bps-total-max-length": 5 },
      { "bps-total": 1, "bps-total-max": 1_000_000_000_000, "bps-total-max-length": 1000 },
      { "bps-total": 1, "bps-total-max": 1_000_000_000_000, "bps-total-max-length": 1001 },
      { "iops-total": -1 },
      { "iops-total": 1_000_000_000_000_000 },
      { "iops-total": 1_000_000_000_000_001 },
      { "iops-total": 18_000_000_000_000_000_000n },
      { "iops-size": 4096 },
      { "iops-read": 1, "iops-size": 4096 },
      { "bps-total": "x" },
      { "bps-total": 1.5 },
      { "bps-total": null },
      { bogus: 1 },
    ];
    it.each(limits.map((given) => [stringify(given), given] as const))(
      "a group with %s is made or refused, and shown",
      async (_text, given) => {
        const old = Object.fromEntries(Object.entries(given).map(([name, value]) => [`x-${name}`, value]));
        await compare(async (side) => [
          await side.ask("object-add", group("g", { limits: given })),
          await side.ask("qom-get", { path: "g", property: "limits" }),
          await side.ask("object-add", group("old", old)),
          await side.ask("qom-get", { path: "old", property: "limits" }),
        ]);
      },
    );

    it("objects have ids of their own, and go when nobody uses them", async () => {
      await compare(async (side) => {
        const seen: unknown[] = [];
        for (const options of [
          group("g"),
          group("g"),
          group("9bad"),
          group("a b"),
          group("both", { "x-bps-total": 7, limits: { "bps-total": 5, "iops-total": 6 } }),
          group("odd", { "x-bogus": 1 }),
          { id: "none" },
          { "qom-type": "throttle-group" },
        ]) {
          seen.push(await side.ask("object-add", options));
        }
        seen.push(await side.ask("qom-get", { path: "both", property: "limits" }));
        for (const id of ["g", "g", "nosuch"]) seen.push(await side.ask("object-del", { id }));
        return seen;
      });
    });

    it("properties are read and limits changed in the same way", async () => {
      await compare(async (side) => {
        await side.run("object-add", group("g", { limits: { "bps-total": 1000 } }));
        const seen: unknown[] = [];
        for (const path of ["g", "/objects/g", "objects/g", "/g", "/objects/nosuch", "nosuch", ""]) {
          seen.push(path, await side.ask("qom-get", { path, property: "type" }));
        }
        for (const property of [
          "x-bps-total",
          "x-bps-total-max-length",
          "x-iops-size",
          "x-bogus",
          "bps-total",
        ]) {
          seen.push(property, await side.ask("qom-get", { path: "g", property }));
        }
        const changes: readonly JsonObject[] = [
          { property: "limits", value: { "bps-total": 2000 } },
          { property: "limits", value: { "iops-total": 7 } },
          { property: "limits", value: { "iops-total-max": 70, "iops-total-max-length": 4 } },
          { property: "limits", value: { "iops-total": 0 } },
          { property: "limits", value: { "bps-read": 7 } },
          { property: "limits", value: { "bps-total": 0, "bps-read": 7 } },
          { property: "limits", value: {} },
          { property: "limits", value: { bogus: 1 } },
          { property: "limits", value: { "bps-read": "7" } },
          { property: "limits", value: "x" },
          { property: "limits", value: null },
          { property: "limits" },
          { property: "x-bps-total", value: 5 },
          { property: "bogus", value: {} },
          { property: "type", value: "x" },
        ];
        for (const change of changes) {
          seen.push(change, await side.ask("qom-set", { path: "g", ...change }));
          seen.push(await side.ask("qom-get", { path: "g", property: "limits" }));
        }
        seen.push(await side.ask("qom-set", { path: "nosuch", property: "limits", value: {} }));
        return seen;
      });
    });

    it("nodes are made and refused, and hold their group", async () => {
      await compare(async (side) => {
        await addThrottled(side);
        const seen: unknown[] = [];
        const nodes: readonly JsonObject[] = [
          { "throttle-group": "nosuch", file: "q" },
          { "throttle-group": "", file: "q" },
          { file: "q" },
          { "throttle-group": "g1" },
          { "throttle-group": "g1", file: "nosuch" },
          { "throttle-group": "g1", file: null },
          { "throttle-group": "g1", file: "q", limits: {} },
          { "throttle-group": "g2", file: "q", "read-only": true },
        ];
        for (const node of nodes) {
          seen.push(node, await side.ask("blockdev-add", { driver: "throttle", "node-name": "n", ...node }));
        }
        for (const [command, args] of [
          ["object-del", { id: "g1" }],
          ["blockdev-del", { "node-name": "q" }],
          ["blockdev-del", { "node-name": "t" }],
          ["object-del", { id: "g1" }],
          ["object-del", { id: "g2" }],
          ["block_resize", { "node-name": "n", size: 2_097_152 }],
          ["blockdev-del", { "node-name": "n" }],
          ["object-del", { id: "g2" }],
        ] as const) {
          seen.push(command, await side.ask(command, args));
        }
        return seen;
      });
    });

    it("nodes are shown alike", async () => {
      await compare(async (side) => {
        await addThrottled(side);
        return [await shown(side, true), await shown(side, false), await edges(side)];
      });
    });

    it("an image above a throttled file is shown alike", async () => {
      await compare(async (side) => {
        await qemuImg("create", "-q", "-f", "qcow2", side.path("a.qcow2"), "1M");
        // A whole number of sectors: QEMU shows files as if they were.
        await truncate(side.path("a.qcow2"), 262_144);
        await side.run("object-add", group("g1"));
        const inner = { driver: "file", filename: side.path("a.qcow2") };
        const file = { driver: "throttle", "node-name": "t", "throttle-group": "g1", file: inner };
        await side.run("blockdev-add", { driver: "qcow2", "node-name": "q", file });
        return [await shown(side, true), await shown(side, false)];
      });
    });

    it("reopening moves a node to another group", async () => {
      await compare(async (side) => {
        await addThrottled(side);
        await side.run("blockdev-add", {
          driver: "throttle",
          "node-name": "u",
          "throttle-group": "g1",
          file: "t",
        });
        const seen: unknown[] = [];
        const steps: readonly (readonly JsonObject[])[] = [
          [{ "throttle-group": "g2", file: "q" }],
          [{ "throttle-group": "nosuch", file: "q" }],
          [{ file: "q" }],
          [{ "throttle-group": "g1" }],
          [{ "throttle-group": "g2", file: "q", "read-only": true }],
          [{ "throttle-group": "g2", file: "q", "detect-zeroes": "on" }],
          [
            { "throttle-group": "g1", file: "q" },
            { "node-name": "u", "throttle-group": "nosuch", file: "t" },
          ],
        ];
        for (const step of steps) {
          const options = step.map((each) => ({ driver: "throttle", "node-name": "t", ...each }));
          seen.push(step, await side.ask("blockdev-reopen", { options }));
          seen.push(await side.ask("object-del", { id: "g2" }));
        }
        const options = [{ driver: "throttle", "node-name": "t", "throttle-group": "g1", file: "q" }];
        seen.push(await side.ask("blockdev-reopen", { options }), await shown(side, true));
        seen.push(await side.ask("object-del", { id: "g2" }), await side.ask("object-del", { id: "g1" }));
        return seen;
      });
    });

    it("a guest's requests come out the same", async () => {
      await compare(async (side) => {
        await addThrottled(side);
        await runGuest(await exportOverNbd(side, "t"), [
          "write -P 7 0 256k",
          "write -z 64k 64k",
          "discard 128k 64k",
          "read -P 7 0 64k",
          "read -P 0 64k 64k",
          "read -P 7 192k 64k",
          "flush",
        ]);
        await side.run("nbd-server-stop");
        return [
          await side.ask("blockdev-del", { "node-name": "t" }),
          await side.ask("object-del", { id: "g1" }),
        ];
      });
    });
  },
);
