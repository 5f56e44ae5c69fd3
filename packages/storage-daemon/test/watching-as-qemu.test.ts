import { open } from "node:fs/promises";
import { lacksPeers } from "@blockmirror/peers";
import type { JsonObject } from "@blockmirror/qmp";
import { describe, it } from "vitest";

import { compare } from "./support/compare.ts";
import { makeImage, MIB, rawNode } from "./support/images.ts";
import { exportOverNbd, qemuImg, qemuIo, runGuest, tryGuest } from "./support/qemu.ts";
import { shapeOf, type Side } from "./support/sides.ts";

const QCOW2 = { l1TableOffset: 40, clusterOffsetMask: 0x00ff_ffff_ffff_fe00n, copied: 1n << 63n };

/** An image whose first cluster of data is said to be where it cannot be. */
async function addDamaged(side: Side, damage: string, readOnly: boolean): Promise<void> {
  const path = side.path("damaged.qcow2");
  await qemuImg("create", "-q", "-f", "qcow2", path, "4M");
  await qemuIo("-f", "qcow2", "-c", "write 0 256k", path);
  const file = await open(path, "r+");
  try {
    const entry = Buffer.alloc(8);
    const read = async (at: number): Promise<bigint> => {
      await file.read(entry, 0, 8, at);
      return entry.readBigUInt64BE();
    };
    const write = async (at: number, value: bigint): Promise<void> => {
      entry.writeBigUInt64BE(value);
      await file.write(entry, 0, 8, at);
    };
    const l1Table = Number(await read(QCOW2.l1TableOffset));
    const l1Entry = await read(l1Table);
    const l2Table = Number(l1Entry & QCOW2.clusterOffsetMask);
    if (damage === "l1") await write(l1Table, l1Entry | 0x200n);
    if (damage === "l2") await write(l2Table, (await read(l2Table)) | 0x200n);
    if (damage === "overlap") await write(l2Table, QCOW2.copied | BigInt(l1Table));
  } finally {
    await file.close();
  }
  const node = { driver: "qcow2", "node-name": "src", "read-only": readOnly };
  await side.run("blockdev-add", { ...node, file: { driver: "file", filename: path } });
}

/** Where an event that there has to be ends a wait that might be for one too few. */
async function eventsSoFar(side: Side): Promise<unknown[]> {
  await side.run("blockdev-add", { driver: "null-co", "node-name": "null", size: 512 });
  await side.run("blockdev-create", {
    "job-id": "end",
    options: { driver: "file", filename: side.path("end"), size: 0 },
  });
  const events: unknown[] = [];
  for (;;) {
    const { event, data } = await side.nextEvent();
    if (event === "JOB_STATUS_CHANGE") return events;
    // Ours tells where in more cases.
    const { msg: _forPeople, offset: _at, size: _size, ...rest } = data;
    events.push([event, rest]);
  }
}

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-io", "qemu-img"))(
  "what happens to nodes, as qemu-storage-daemon tells it",
  () => {
    it.each([
      { damage: "l1", readOnly: false },
      { damage: "l1", readOnly: true },
      { damage: "l2", readOnly: false },
      { damage: "l2", readOnly: true },
      { damage: "overlap", readOnly: false },
      { damage: "none", readOnly: false },
    ])(
      "an image that contradicts itself is told of once: $damage, read-only $readOnly",
      async ({ damage, readOnly }) => {
        await compare(async (side) => {
          await addDamaged(side, damage, readOnly);
          await side.run("nbd-server-start", {
            addr: { type: "unix", data: { path: side.path("nbd.sock") } },
          });
          const nbd = { type: "nbd", id: "e", "node-name": "src", writable: !readOnly };
          await side.run("block-export-add", nbd);
          const uri = `nbd+unix:///src?socket=${side.path("nbd.sock")}`;
          const more = readOnly ? [] : ["write 0 4k", "write 0 4k", "write 1M 64k"];
          // How each request fails differs; that it does is compared.
          const words = (await tryGuest(uri, ["read 0 4k", ...more], readOnly ? ["-r"] : [])).map((word) =>
            String(word).replace(/ failed.*/u, " failed"),
          );
          const events = await eventsSoFar(side);
          // An image that could not be stored is no quiet end of ours.
          await side.run("nbd-server-stop");
          await side.ask("blockdev-del", { "node-name": "src" });
          return [words, events];
        });
      },
    );

    it("a guest's failed requests are no events", async () => {
      await compare(async (side) => {
        await makeImage(side, "src.raw", MIB, 1);
        await side.run("blockdev-add", {
          driver: "blkdebug",
          "node-name": "src",
          image: { driver: "file", filename: side.path("src.raw") },
          "inject-error": [{ event: "none", iotype: "write" }],
        });
        const uri = await exportOverNbd(side, "src");
        return [await tryGuest(uri, ["write 0 4k"]), await eventsSoFar(side)];
      });
    });

    it("a write beyond the threshold is told of once", async () => {
      await compare(async (side) => {
        await makeImage(side, "src.raw", 4 * MIB, 1);
        await side.run("blockdev-add", rawNode(side, "src", "src.raw"));
        const uri = await exportOverNbd(side, "src");
        const watch = (name: string, threshold: number): Promise<unknown> =>
          side.ask("block-set-write-threshold", { "node-name": name, "write-threshold": threshold });
        const thresholds = async (): Promise<unknown> => {
          const nodes = await side.client.execute("query-named-block-nodes", { flat: true });
          return nodes.find((node) => node["node-name"] === "src")?.write_threshold;
        };
        const seen: unknown[] = [await watch("nosuch", 1), await watch("src", MIB), await thresholds()];
        await runGuest(uri, ["write 0 1M", "read 2M 64k", "discard 2M 64k"]);
        seen.push(await thresholds());
        await runGuest(uri, ["write 1M 64k", "write 2M 64k"]);
        seen.push(await thresholds(), await watch("src", MIB), await watch("src", 0));
        await runGuest(uri, ["write 3M 64k"]);
        seen.push(await watch("src", MIB));
        await runGuest(uri, ["write -z 3M 64k"]);
        return [seen, await eventsSoFar(side)];
      });
    });

    it("query-blockstats has what clients demand, and how far nodes were written to", async () => {
      await compare(async (side) => {
        await makeImage(side, "src.raw", 4 * MIB, 1);
        await side.run("blockdev-add", {
          ...rawNode(side, "src", "src.raw"),
          file: { driver: "file", "node-name": "file", filename: side.path("src.raw") },
        });
        const uri = await exportOverNbd(side, "src");
        await runGuest(uri, ["write 1M 64k", "write -z 2M 64k", "read 3M 64k"]);
        const seen: unknown[] = [await side.ask("query-blockstats", {})];
        const all = await side.client.execute("query-blockstats", { "query-nodes": true });
        // A node comes before its children here, and after them there.
        const sorted = all.toSorted((a, b) => (a["node-name"] ?? "").localeCompare(b["node-name"] ?? ""));
        for (const stats of sorted) {
          const { "driver-specific": _specific, ...rest }: JsonObject = { ...stats };
          const parent: JsonObject = Object(rest["parent"]);
          seen.push([stats["node-name"], stats.stats.wr_highest_offset, parent["node-name"]]);
          seen.push(shapeOf(stats.stats));
        }
        return seen;
      });
    });
  },
);
