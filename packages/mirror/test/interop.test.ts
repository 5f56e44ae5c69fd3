import { mkdtemp, open, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  ALL_PERMISSIONS,
  BlockGraph,
  createDefaultRegistry,
  type BlockNode,
} from "@blockmirror/block-driver";
import { JobManager } from "@blockmirror/blockjob";
import { lacksPeers, run } from "@blockmirror/peers";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startMirror } from "../src/index.ts";
import { KIB, MIB, seededRandom } from "./support/rig.ts";

const SIZE = 48 * MIB + 512;

/** Real files, judged by QEMU's tools: what they write we copy, and they find the copy equal. */
describe.skipIf(lacksPeers("qemu-img", "qemu-io"))("with QEMU's tools", () => {
  let directory = "";
  let graph: BlockGraph;
  let jobs: JobManager;

  beforeEach(async () => {
    directory = await mkdtemp(path.join(tmpdir(), "blockmirror-mirror-"));
    graph = new BlockGraph({ registry: createDefaultRegistry() });
    jobs = new JobManager();
  });

  afterEach(async () => {
    await jobs.close();
    await graph.closeAll();
    await rm(directory, { recursive: true, force: true });
  });

  const file = (name: string): string => path.join(directory, name);

  async function makeImage(name: string): Promise<string> {
    await run("qemu-img", ["create", "-q", "-f", "raw", file(name), String(SIZE)]);
    const writes = ["write -P 0x11 0 5M", "write -P 0x22 20M 3M", "write -P 0x33 48M 512", "write -z 2M 1M"];
    await run("qemu-io", ["-f", "raw", ...writes.flatMap((write) => ["-c", write]), file(name)]);
    return file(name);
  }

  function openImage(filename: string, readOnly: boolean): Promise<BlockNode> {
    return graph.open({ driver: "raw", readOnly, file: { driver: "file", filename } });
  }

  it("copies an image that qemu-io wrote: same bytes, same map, no more space", async () => {
    const sourceFile = await makeImage("source.raw");
    const targetFile = file("target.raw");
    await graph.create("file", { filename: targetFile, size: SIZE });
    const source = await openImage(sourceFile, true);
    const target = await openImage(targetFile, false);
    const { job } = await startMirror({ id: "m0", graph, jobs, source, target, autoDismiss: false });
    await new Promise<void>((resolve) => {
      jobs.subscribe((event) => {
        if (event.event === "BLOCK_JOB_READY") resolve();
      });
    });
    await job.complete();
    expect(await job.done).toEqual({ outcome: "completed" });
    await graph.close(source);
    await graph.close(target);
    await run("qemu-img", ["compare", "-f", "raw", "-F", "raw", sourceFile, targetFile]);
    const maps = await Promise.all(
      [sourceFile, targetFile].map((name) => run("qemu-img", ["map", "-f", "raw", "--output=json", name])),
    );
    expect(maps[1]?.stdout).toBe(maps[0]?.stdout);
    expect((await stat(targetFile)).blocks).toBeLessThanOrEqual((await stat(sourceFile)).blocks);
  });

  it("follows a guest on real files to the switch and beyond", async () => {
    const sourceFile = await makeImage("source.raw");
    const targetFile = await makeImage("target.raw");
    const referenceFile = file("reference.raw");
    await run("cp", [sourceFile, referenceFile]);
    // Stale content that the source does not have.
    await run("qemu-io", ["-f", "raw", "-c", "write -P 0xee 30M 4M", targetFile]);
    const source = await openImage(sourceFile, false);
    const target = await openImage(targetFile, false);
    const guest = graph.attach(source, { name: "guest", uses: ["read", "write"], shares: ALL_PERMISSIONS });
    const reference = await open(referenceFile, "r+");
    const random = seededRandom(42);
    const guestLife = { over: false };
    const writing = (async () => {
      for (let count = 0; !guestLife.over; count += 1) {
        const length = Math.ceil(random() * 200 * KIB);
        const offset = Math.floor(random() * (SIZE - length));
        const bytes = Buffer.alloc(length, 1 + (count % 255));
        await guest.write(offset, [bytes]);
        await reference.write(bytes, 0, length, offset);
      }
    })();
    const mirror = await startMirror({ id: "m0", graph, jobs, source, target, autoDismiss: false });
    await new Promise<void>((resolve) => {
      jobs.subscribe((event) => {
        if (event.event === "BLOCK_JOB_READY") resolve();
      });
    });
    await mirror.job.complete();
    expect(await mirror.job.done).toEqual({ outcome: "completed" });
    expect(guest.node).toBe(target);
    guestLife.over = true;
    await writing;
    await reference.close();
    await graph.detach(guest);
    await graph.close(source);
    await graph.close(target);
    await run("qemu-img", ["compare", "-f", "raw", "-F", "raw", targetFile, referenceFile]);
  });
});
