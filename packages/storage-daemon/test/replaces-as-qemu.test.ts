import { readdir } from "node:fs/promises";
import { lacksPeers } from "@blockmirror/peers";
import type { JsonObject } from "@blockmirror/qmp";
import { describe, it } from "vitest";

import { compare } from "./support/compare.ts";
import { makeImage, MIB, rawNode } from "./support/images.ts";
import { exportOverNbd, qemuIo, runGuest } from "./support/qemu.ts";
import type { Side } from "./support/sides.ts";

const MIRROR = { "job-id": "j", device: "top", target: "dst", sync: "full", replaces: "src" };

/** A filter with a guest above the node `src`, and a target `dst`. */
async function addFiltered(side: Side): Promise<string> {
  await makeImage(side, "src.raw", 4 * MIB, 7);
  await makeImage(side, "dst.raw", 4 * MIB, 0);
  const file = { driver: "file", "node-name": "src-file", filename: side.path("src.raw") };
  await side.run("blockdev-add", { driver: "raw", "node-name": "src", file });
  await side.run("blockdev-add", rawNode(side, "dst", "dst.raw"));
  await side.run("blockdev-add", { driver: "copy-on-read", "node-name": "mid", file: "src" });
  await side.run("blockdev-add", { driver: "copy-on-read", "node-name": "top", file: "mid" });
  return exportOverNbd(side, "top");
}

/** Who uses the nodes with names: the names of the nodes above them. */
async function parentsOf(side: Side): Promise<unknown> {
  const { nodes, edges } = await side.client.execute("x-debug-query-block-graph");
  // Ours tells which export it is, QEMU's has no name for it.
  const names = new Map(nodes.map(({ id, type, name }) => [id, type === "block-backend" ? type : name]));
  const pairs = edges.map(({ parent, child, name }) => [names.get(parent), name, names.get(child)]);
  return pairs
    .filter((pair) => ["src", "dst", "mid", "top"].includes(pair[2] ?? ""))
    .map((pair) => pair.join(" "))
    .toSorted();
}

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-io"))("replaces, as qemu-storage-daemon's", () => {
  it.each(["job-complete", "block-job-cancel"])(
    "leads to the target whoever used the node below the filters: %s",
    async (end) => {
      await compare(async (side) => {
        const uri = await addFiltered(side);
        const seen: unknown[] = [await parentsOf(side)];
        await side.run("blockdev-mirror", MIRROR);
        await side.eventsUntil((word) => word === "BLOCK_JOB_READY");
        await runGuest(uri, ["write -P 0x11 1M 64k", "flush"]);
        await side.run(end, end === "job-complete" ? { id: "j" } : { device: "j" });
        seen.push(await side.eventsUntil((word) => word === "null"), await parentsOf(side));
        seen.push(await side.ask("query-block-exports"));
        await runGuest(uri, ["read -P 0x11 1M 64k", "write -P 0x22 2M 64k", "flush"]);
        for (const name of ["src", "dst"]) {
          seen.push(await side.ask("blockdev-del", { "node-name": name }));
        }
        await side.run("nbd-server-stop");
        for (const name of ["top", "mid", end === "job-complete" ? "dst" : "src"]) {
          await side.run("blockdev-del", { "node-name": name });
        }
        const [has, lacks] = end === "job-complete" ? ["dst", "src"] : ["src", "dst"];
        for (const file of [has, lacks]) {
          const read = ["-c", "read -P 0x11 1M 64k", "-c", "read -P 0x22 2M 64k"];
          const isThere = await qemuIo("-r", "-f", "raw", ...read, side.path(`${file}.raw`)).then(
            () => true,
            () => false,
          );
          seen.push([file, isThere]);
        }
        return seen;
      });
    },
  );

  it("is refused where data could change under somebody", async () => {
    await compare(async (side) => {
      await addFiltered(side);
      await side.run("nbd-server-stop");
      await side.run("blockdev-add", { driver: "null-co", "node-name": "other", size: 4 * MIB });
      await side.run("blockdev-add", { driver: "null-co", "node-name": "small", size: MIB });
      const seen: unknown[] = [];
      for (const replaces of ["nosuch", "other", "small", "dst", "src-file", "", "src", "mid", "top"]) {
        const answer = await side.ask("blockdev-mirror", { ...MIRROR, replaces });
        seen.push([replaces, answer]);
        if (!("return" in answer)) continue;
        await side.eventsUntil((word) => word === "BLOCK_JOB_READY");
        await side.run("job-cancel", { id: "j" });
        seen.push(await side.eventsUntil((word) => word === "null"));
      }
      const { target: _dst, ...rest } = { ...MIRROR, format: "raw" };
      for (const more of [{}, { "node-name": "new" }] satisfies JsonObject[]) {
        const answer = await side.ask("drive-mirror", { ...rest, ...more, target: side.path("new.raw") });
        seen.push([more, answer]);
        seen.push((await readdir(side.directory)).includes("new.raw"));
        if (!("return" in answer)) continue;
        await side.eventsUntil((word) => word === "BLOCK_JOB_READY");
        await side.run("job-complete", { id: "j" });
        seen.push(await side.eventsUntil((word) => word === "null"), await parentsOf(side));
      }
      return seen;
    });
  });
});
