import { lacksPeers, requirePeer, run } from "@blockmirror/peers";
import type { JsonObject } from "@blockmirror/qmp";
import { describe, it } from "vitest";

import { compare } from "./support/compare.ts";
import { addChain } from "./support/layers.ts";
import { exportOverNbd, qemuIo, runGuest } from "./support/qemu.ts";

const COMMIT = { "job-id": "c", device: "top" };

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-img", "qemu-io"))(
  "block-commit, as qemu-storage-daemon's",
  () => {
    it("folds the active layer into the deepest one, and exports follow", async () => {
      await compare(async (side) => {
        await addChain(side);
        const uri = await exportOverNbd(side, "top");
        const seen: unknown[] = [await side.ask("block-commit", COMMIT)];
        seen.push(await side.eventsUntil((word) => word === "BLOCK_JOB_READY"));
        const [job] = await side.client.execute("query-block-jobs");
        seen.push(job?.type, job?.status);
        await runGuest(uri, ["write -P 9 3M 64k", "flush"]);
        await side.run("job-complete", { id: "c" });
        seen.push(await side.eventsUntil((word) => word === "null"));
        const [first] = await side.client.execute("query-block-exports");
        seen.push(first?.["node-name"]);
        const reads = ["read -P 1 0 64k", "read -P 2 1M 64k", "read -P 3 2M 64k", "read -P 9 3M 64k"];
        await runGuest(uri, [...reads, "write -P 8 0 64k"]);
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

    it("folds a layer that others stand on, which then record the base and show what they did", async () => {
      await compare(async (side) => {
        await addChain(side);
        const uri = await exportOverNbd(side, "top");
        const folded = { ...COMMIT, "top-node": "middle", "base-node": "base" };
        const seen: unknown[] = [await side.ask("block-commit", { ...folded, "backing-file": "base" })];
        seen.push(await side.eventsUntil((word) => word === "null"));
        const reads = ["read -P 1 0 64k", "read -P 2 1M 64k", "read -P 3 2M 64k", "read -P 0 3M 64k"];
        await runGuest(uri, [...reads, "write -P 8 0 64k"]);
        const nodes = await side.client.execute("query-named-block-nodes");
        const below = nodes.find((node) => node["node-name"] === "top")?.image["backing-image"];
        seen.push(below?.filename === side.path("base"));
        await side.run("block-export-del", { id: "e" });
        await side.eventsUntil((word) => word === "BLOCK_EXPORT_DELETED");
        seen.push(await side.ask("blockdev-del", { "node-name": "top" }));
        const { stdout } = await run(requirePeer("qemu-img"), ["info", "--output=json", side.path("top")]);
        const info: Readonly<Record<string, unknown>> = JSON.parse(stdout);
        seen.push(info["backing-filename"], info["backing-filename-format"]);
        // What was on the layer is in the base, and the top has only what is its own.
        await qemuIo("-f", "qcow2", "-c", "read -P 2 1M 64k", "-c", "read -P 0 2M 64k", side.path("base"));
        return seen;
      });
    });

    it("cancelled while it folds such a layer, it leaves the chain", async () => {
      await compare(async (side) => {
        await addChain(side);
        const seen: unknown[] = [
          await side.ask("block-commit", {
            ...COMMIT,
            "top-node": "middle",
            speed: 1,
            "filter-node-name": "f",
          }),
        ];
        seen.push((await side.client.execute("query-block-jobs")).map(({ type, ready }) => [type, ready]));
        const filters = await side.client.execute("query-named-block-nodes");
        seen.push(filters.find((node) => node["node-name"] === "f")?.drv);
        seen.push(await side.ask("block-job-complete", { device: "c" }));
        seen.push(await side.ask("block-job-cancel", { device: "c" }));
        seen.push(await side.eventsUntil((word) => word === "null"));
        const nodes = await side.client.execute("query-named-block-nodes");
        return [...seen, nodes.find((node) => node["node-name"] === "top")?.backing_file_depth];
      });
    });

    it("change-backing-file records another name, in read-only images as well", async () => {
      await compare(async (side) => {
        await addChain(side);
        const seen: unknown[] = [];
        const change = { device: "top", "image-node-name": "top", "backing-file": "elsewhere" };
        for (const args of [
          change,
          { ...change, "image-node-name": "middle", "backing-file": "beneath" },
          { ...change, "image-node-name": "base" },
          { ...change, "image-node-name": "nosuch" },
          { ...change, device: "nosuch" },
          { ...change, "backing-file": "x".repeat(1025) },
        ]) {
          seen.push(await side.ask("change-backing-file", args));
        }
        await side.run("blockdev-del", { "node-name": "top" });
        for (const name of ["top", "middle", "base"]) {
          const { stdout } = await run(requirePeer("qemu-img"), ["info", "--output=json", side.path(name)]);
          const info: Readonly<Record<string, unknown>> = JSON.parse(stdout);
          seen.push(info["backing-filename"], info["backing-filename-format"]);
        }
        return seen;
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
