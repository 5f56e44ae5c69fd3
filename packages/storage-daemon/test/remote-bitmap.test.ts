import { BlockGraph, loadDirtyBitmap } from "@blockmirror/block-driver";
import { JobManager } from "@blockmirror/blockjob";
import { startMirror } from "@blockmirror/mirror";
import { lacksPeers, PeerServer } from "@blockmirror/peers";
import { describe, expect, it } from "vitest";

import { createDaemonRegistry } from "../src/index.ts";
import { afterTest } from "./support/daemon-process.ts";
import { MIB } from "./support/images.ts";
import { qemuImg, qemuIo } from "./support/qemu.ts";
import { Side } from "./support/sides.ts";

describe.skipIf(lacksPeers("qemu-nbd", "qemu-img", "qemu-io"))("a mirror from a bitmap of qemu-nbd", () => {
  it("copies what was written since, and the copy is equal again", async () => {
    const server = new PeerServer("qemu-nbd", (directory) => [
      "--read-only",
      "--shared=1",
      "--format=qcow2",
      "--bitmap=since",
      `${directory}/disk.qcow2`,
    ]);
    afterTest(() => server.stop());
    const [disk, copy] = [`${server.directory}/disk.qcow2`, `${server.directory}/copy.raw`];
    await qemuImg("create", "-q", "-f", "qcow2", disk, "64M");
    await qemuIo("-f", "qcow2", "-c", "write -P 1 0 8M", "-c", "write -P 2 32M 8M", disk);
    await qemuImg("convert", "-f", "qcow2", "-O", "raw", disk, copy);
    await qemuImg("bitmap", "--add", disk, "since");
    const writes = ["write -P 3 1M 100k", "write -z 33M 1M", "write -P 4 63M 1M", "discard 5M 64k"];
    await qemuIo("-f", "qcow2", ...writes.flatMap((write) => ["-c", write]), disk);
    await server.start();

    const graph = new BlockGraph({ registry: createDaemonRegistry() });
    afterTest(() => graph.closeAll());
    const source = await graph.open({ driver: "nbd", uri: server.uri, readOnly: true, bitmaps: ["since"] });
    const file = { driver: "file", filename: copy };
    const target = await graph.open({ driver: "raw", file });
    const bitmap = await loadDirtyBitmap(source, "since");
    const jobs = new JobManager();
    const { job } = await startMirror({
      id: "m",
      graph,
      jobs,
      source,
      target,
      sync: "bitmap",
      bitmap: "since",
    });
    jobs.subscribe(({ event }) => {
      if (event === "BLOCK_JOB_READY") job.cancel();
    });
    expect(await job.done).toEqual({ outcome: "completed" });
    // 100 KiB are two chunks of 64 KiB.
    expect(bitmap.dirtyBytes).toBe(2 * 65_536 + MIB + MIB + 65_536);
    expect(job.snapshot().length).toBe(bitmap.dirtyBytes);
    await graph.closeAll();
    await server.signal("SIGTERM");
    await qemuImg("compare", "-f", "qcow2", "-F", "raw", disk, copy);
  });
});

describe("x-dirty-bitmap of an nbd node", () => {
  it("is refused for what would hide data from jobs, and nothing is left behind", async () => {
    await using side = await Side.ours();
    const path = side.path("nbd.sock");
    await side.run("blockdev-add", { driver: "null-co", "node-name": "disk", size: MIB });
    await side.run("block-dirty-bitmap-add", { node: "disk", name: "b" });
    await side.run("nbd-server-start", { addr: { type: "unix", data: { path } } });
    await side.run("block-export-add", {
      type: "nbd",
      id: "e",
      "node-name": "disk",
      writable: true,
      bitmaps: ["b"],
    });
    const node = { driver: "nbd", "node-name": "n", server: { type: "unix", path }, export: "disk" };
    for (const context of ["qemu:dirty-bitmap:b", "qemu:dirty-bitmap:nosuch", "qemu:allocation-depth", ""]) {
      const answer = await side.ask("blockdev-add", { ...node, "x-dirty-bitmap": context });
      expect(answer).toEqual({ error: "GenericError" });
    }
    // What block status is anyway may be asked for.
    await side.run("blockdev-add", { ...node, "x-dirty-bitmap": "base:allocation" });
    await side.run("blockdev-del", { "node-name": "n" });
  });
});
