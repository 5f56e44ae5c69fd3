import { writeFile } from "node:fs/promises";
import { lacksPeers } from "@blockmirror/peers";
import type { JsonObject } from "@blockmirror/qmp";
import { describe, expect, it } from "vitest";

import { compare } from "./support/compare.ts";
import { makeImage, MIB, rawNode } from "./support/images.ts";
import { qemuImg } from "./support/qemu.ts";
import { shapeOf, type Side } from "./support/sides.ts";

/** A base, an overlay that names it, and what is in each. */
async function makeChain(side: Side): Promise<void> {
  await qemuImg("create", "-q", "-f", "qcow2", side.path("base.qcow2"), "4M");
  await qemuImg("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", side.path("top.qcow2"));
}

function qcow2Node(side: Side, nodeName: string, file: string, more: JsonObject = {}): JsonObject {
  return {
    driver: "qcow2",
    "node-name": nodeName,
    file: { driver: "file", filename: side.path(file) },
    ...more,
  };
}

async function nodeNamed(side: Side, name: string, flat = false): Promise<unknown> {
  const nodes = await side.client.execute("query-named-block-nodes", { flat });
  return nodes.find((node) => node["node-name"] === name);
}

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-img"))(
  "qcow2 images, beside qemu-storage-daemon",
  () => {
    it("are shown with the same members, their chain included", async () => {
      await compare(async (side) => {
        await makeChain(side);
        await side.run("blockdev-add", qcow2Node(side, "top", "top.qcow2"));
        const { backing_file_depth: depth } = Object(await nodeNamed(side, "top"));
        return [shapeOf(await nodeNamed(side, "top")), shapeOf(await nodeNamed(side, "top", true)), depth];
      });
    });

    it("are opened without their backing file when it is null, and with one that is named", async () => {
      await compare(async (side) => {
        await makeChain(side);
        const seen: unknown[] = [];
        await side.run(
          "blockdev-add",
          qcow2Node(side, "alone", "top.qcow2", { backing: null, "read-only": true }),
        );
        seen.push(shapeOf(await nodeNamed(side, "alone", true)));
        await side.run("blockdev-del", { "node-name": "alone" });
        await side.run("blockdev-add", qcow2Node(side, "base", "base.qcow2", { "read-only": true }));
        await side.run("blockdev-add", qcow2Node(side, "top", "top.qcow2", { backing: "base" }));
        seen.push(
          await side.ask("blockdev-del", { "node-name": "base" }),
          shapeOf(await nodeNamed(side, "top")),
        );
        seen.push(await side.ask("blockdev-add", qcow2Node(side, "x", "top.qcow2", { backing: "nosuch" })));
        return seen;
      });
    });

    it("that are none, or are missing, are refused", async () => {
      await compare(async (side) => {
        await makeImage(side, "raw", MIB, 1);
        await writeFile(side.path("short"), "QFI\u00fb");
        return [
          await side.ask("blockdev-add", qcow2Node(side, "x", "raw")),
          await side.ask("blockdev-add", qcow2Node(side, "x", "short")),
          await side.ask("blockdev-add", qcow2Node(side, "x", "missing")),
        ];
      });
    });

    it("are created by a job, and what was made is what was asked for", async () => {
      await compare(async (side) => {
        const file = side.path("new.qcow2");
        const seen: unknown[] = [];
        const create = async (options: JsonObject): Promise<void> => {
          seen.push(await side.ask("blockdev-create", { "job-id": "c", options }));
          if (seen.at(-1) instanceof Object && "error" in Object(seen.at(-1))) return;
          seen.push(await side.eventsUntil((word) => word === "concluded"));
          const [job] = await side.client.execute("query-jobs");
          seen.push("error" in (job ?? {}));
          await side.run("job-dismiss", { id: "c" });
          await side.eventsUntil((word) => word === "null");
        };
        await create({ driver: "file", filename: file, size: 0 });
        const inline = { driver: "file", filename: file };
        await create({ driver: "qcow2", file: inline, size: 8 * MIB, "cluster-size": 4096, version: "v2" });
        seen.push(shapeOf(JSON.parse(await qemuImg("info", "--output=json", file))));
        await create({
          driver: "qcow2",
          file: inline,
          size: 8 * MIB,
          "refcount-bits": 1,
          "extended-l2": true,
        });
        const info: unknown = JSON.parse(await qemuImg("info", "--output=json", file));
        seen.push(Object(info)["format-specific"].data, Object(info)["cluster-size"]);
        await create({ driver: "qcow2", file: inline, size: 8 * MIB, "cluster-size": 1000 });
        await create({ driver: "qcow2", file: "nosuch", size: 8 * MIB });
        await create({ driver: "qcow2", size: 8 * MIB });
        return seen;
      });
    });

    it("keep persistent bitmaps", async () => {
      await compare(async (side) => {
        await makeChain(side);
        await side.run("blockdev-add", qcow2Node(side, "top", "top.qcow2"));
        const bitmap = { node: "top", name: "kept" };
        const seen: unknown[] = [
          await side.ask("block-dirty-bitmap-add", { ...bitmap, persistent: true }),
          await side.ask("block-dirty-bitmap-add", { node: "top", name: "lost" }),
          await side.ask("blockdev-del", { "node-name": "top" }),
        ];
        await side.run("blockdev-add", qcow2Node(side, "top", "top.qcow2"));
        seen.push(Object(await nodeNamed(side, "top"))["dirty-bitmaps"]);
        seen.push(
          await side.ask("block-dirty-bitmap-remove", bitmap),
          await side.ask("blockdev-del", { "node-name": "top" }),
        );
        const info: unknown = JSON.parse(await qemuImg("info", "--output=json", side.path("top.qcow2")));
        seen.push(Object(info)["format-specific"].data.bitmaps);
        return seen;
      });
    });

    it("are mirrored: raw to qcow2, to the pivot", async () => {
      await compare(async (side) => {
        await makeImage(side, "src.raw", 4 * MIB, 5);
        await qemuImg("create", "-q", "-f", "qcow2", side.path("dst.qcow2"), "4M");
        await side.run("blockdev-add", rawNode(side, "src", "src.raw"));
        await side.run("blockdev-add", qcow2Node(side, "dst", "dst.qcow2"));
        await side.run("blockdev-mirror", { "job-id": "j", device: "src", target: "dst", sync: "full" });
        const seen: unknown[] = [await side.eventsUntil((word) => word === "BLOCK_JOB_READY")];
        await side.run("job-complete", { id: "j" });
        seen.push(await side.eventsUntil((word) => word === "null"));
        for (const name of ["src", "dst"]) await side.run("blockdev-del", { "node-name": name });
        seen.push(await qemuImg("compare", side.path("src.raw"), side.path("dst.qcow2")));
        seen.push(await qemuImg("check", side.path("dst.qcow2")).then((text) => text.split("\n")[0]));
        return seen;
      });
    });

    it("are made by drive-mirror in the source's format", async () => {
      await compare(async (side) => {
        await qemuImg("create", "-q", "-f", "qcow2", side.path("src.qcow2"), "4M");
        await side.run("blockdev-add", qcow2Node(side, "src", "src.qcow2"));
        const target = side.path("made.qcow2");
        await side.run("drive-mirror", {
          "job-id": "d",
          device: "src",
          target,
          sync: "full",
          "node-name": "made",
        });
        await side.eventsUntil((word) => word === "BLOCK_JOB_READY");
        await side.run("block-job-cancel", { device: "d" });
        const events = await side.eventsUntil((word) => word === "null");
        const info: unknown = JSON.parse(await qemuImg("info", "-U", "--output=json", target));
        return [events, Object(info).format, Object(info)["virtual-size"], await nodeNamed(side, "made")];
      });
    });

    it("are mirrored by their top layer to an image on the same base", async () => {
      await compare(async (side) => {
        await makeChain(side);
        await side.run("blockdev-add", qcow2Node(side, "top", "top.qcow2"));
        const target = side.path("copy.qcow2");
        const seen: unknown[] = [
          await side.ask("drive-mirror", {
            "job-id": "d",
            device: "top",
            target,
            sync: "top",
            "node-name": "copy",
          }),
          await side.eventsUntil((word) => word === "BLOCK_JOB_READY"),
        ];
        await side.run("job-complete", { id: "d" });
        seen.push(
          await side.eventsUntil((word) => word === "null"),
          await side.ask("blockdev-del", { "node-name": "top" }),
        );
        const info = Object(JSON.parse(await qemuImg("info", "-U", "--output=json", target)));
        return [
          ...seen,
          info["backing-filename-format"],
          String(info["full-backing-filename"]).endsWith("base.qcow2"),
        ];
      });
    });
  },
);

describe.skipIf(lacksPeers("qemu-storage-daemon"))("exports of another server", () => {
  it("that are read-only are opened so where that is allowed", async () => {
    await compare(async (side) => {
      await makeImage(side, "far.raw", MIB, 0);
      const { StorageDaemon } = await import("@blockmirror/peers");
      await using server = await StorageDaemon.start();
      await server.execute("blockdev-add", rawNode(side, "far", "far.raw"));
      const path = `${server.directory}/nbd.sock`;
      await server.execute("nbd-server-start", { addr: { type: "unix", data: { path } } });
      await server.execute("block-export-add", { type: "nbd", id: "far", "node-name": "far" });
      const nbd = { driver: "nbd", "node-name": "n", server: { type: "unix", path }, export: "far" };
      const seen: unknown[] = [await side.ask("blockdev-add", nbd)];
      for (const more of [{ "auto-read-only": true }, { "read-only": true }]) {
        seen.push(await side.ask("blockdev-add", { ...nbd, ...more }));
        const nodes = await side.client.execute("query-named-block-nodes");
        seen.push(nodes.find((node) => node["node-name"] === "n")?.ro);
        seen.push(
          await side.ask("blockdev-add", { driver: "raw", "node-name": "r", file: "n", "read-only": true }),
        );
        for (const name of ["r", "n"]) await side.run("blockdev-del", { "node-name": name });
      }
      return seen;
    });
    expect.hasAssertions();
  });

  it("are nodes like others, and can be mirrored to", async () => {
    await compare(async (side) => {
      await makeImage(side, "far.raw", MIB, 0);
      await makeImage(side, "src.raw", MIB, 3);
      const { StorageDaemon } = await import("@blockmirror/peers");
      await using server = await StorageDaemon.start();
      await server.execute("blockdev-add", rawNode(side, "far", "far.raw"));
      const path = `${server.directory}/nbd.sock`;
      await server.execute("nbd-server-start", { addr: { type: "unix", data: { path } } });
      await server.execute("block-export-add", {
        type: "nbd",
        id: "far",
        "node-name": "far",
        writable: true,
      });
      await side.run("blockdev-add", rawNode(side, "src", "src.raw"));
      const nbd = { driver: "nbd", "node-name": "dst", server: { type: "unix", path }, export: "far" };
      const seen: unknown[] = [
        await side.ask("blockdev-add", { ...nbd, export: "nosuch" }),
        await side.ask("blockdev-add", { ...nbd, server: { type: "inet", host: "localhost", port: "0" } }),
        await side.ask("blockdev-add", nbd),
        await side.ask("blockdev-mirror", { "job-id": "j", device: "src", target: "dst", sync: "full" }),
        await side.eventsUntil((word) => word === "BLOCK_JOB_READY"),
      ];
      await side.run("job-complete", { id: "j" });
      seen.push(
        await side.eventsUntil((word) => word === "null"),
        await side.ask("blockdev-del", { "node-name": "dst" }),
      );
      return seen;
    });
    expect.hasAssertions();
  });
});
