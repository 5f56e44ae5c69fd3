import { lacksPeers, requirePeer, run } from "@blockmirror/peers";
import type { JsonObject } from "@blockmirror/qmp";
import { describe, it } from "vitest";

import { compare } from "./support/compare.ts";
import type { Side } from "./support/sides.ts";

async function qemuIo(...args: string[]): Promise<void> {
  await run(requirePeer("qemu-io"), args);
}

/** Three layers, each with a pattern of its own; only the uppermost is the monitor's. */
async function addChain(side: Side): Promise<void> {
  const layers = ["base", "middle", "top"];
  for (const [index, name] of layers.entries()) {
    const below = layers[index - 1];
    const backing = below === undefined ? [] : ["-b", below, "-F", "qcow2"];
    await run(requirePeer("qemu-img"), ["create", "-q", "-f", "qcow2", ...backing, side.path(name), "4M"]);
    await qemuIo("-f", "qcow2", "-c", `write -P ${index + 1} ${index}M 64k`, side.path(name));
  }
  const file = (name: string): JsonObject => ({ driver: "file", filename: side.path(name) });
  await side.run("blockdev-add", {
    driver: "qcow2",
    "node-name": "top",
    file: file("top"),
    backing: {
      driver: "qcow2",
      "node-name": "middle",
      file: file("middle"),
      backing: { driver: "qcow2", "node-name": "base", file: file("base") },
    },
  });
}

const COMMIT = { "job-id": "c", device: "top" };

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-img", "qemu-io"))(
  "block-commit, as qemu-storage-daemon's",
  () => {
    it("folds the active layer into the deepest one, and exports follow", async () => {
      await compare(async (side) => {
        await addChain(side);
        const path = side.path("nbd.sock");
        await side.run("nbd-server-start", { addr: { type: "unix", data: { path } } });
        await side.run("block-export-add", { type: "nbd", id: "e", "node-name": "top", writable: true });
        const uri = `nbd+unix:///top?socket=${path}`;
        const seen: unknown[] = [await side.ask("block-commit", COMMIT)];
        seen.push(await side.eventsUntil((word) => word === "BLOCK_JOB_READY"));
        const [job] = await side.client.execute("query-block-jobs");
        seen.push(job?.type, job?.status);
        await qemuIo("-f", "raw", "-c", "write -P 9 3M 64k", "-c", "flush", uri);
        await side.run("job-complete", { id: "c" });
        seen.push(await side.eventsUntil((word) => word === "null"));
        const [first] = await side.client.execute("query-block-exports");
        seen.push(first?.["node-name"]);
        const reads = ["read -P 1 0 64k", "read -P 2 1M 64k", "read -P 3 2M 64k", "read -P 9 3M 64k"];
        await qemuIo("-f", "raw", ...reads.flatMap((each) => ["-c", each]), "-c", "write -P 8 0 64k", uri);
        await side.run("block-export-del", { id: "e" });
        await side.eventsUntil((word) => word === "BLOCK_EXPORT_DELETED");
        seen.push(
          await side.ask("blockdev-del", { "node-name": "top" }),
          await side.client.execute("query-named-block-nodes"),
        );
        return seen;
      });
    });

    it("keeps the chain when it is cancelled, READY or not", async () => {
      await compare(async (side) => {
        await addChain(side);
        const seen: unknown[] = [];
        for (const [verb, args] of [
          ["block-job-cancel", { device: "c" }],
          ["job-cancel", { id: "c" }],
        ] as const) {
          await side.run("block-commit", { ...COMMIT, "base-node": "middle" });
          seen.push(await side.eventsUntil((word) => word === "BLOCK_JOB_READY"), await side.ask(verb, args));
          seen.push(await side.eventsUntil((word) => word === "null"));
        }
        const nodes = await side.client.execute("query-named-block-nodes");
        const names = nodes.map((node) => node["node-name"] ?? "").filter((name) => !name.startsWith("#"));
        return [
          ...seen,
          names.toSorted(),
          nodes.find((node) => node["node-name"] === "top")?.backing_file_depth,
        ];
      });
    });

    it("is refused with the same classes", async () => {
      await compare(async (side) => {
        await addChain(side);
        await side.run("blockdev-add", { driver: "null-co", "node-name": "alone" });
        const bad: readonly JsonObject[] = [
          { device: "nosuch" },
          { "job-id": undefined },
          { "base-node": "nosuch" },
          { "base-node": "alone" },
          { "base-node": "top" },
          { base: "/nonexistent" },
          { "top-node": "nosuch" },
          { "top-node": "alone" },
          { top: "/nonexistent" },
          { "top-node": "top", top: side.path("top") },
          { "base-node": "base", base: side.path("base") },
          { "top-node": "base", "base-node": "middle" },
          { "backing-file": "x" },
          { device: "middle" },
          { device: "alone" },
          { speed: -1 },
          { "on-error": "panic" },
          { "filter-node-name": "base" },
        ];
        const seen: unknown[] = [];
        for (const change of bad)
          seen.push(Object.keys(change), await side.ask("block-commit", { ...COMMIT, ...change }));
        return [...seen, await side.run("query-jobs")];
      });
    });
  },
);
