import { truncate, writeFile } from "node:fs/promises";
import { BlockGraph } from "@blockmirror/block-driver";
import { lacksPeers, PeerServer, requirePeer, run } from "@blockmirror/peers";
import type { JsonObject } from "@blockmirror/qmp";
import { describe, it } from "vitest";

import { createDaemonRegistry } from "../src/index.ts";
import { compare } from "./support/compare.ts";
import { afterTest } from "./support/daemon-process.ts";
import { makeImage, MIB, rawNode } from "./support/images.ts";
import { exportOverNbd, qemuImg } from "./support/qemu.ts";
import { Side } from "./support/sides.ts";
import { SmallFileSystem } from "./support/small-file-system.ts";

const DISK = 16 * MIB;

/** Serves a file of the small file system as a disk; returns the socket. */
type Serve = (fileSystem: SmallFileSystem) => Promise<string>;

async function byQemuNbd(fileSystem: SmallFileSystem): Promise<string> {
  const server = new PeerServer("qemu-nbd", () => ["-f", "raw", "-x", "t", fileSystem.path("copy.raw")]);
  afterTest(() => server.stop());
  await server.start();
  return server.socket;
}

async function byUs(fileSystem: SmallFileSystem): Promise<string> {
  const side = await Side.ours();
  afterTest(() => side[Symbol.asyncDispose]());
  const file = { driver: "file", filename: fileSystem.path("copy.raw") };
  await side.run("blockdev-add", { driver: "raw", "node-name": "t", file });
  await exportOverNbd(side, "t");
  return side.path("nbd.sock");
}

/** Writes to an export all the time, 64 KiB at a time, to its upper half. A write that fails ends it with that error. */
class Guest {
  readonly #stopped: Promise<void>;
  #isEnding = false;
  #written = 0;
  #waiting: (() => void) | undefined;

  constructor(uri: string) {
    this.#stopped = this.#run(uri);
    // It is awaited in the end.
    this.#stopped.catch(() => undefined);
  }

  /** Resolves when it has written `count` times more; rejects when it has failed. */
  async writes(count: number): Promise<void> {
    const goal = this.#written + count;
    while (this.#written < goal) {
      await Promise.race([new Promise<void>((resolve) => (this.#waiting = resolve)), this.#stopped]);
    }
  }

  async end(): Promise<void> {
    this.#isEnding = true;
    await this.#stopped;
  }

  async #run(uri: string): Promise<void> {
    const graph = new BlockGraph({ registry: createDaemonRegistry() });
    try {
      const node = await graph.open({ driver: "nbd", uri });
      const edge = graph.attach(node, { name: "guest", uses: ["write"], shares: ["read"] });
      const content = Buffer.alloc(65_536);
      for (let at = 0; !this.#isEnding; at = (at + 7 * 65_536) % (DISK / 2)) {
        await edge.write(DISK / 2 + at, [content.fill(1 + (this.#written % 255))]);
        this.#written += 1;
        this.#waiting?.();
      }
      await edge.flush();
    } finally {
      await graph.closeAll();
    }
  }
}

/** fio writes to the lower half, and reads back what it has written. */
async function fio(side: Side, uri: string): Promise<void> {
  const job = ["--name=guest", "--ioengine=nbd", `--uri=${uri}`, "--rw=randwrite", "--bs=16k", "--size=4m"];
  const verify = [
    "--iodepth=8",
    "--verify=crc32c",
    "--do_verify=1",
    "--verify_fatal=1",
    "--output=/dev/null",
  ];
  await run(requirePeer("fio"), [...job, ...verify], { cwd: side.directory });
}

async function mirrorIntoFull(side: Side, fileSystem: SmallFileSystem, socket: string): Promise<unknown> {
  await makeImage(side, "src.raw", DISK, 3);
  await side.run("blockdev-add", rawNode(side, "src", "src.raw"));
  const uri = await exportOverNbd(side, "src");
  const server = { type: "unix", path: socket };
  await side.run("blockdev-add", {
    driver: "raw",
    "node-name": "dst",
    file: { driver: "nbd", server, export: "t" },
  });
  const guest = new Guest(uri);
  await guest.writes(1);
  const mirror = { "job-id": "j", device: "src", target: "dst", sync: "full", "on-target-error": "enospc" };
  await side.run("blockdev-mirror", mirror);
  let error: JsonObject = {};
  await side.eventsUntil((word, event) => {
    if (word === "BLOCK_JOB_ERROR") error = event.data;
    return word === "BLOCK_JOB_ERROR";
  });
  // The job stands still, and no guest notices.
  await guest.writes(100);
  await fio(side, uri);
  const seen: unknown[] = [error];
  seen.push((await side.client.execute("query-block-jobs")).map((job) => [job["io-status"], job.ready]));
  fileSystem.giveBack();
  seen.push(await side.ask("block-job-resume", { device: "j" }));
  await side.eventsUntil((word) => word === "BLOCK_JOB_READY");
  await guest.writes(10);
  await guest.end();
  seen.push(await side.ask("block-job-complete", { device: "j" }));
  await side.eventsUntil((word) => word === "null");
  await qemuImg("compare", "-f", "raw", "-F", "raw", side.path("src.raw"), fileSystem.path("copy.raw"));
  return seen;
}

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-nbd", "qemu-img", "fio"))(
  "a target on a file system that fills up",
  () => {
    it.for<readonly [string, Serve]>([
      ["qemu-nbd", byQemuNbd],
      ["our server", byUs],
    ])(
      "of %s stops the job alone, and is identical after there is space again",
      async ([, serve], { skip }) => {
        await compare(async (side) => {
          await using fileSystem = await SmallFileSystem.mount(20);
          if (fileSystem === undefined) return skip("mounting takes root");
          fileSystem.takeAway(12);
          await writeFile(fileSystem.path("copy.raw"), "");
          await truncate(fileSystem.path("copy.raw"), DISK);
          // Awaited here: the file system is gone with this block.
          return await mirrorIntoFull(side, fileSystem, await serve(fileSystem));
        });
      },
    );
  },
);
