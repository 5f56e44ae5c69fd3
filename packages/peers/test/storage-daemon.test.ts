import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { lacksPeers, run, StorageDaemon } from "../src/index.ts";

const MiB = 1 << 20;

function fileNode(name: string, filename: string): { readonly [member: string]: unknown } {
  return { driver: "raw", "node-name": name, file: { driver: "file", filename } };
}

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-img", "qemu-io"))("StorageDaemon", () => {
  let directory: string;
  let source: string;
  let target: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "blockmirror-qsd-test-"));
    source = join(directory, "source.raw");
    target = join(directory, "target.raw");
    await run("qemu-img", ["create", "-q", "-f", "raw", source, String(16 * MiB)]);
    await run("qemu-img", ["create", "-q", "-f", "raw", target, String(16 * MiB)]);
    await run("qemu-io", ["-f", "raw", "-c", "write -q -P 0x5a 4M 1M", source]);
  });

  afterEach(() => rm(directory, { recursive: true, force: true }));

  async function withDaemon(body: (daemon: StorageDaemon) => Promise<void>): Promise<void> {
    const daemon = await StorageDaemon.start();
    try {
      await daemon.execute("blockdev-add", fileNode("src", source));
      await daemon.execute("blockdev-add", fileNode("dst", target));
      await body(daemon);
    } finally {
      await daemon.stop();
    }
  }

  test("mirrors an image, tells how long each part took, and the copy is identical", async () => {
    await withDaemon(async (daemon) => {
      const timing = await daemon.mirror({ "job-id": "m", device: "src", target: "dst", sync: "full" });
      expect(timing.statuses).toEqual(["created", "running", "ready", "waiting", "pending", "concluded"]);
      expect(timing.finalEvent).toBe("BLOCK_JOB_COMPLETED");
      expect(timing.lengthAtReady).toBe(16 * MiB);
      expect(timing.offsetAtReady).toBe(16 * MiB);
      expect(timing.readyMs).toBeGreaterThan(0);
      expect(timing.finishMs).toBeGreaterThan(0);
      // The job is dismissed, so the same id is free again.
      await expect(daemon.execute("query-jobs")).resolves.toEqual([]);
    });
    const compare = await run("qemu-img", ["compare", "-f", "raw", "-F", "raw", source, target]);
    expect(compare.stdout).toContain("identical");
  });

  test("holds at READY while the caller acts, and can keep the copy or abandon it", async () => {
    await withDaemon(async (daemon) => {
      const args = { "job-id": "m", device: "src", target: "dst", sync: "full" } as const;
      let seen: unknown;
      const atReady = async (): Promise<void> => {
        seen = await daemon.execute("query-jobs");
      };
      const kept = await daemon.mirror(args, { finish: "cancel", atReady });
      expect(seen).toMatchObject([{ id: "m", status: "ready" }]);
      expect(kept.finalEvent).toBe("BLOCK_JOB_COMPLETED");
      const abandoned = await daemon.mirror(args, { finish: "abandon" });
      expect(abandoned.finalEvent).toBe("BLOCK_JOB_CANCELLED");
    });
  });

  test("a mirror that fails gives the job's own error", async () => {
    await withDaemon(async (daemon) => {
      await daemon.execute("blockdev-add", {
        driver: "raw",
        "node-name": "bad",
        file: {
          driver: "blkdebug",
          image: { driver: "file", filename: target },
          "inject-error": [{ event: "pwritev", errno: 5, immediately: true }],
        },
      });
      const mirror = daemon.mirror({ "job-id": "m", device: "src", target: "bad", sync: "full" });
      await expect(mirror).rejects.toMatchObject({
        code: "PEER_FAILED",
        message: expect.stringContaining("Input/output error"),
      });
      await expect(daemon.execute("query-jobs")).resolves.toEqual([]);
    });
  });

  test("a refused command is a QMP error with its class", async () => {
    await withDaemon(async (daemon) => {
      await expect(daemon.execute("no-such-command")).rejects.toMatchObject({
        code: "QMP_ERROR",
        qmpClass: "CommandNotFound",
      });
    });
  });

  test("offers its public socket to a client under test", async () => {
    await withDaemon(async (daemon) => {
      const socket = createConnection(daemon.qmpSocketPath).setEncoding("utf8");
      const greeting = await new Promise<string>((resolve) => socket.once("data", resolve));
      socket.destroy();
      expect(JSON.parse(greeting)).toHaveProperty("QMP");
    });
  });

  test("arguments are added to the command line", async () => {
    const daemon = await StorageDaemon.start({
      args: ["--blockdev", `driver=file,node-name=disk,filename=${source}`],
    });
    try {
      const nodes = await daemon.execute("query-named-block-nodes", { flat: true });
      expect(nodes).toMatchObject([{ "node-name": "disk" }]);
    } finally {
      await daemon.stop();
    }
  });

  test("arguments it refuses fail the start with its stderr and leave nothing behind", async () => {
    const start = StorageDaemon.start({
      args: ["--blockdev", "driver=file,node-name=x,filename=/nonexistent"],
    });
    await expect(start).rejects.toMatchObject({
      code: "PEER_FAILED",
      stderr: expect.stringContaining("/nonexistent"),
    });
  });

  test("stops once, removes its directory, and answers no more", async () => {
    const daemon = await StorageDaemon.start();
    await Promise.all([daemon.stop(), daemon.stop()]);
    expect(existsSync(daemon.directory)).toBe(false);
    expect(() => process.kill(daemon.pid, 0)).toThrow(/ESRCH/u);
    await expect(daemon.execute("query-jobs")).rejects.toMatchObject({ code: "PEER_GONE" });
  });

  test("one that is killed from outside fails what waits, and can still be stopped", async () => {
    const daemon = await StorageDaemon.start();
    const waiting = daemon.waitForEvent("NEVER");
    process.kill(daemon.pid, "SIGKILL");
    await expect(waiting).rejects.toMatchObject({ code: "PEER_GONE" });
    await daemon.stop();
  });
});
