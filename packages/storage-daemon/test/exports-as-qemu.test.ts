import { once } from "node:events";
import { connect, createServer, type Server } from "node:net";
import { lacksPeers, requirePeer, run } from "@blockmirror/peers";
import type { JsonObject } from "@blockmirror/qmp";
import { describe, expect, it } from "vitest";

import { compare } from "./support/compare.ts";
import { addPair, makeImage, MIB, rawNode } from "./support/images.ts";
import { qemuIo, runGuest, tryGuest } from "./support/qemu.ts";
import { Side } from "./support/sides.ts";

function unixAddress(side: Side): JsonObject {
  return { addr: { type: "unix", data: { path: side.path("nbd.sock") } } };
}

function uri(side: Side, name: string): string {
  return `nbd+unix:///${name}?socket=${side.path("nbd.sock")}`;
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("it listens on no port");
  return address.port;
}

/** The first eight bytes that a server at the port says; empty when there is none. */
async function greetingAt(port: number): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  try {
    const [bytes]: unknown[] = await once(socket, "data");
    return Buffer.isBuffer(bytes) ? bytes.subarray(0, 8).toString("latin1") : "";
  } catch {
    return "";
  } finally {
    socket.destroy();
  }
}

const NBD = { type: "nbd", id: "e", "node-name": "src" };
const MIRROR = { "job-id": "j", device: "src", target: "dst", sync: "full" };

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-io"))("exports, beside qemu-storage-daemon", () => {
  it("answer good and bad commands alike", async () => {
    await compare(async (side) => {
      await addPair(side);
      await side.run("blockdev-add", { driver: "null-co", "node-name": "ro", size: MIB, "read-only": true });
      const commands: readonly (readonly [string, JsonObject?])[] = [
        ["block-export-add", NBD],
        ["nbd-server-add", { device: "src" }],
        ["nbd-server-stop"],
        ["nbd-server-start", { addr: { type: "unix", path: "x" } }],
        ["nbd-server-start", { addr: { type: "unix", data: { path: "/nonexistent/x" } } }],
        ["nbd-server-start", unixAddress(side)],
        ["nbd-server-start", unixAddress(side)],
        ["block-export-add", { ...NBD, "node-name": "nosuch" }],
        ["block-export-add", { ...NBD, id: "1bad" }],
        ["block-export-add", { ...NBD, iothread: "nosuch" }],
        ["block-export-add", { ...NBD, type: "floppy" }],
        ["block-export-add", { ...NBD, "node-name": "ro", writable: true }],
        ["block-export-add", { ...NBD, writable: true }],
        ["block-export-add", NBD],
        ["block-export-add", { ...NBD, id: "e2" }],
        ["block-export-add", { ...NBD, id: "e3", name: "o", bitmaps: ["nob"] }],
        ["block-export-add", { ...NBD, id: "e4", name: "x".repeat(5000) }],
        ["nbd-server-add", { device: "ro", writable: true }],
        ["nbd-server-add", { device: "ro" }],
        ["query-block-exports"],
        ["block-export-del", { id: "zz" }],
        ["blockdev-del", { "node-name": "src" }],
        ["block-export-del", { id: "e", mode: "gently" }],
        ["block-export-del", { id: "e" }],
        ["query-block-exports"],
        ["nbd-server-remove", { name: "zz" }],
        ["nbd-server-remove", { name: "ro" }],
        ["query-block-exports"],
        ["nbd-server-stop"],
        ["nbd-server-stop"],
        [
          "nbd-server-start",
          { addr: { type: "inet", data: { host: "127.0.0.1", port: "0" } }, "max-connections": 1 },
        ],
        ["nbd-server-stop"],
        ["blockdev-del", { "node-name": "src" }],
      ];
      const answers: unknown[] = [];
      for (const [command, args] of commands) answers.push([command, await side.ask(command, args)]);
      return answers;
    });
  });

  it("are served at the first free port of those that may be taken", async () => {
    await compare(async (side) => {
      await addPair(side);
      const taken = createServer().listen(0, "127.0.0.1");
      await once(taken, "listening");
      try {
        const port = portOf(taken);
        const start = (to: number): Promise<unknown> =>
          side.ask("nbd-server-start", {
            addr: { type: "inet", data: { host: "127.0.0.1", port: String(port), to } },
          });
        const seen: unknown[] = [await start(port)];
        const last = Math.min(65_535, port + 20);
        seen.push(await start(last));
        const greetings = await Promise.all(
          Array.from({ length: last - port }, (_, index) => greetingAt(port + 1 + index)),
        );
        return [...seen, greetings.includes("NBDMAGIC")];
      } finally {
        taken.close();
      }
    });
  });

  it("say that they are gone, whoever took them away", async () => {
    await compare(async (side) => {
      await addPair(side);
      await side.run("nbd-server-start", unixAddress(side));
      const seen: unknown[] = [];
      await side.run("block-export-add", NBD);
      await side.run("block-export-del", { id: "e" });
      seen.push(await side.nextEvent().then(({ event, data }) => [event, data]));
      await side.run("block-export-add", NBD);
      await side.run("nbd-server-stop");
      seen.push(await side.nextEvent().then(({ event, data }) => [event, data]));
      await side.run("nbd-server-start", unixAddress(side));
      await side.run("block-export-add", NBD);
      const quitting = side.ask("quit");
      seen.push(await side.nextEvent().then(({ event, data }) => [event, data]), await quitting);
      return seen;
    });
  });

  it("serve reads and writes, and follow their node through the pivot", async () => {
    await compare(async (side) => {
      await addPair(side);
      await side.run("nbd-server-start", unixAddress(side));
      await side.run("block-export-add", { ...NBD, name: "disk", writable: true });
      const nodeName = async (): Promise<unknown> => {
        const [first] = await side.client.execute("query-block-exports");
        return first?.["node-name"];
      };
      const seen: unknown[] = [await nodeName()];
      await runGuest(uri(side, "disk"), ["write -P 0x11 0 64k", "flush"]);
      await side.run("blockdev-mirror", { ...MIRROR, "filter-node-name": "filter" });
      seen.push(await side.eventsUntil((word) => word === "BLOCK_JOB_READY"), await nodeName());
      await runGuest(uri(side, "disk"), ["write -P 0x22 1M 64k", "read -P 0x11 0 64k", "flush"]);
      await side.run("job-complete", { id: "j" });
      seen.push(await side.eventsUntil((word) => word === "null"), await nodeName());
      await runGuest(uri(side, "disk"), [
        "read -P 0x11 0 64k",
        "read -P 0x22 1M 64k",
        "write -P 0x33 2M 64k",
        "flush",
      ]);
      seen.push(
        await side.ask("blockdev-del", { "node-name": "src" }),
        await side.ask("blockdev-del", { "node-name": "dst" }),
      );
      await side.run("block-export-del", { id: "e" });
      await side.run("blockdev-del", { "node-name": "dst" });
      const reads = ["read -P 0x11 0 64k", "read -P 0x22 1M 64k", "read -P 0x33 2M 64k"];
      await qemuIo("-r", "-f", "raw", ...reads.flatMap((each) => ["-c", each]), side.path("dst.raw"));
      return seen;
    });
  });

  it("are kept while a client uses them, unless it has to be", async () => {
    await compare(async (side) => {
      await addPair(side);
      await side.run("nbd-server-start", unixAddress(side));
      await side.run("block-export-add", NBD);
      await using reader = await Side.ours();
      const path = side.path("nbd.sock");
      const client = {
        driver: "nbd",
        "node-name": "c",
        server: { type: "unix", path },
        export: "src",
        "read-only": true,
      };
      await reader.run("blockdev-add", client);
      const seen: unknown[] = [await side.ask("block-export-del", { id: "e" })];
      seen.push(await side.ask("block-export-del", { id: "e", mode: "hard" }));
      seen.push(await side.nextEvent().then(({ event, data }) => [event, data]));
      return [...seen, await side.ask("query-block-exports")];
    });
  });

  it.each([false, true])("make writes durable one by one when they are to: %s", async (writethrough) => {
    await compare(async (side) => {
      await makeImage(side, "disk", MIB, 7);
      const image = { driver: "file", filename: side.path("disk") };
      const rule = { event: "flush_to_disk", iotype: "flush", once: false };
      const file = { driver: "blkdebug", image, "inject-error": [rule] };
      await side.run("blockdev-add", { driver: "raw", "node-name": "src", file });
      await side.run("nbd-server-start", unixAddress(side));
      await side.run("block-export-add", { ...NBD, writable: true, writethrough });
      // QEMU flushes below blkdebug, which does not see it, for a write of data.
      const [write] = await tryGuest(uri(side, "src"), ["write 0 4k"]);
      if (side.isOurs) expect(String(write).startsWith("write failed")).toBe(writethrough);
      return tryGuest(uri(side, "src"), ["write -z 8k 4k", "discard 16k 4k", "flush"]);
    });
  });

  it("show bitmaps, which are busy meanwhile", async () => {
    await compare(async (side) => {
      await addPair(side);
      await side.run("block-dirty-bitmap-add", { node: "src", name: "b" });
      await side.run("nbd-server-start", unixAddress(side));
      const export0 = { ...NBD, bitmaps: ["b"], "allocation-depth": true };
      const seen: unknown[] = [await side.ask("block-export-add", export0)];
      await side.run("block-export-add", { ...export0, writable: true });
      seen.push(await side.ask("block-dirty-bitmap-remove", { node: "src", name: "b" }));
      await side.run("block-dirty-bitmap-add", { node: "src", name: "sum" });
      const merge = { node: "src", target: "sum", bitmaps: ["b"] };
      seen.push(await side.ask("block-dirty-bitmap-merge", merge));
      const { stdout } = await run(requirePeer("nbdinfo"), ["--json", uri(side, "src")]);
      const info: unknown = JSON.parse(stdout);
      seen.push(Object(info).exports[0].contexts.toSorted(), Object(info).exports[0]["export-size"]);
      await side.run("block-export-del", { id: "e" });
      seen.push(await side.ask("block-dirty-bitmap-merge", merge));
      // One that is about to go is in use as well.
      const both = ["remove", "merge"].map((verb, index) => ({
        type: `block-dirty-bitmap-${verb}`,
        data: index === 0 ? { node: "src", name: "b" } : merge,
      }));
      seen.push(await side.ask("transaction", { actions: both }));
      seen.push(await side.ask("block-dirty-bitmap-remove", { node: "src", name: "b" }));
      return seen;
    });
  });

  it("have bitmaps follow what clients write, bit for bit", async () => {
    await compare(async (side) => {
      await makeImage(side, "src.raw", 4 * MIB, 7);
      await side.run("blockdev-add", rawNode(side, "src", "src.raw", { discard: "unmap" }));
      await side.run("nbd-server-start", unixAddress(side));
      await side.run("block-export-add", { ...NBD, writable: true });
      for (const [name, granularity] of [
        ["fine", 512],
        ["coarse", MIB],
      ] as const) {
        await side.run("block-dirty-bitmap-add", { node: "src", name, granularity });
      }
      await runGuest(uri(side, "src"), ["write 4k 1k", "write -z 1M 64k", "discard 3000k 100k"]);
      await side.run("block-dirty-bitmap-disable", { node: "src", name: "fine" });
      await runGuest(uri(side, "src"), ["write 2M 1k", "flush"]);
      const seen: unknown[] = [];
      for (const name of ["fine", "coarse", "none"]) {
        seen.push(await side.ask("x-debug-block-dirty-bitmap-sha256", { node: "src", name }));
      }
      const nodes = await side.client.execute("query-named-block-nodes");
      return [...seen, nodes.find((node) => node["node-name"] === "src")?.["dirty-bitmaps"]];
    });
  });

  it("keep the new target of a drive-mirror open until they leave it", async () => {
    await compare(async (side) => {
      await addPair(side);
      await side.run("nbd-server-start", unixAddress(side));
      await side.run("block-export-add", NBD);
      const target = side.path("made.raw");
      await side.run("drive-mirror", {
        "job-id": "j",
        device: "src",
        target,
        sync: "full",
        "node-name": "made",
      });
      await side.eventsUntil((word) => word === "BLOCK_JOB_READY");
      await side.run("job-complete", { id: "j" });
      await side.eventsUntil((word) => word === "null");
      const seen: unknown[] = [await side.ask("query-block-exports")];
      await side.run("block-export-del", { id: "e" });
      await side.eventsUntil((word) => word === "BLOCK_EXPORT_DELETED");
      const nodes = await side.client.execute("query-named-block-nodes");
      return [...seen, nodes.filter((node) => node["node-name"] === "made").length];
    });
  });
});
