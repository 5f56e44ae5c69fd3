import { lacksPeers } from "@blockmirror/peers";
import type { JsonObject } from "@blockmirror/qmp";
import { describe, it } from "vitest";

import { compare } from "./support/compare.ts";
import { exportOverNbd, qemuImg, runGuest } from "./support/qemu.ts";
import type { Side } from "./support/sides.ts";

function node(side: Side, more: JsonObject): JsonObject {
  return {
    driver: "qcow2",
    "node-name": "disk",
    file: { driver: "file", filename: side.path("disk.qcow2") },
    ...more,
  };
}

async function detection(side: Side): Promise<unknown> {
  const nodes = await side.client.execute("query-named-block-nodes", { flat: true });
  return nodes.find((each) => each["node-name"] === "disk")?.detect_zeroes;
}

/** What the image stores after a guest has written data, then zeroes over data, then zeroes where nothing was. */
async function storedAfterWrites(side: Side, more: JsonObject): Promise<unknown> {
  await qemuImg("create", "-q", "-f", "qcow2", side.path("disk.qcow2"), "4M");
  await side.run("blockdev-add", node(side, more));
  const commands = ["write -P 7 0 256k", "write -P 0 64k 64k", "write -P 0 1M 64k", "read -P 0 64k 64k"];
  await runGuest(await exportOverNbd(side, "disk"), commands);
  await side.run("nbd-server-stop");
  await side.run("blockdev-del", { "node-name": "disk" });
  return storedRanges(await qemuImg("map", "--output=json", side.path("disk.qcow2")));
}

/**
 * The ranges that have space in the image, and whether they read as zeroes. Where in the file a cluster lies is each allocator's own affair, and so is whether zeroes that
 * nothing lies below are recorded: ours does without.
 */
function storedRanges(map: string): unknown {
  const extents: unknown = JSON.parse(map);
  if (!Array.isArray(extents)) throw new Error(`not a map: ${map}`);
  return extents
    .filter((extent: JsonObject) => extent["data"] === true || "offset" in extent)
    .map((extent: JsonObject) => [extent["start"], extent["length"], extent["zero"]]);
}

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-img", "qemu-io"))(
  "detect-zeroes, as qemu-storage-daemon's",
  () => {
    const modes: readonly JsonObject[] = [
      {},
      { "detect-zeroes": "on" },
      { "detect-zeroes": "on", discard: "unmap" },
      { "detect-zeroes": "unmap", discard: "unmap" },
    ];
    it.each(modes)("%j stores the same", async (more) => {
      await compare((side) => storedAfterWrites(side, more));
    });

    it("is shown, refused and changed in the same way", async () => {
      await compare(async (side) => {
        await qemuImg("create", "-q", "-f", "qcow2", side.path("disk.qcow2"), "1M");
        const seen: unknown[] = [
          await side.ask("blockdev-add", node(side, { "detect-zeroes": "unmap" })),
          await side.ask("blockdev-add", node(side, { "detect-zeroes": "maybe" })),
          await side.ask("blockdev-add", node(side, { "detect-zeroes": "on" })),
          await detection(side),
        ];
        for (const more of [
          { "detect-zeroes": "unmap", discard: "unmap" },
          { "detect-zeroes": "unmap" },
          { "detect-zeroes": "on" },
          {},
        ]) {
          const options = { ...node(side, more), "auto-read-only": false };
          seen.push(await side.ask("blockdev-reopen", { options: [options] }), await detection(side));
        }
        return seen;
      });
    });
  },
);
