import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { lacksPeers } from "@blockmirror/peers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { mirrorToNbd } from "../src/process/daemon-mirror.ts";
import { copyWithDd, mirrorWithStorageDaemon } from "../src/process/peer-mirror.ts";
import { QemuNbd } from "../src/process/qemu-nbd.ts";
import {
  allocatedBytes,
  assertIdentical,
  writeEmptyImage,
  writeFullImage,
  writeSparseImage,
} from "../src/raw/images.ts";

const MiB = 2 ** 20;

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-img"))("the peers' side", () => {
  let directory: string;
  let source: string;
  let target: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "blockmirror-bench-test-"));
    source = join(directory, "source.raw");
    target = join(directory, "target.raw");
  });

  afterEach(() => rm(directory, { recursive: true, force: true }));

  test("qemu-storage-daemon makes an identical copy, completion after READY", async () => {
    await writeFullImage(source, 8 * MiB);
    await writeEmptyImage(target, 8 * MiB);
    const { readyMs, completedMs } = await mirrorWithStorageDaemon(source, target);
    expect(readyMs).toBeGreaterThan(0);
    expect(completedMs).toBeGreaterThan(readyMs);
    await assertIdentical(source, target);
  });

  test("dd makes an identical copy onto an existing target", async () => {
    await writeFullImage(source, 5 * MiB);
    await writeFullImage(target, 6 * MiB);
    await copyWithDd(source, target);
    expect((await stat(target)).size).toBe(6 * MiB);
    await writeFullImage(target, 5 * MiB);
    await copyWithDd(source, target);
    await assertIdentical(source, target);
  });

  test("a full image has no hole, a sparse one only its data, and a copy that differs is noticed", async () => {
    await writeFullImage(source, 8 * MiB);
    expect(await allocatedBytes(source)).toBeGreaterThanOrEqual(8 * MiB);
    await writeSparseImage(target, 2 ** 30, 4);
    expect((await stat(target)).size).toBe(2 ** 30);
    expect(await allocatedBytes(target)).toBeLessThan(8 * MiB);
    await writeEmptyImage(target, 8 * MiB);
    expect(await allocatedBytes(target)).toBe(0);
    await expect(assertIdentical(source, target)).rejects.toMatchObject({ exitCode: 1 });
  });

  test.skipIf(lacksPeers("qemu-nbd")).each(["ours", "qemu"] as const)(
    "the daemon of %s makes an identical copy behind qemu-nbd",
    async (daemon) => {
      await writeFullImage(source, 8 * MiB);
      await writeEmptyImage(target, 8 * MiB);
      const server = await QemuNbd.start(target, directory);
      try {
        const { readyMs, completedMs } = await mirrorToNbd(daemon, source, server.socketPath);
        expect(readyMs).toBeGreaterThan(0);
        expect(completedMs).toBeGreaterThan(readyMs);
        await assertIdentical(source, `nbd+unix:///?socket=${server.socketPath}`);
      } finally {
        server.stop();
      }
    },
  );
});
