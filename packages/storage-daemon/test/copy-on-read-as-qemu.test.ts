import { lacksPeers } from "@blockmirror/peers";
import type { JsonObject } from "@blockmirror/qmp";
import { describe, it } from "vitest";

import { compare } from "./support/compare.ts";
import { addChain } from "./support/layers.ts";
import { exportOverNbd, qemuImg, qemuIo, runGuest } from "./support/qemu.ts";
import type { Side } from "./support/sides.ts";

/** An overlay on a base with data in two places, one of which the overlay has overwritten in part. */
async function makeChain(side: Side): Promise<void> {
  const [base, top] = [side.path("base.qcow2"), side.path("top.qcow2")];
  await qemuImg("create", "-q", "-f", "qcow2", base, "4M");
  await qemuIo("-f", "qcow2", "-c", "write -P 1 0 256k", "-c", "write -P 2 1M 128k", base);
  await qemuImg("create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top);
  await qemuIo("-f", "qcow2", "-c", "write -P 3 64k 64k", top);
}

function topNode(side: Side): JsonObject {
  return {
    driver: "qcow2",
    "node-name": "top",
    file: { driver: "file", filename: side.path("top.qcow2") },
  };
}

/** Runs the commands of a guest behind the filter, and tells in which layer the data are then. */
async function storedAfter(side: Side, commands: readonly string[]): Promise<unknown> {
  await makeChain(side);
  await side.run("blockdev-add", topNode(side));
  const filter = { driver: "copy-on-read", "node-name": "cor", file: "top" };
  await side.run("blockdev-add", filter);
  await runGuest(await exportOverNbd(side, "cor"), commands);
  await side.run("nbd-server-stop");
  const inUse = await side.ask("blockdev-del", { "node-name": "top" });
  await side.run("blockdev-del", { "node-name": "cor" });
  await side.run("blockdev-del", { "node-name": "top" });
  return [inUse, dataOf(await qemuImg("map", "--output=json", side.path("top.qcow2")))];
}

/** The ranges of a map that hold data, and the layers they are in. */
function dataOf(map: string): unknown[] {
  const extents: unknown = JSON.parse(map);
  if (!Array.isArray(extents)) throw new Error("not a map");
  // Zeroes that no layer stores are kept as zero clusters by ours and not at all by QEMU's.
  const stored = extents.filter((extent: JsonObject) => extent["data"] === true);
  return stored.map(({ start, length, depth }: JsonObject) => [start, length, depth]);
}

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-img", "qemu-io"))(
  "copy-on-read, as qemu-storage-daemon's",
  () => {
    const guests: readonly (readonly string[])[] = [
      ["read -P 1 0 64k"],
      ["read -P 1 4k 512", "read -P 2 1100k 4k"],
      ["read -P 3 64k 64k"],
      ["read 0 2M"],
      ["read -P 1 128k 64k", "write -P 9 130k 4k", "read -P 9 130k 4k", "read -P 1 134k 4k"],
    ];
    it.each(guests.map((commands) => ({ commands })))(
      "$commands leaves the same data in the overlay",
      async ({ commands }) => {
        await compare((side) => storedAfter(side, commands));
      },
    );

    it.each(["base", "middle"])("keeps what %s holds and what is above it", async (bottom) => {
      await compare(async (side) => {
        await addChain(side);
        const filter = { driver: "copy-on-read", "node-name": "cor", file: "top", bottom };
        await side.run("blockdev-add", filter);
        await runGuest(await exportOverNbd(side, "cor"), [
          "read -P 1 0 64k",
          "read -P 2 1M 64k",
          "read 0 4M",
        ]);
        await side.run("nbd-server-stop");
        for (const name of ["cor", "top"]) await side.run("blockdev-del", { "node-name": name });
        return dataOf(await qemuImg("map", "--output=json", side.path("top")));
      });
    });

    it.each([1, null])("refuses %o for a bottom", async (bottom) => {
      await compare(async (side) => {
        await addChain(side);
        return side.ask("blockdev-add", { driver: "copy-on-read", "node-name": "cor", file: "top", bottom });
      });
    });

    it("refuses a node that is not there", async () => {
      await compare(async (side) => [
        await side.ask("blockdev-add", { driver: "copy-on-read", "node-name": "cor", file: "nosuch" }),
        await side.ask("blockdev-add", { driver: "copy-on-read", "node-name": "cor" }),
      ]);
    });
  },
);
