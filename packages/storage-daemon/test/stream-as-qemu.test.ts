import { lacksPeers, requirePeer, run } from "@blockmirror/peers";
import type { JsonObject } from "@blockmirror/qmp";
import { describe, it } from "vitest";

import { compare } from "./support/compare.ts";
import { addChain } from "./support/layers.ts";
import { exportOverNbd, runGuest } from "./support/qemu.ts";

const STREAM = { "job-id": "s", device: "top" };

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-img", "qemu-io"))(
  "block-stream, as qemu-storage-daemon's",
  () => {
    it.each([
      ["everything", {}, undefined],
      ["down to a base", { "base-node": "base" }, "base"],
      ["what is above the bottom", { bottom: "middle" }, "base"],
    ] as const)("fills an image with %s, while an export writes to it", async (_what, args, base) => {
      await compare(async (side) => {
        await addChain(side);
        const uri = await exportOverNbd(side, "top");
        const seen: unknown[] = [await side.ask("block-stream", { ...STREAM, ...args })];
        seen.push(await side.eventsUntil((word) => word === "null"));
        const reads = ["read -P 1 0 64k", "read -P 2 1M 64k", "read -P 3 2M 64k", "read -P 0 3M 64k"];
        await runGuest(uri, [...reads, "write -P 8 3M 64k"]);
        const nodes = await side.client.execute("query-named-block-nodes");
        seen.push(nodes.find((node) => node["node-name"] === "top")?.backing_file_depth);
        await side.run("block-export-del", { id: "e" });
        await side.eventsUntil((word) => word === "BLOCK_EXPORT_DELETED");
        seen.push(await side.ask("blockdev-del", { "node-name": "top" }));
        const { stdout } = await run(requirePeer("qemu-img"), ["info", "--output=json", side.path("top")]);
        const info: Readonly<Record<string, unknown>> = JSON.parse(stdout);
        seen.push(String(info["backing-filename"]).endsWith(String(base)), info["backing-filename-format"]);
        return seen;
      });
    });

    it("cancelled, it leaves the chain; it cannot be completed", async () => {
      await compare(async (side) => {
        await addChain(side);
        const seen: unknown[] = [
          await side.ask("block-stream", { ...STREAM, speed: 1, "filter-node-name": "f" }),
        ];
        seen.push((await side.client.execute("query-block-jobs")).map(({ type, ready }) => [type, ready]));
        seen.push(await side.ask("block-job-complete", { device: "s" }));
        seen.push(await side.ask("block-job-cancel", { device: "s" }));
        seen.push(await side.eventsUntil((word) => word === "null"));
        const nodes = await side.client.execute("query-named-block-nodes");
        return [...seen, nodes.find((node) => node["node-name"] === "top")?.backing_file_depth];
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
          { base: "/nonexistent" },
          { base: side.path("base"), "base-node": "base" },
          { bottom: "base", "base-node": "base" },
          { bottom: "alone" },
          { "backing-file": "x" },
          { bottom: "middle", "backing-file": "x" },
          { speed: -1 },
          { "on-error": "panic" },
          { "filter-node-name": "base" },
        ];
        const seen: unknown[] = [];
        for (const change of bad)
          seen.push(Object.keys(change), await side.ask("block-stream", { ...STREAM, ...change }));
        return [...seen, await side.run("query-jobs")];
      });
    });
  },
);
