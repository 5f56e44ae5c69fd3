import { readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Mirror } from "@blockmirror/mirror";
import { isUnflushedLoss } from "@blockmirror/nbd";
import { lacksPeers, PeerServer, qemuNbd, requirePeer, run } from "@blockmirror/peers";
import { describe, expect, test } from "vitest";
import { propertySeed as seed } from "../support/seed.ts";
import { Fio, holdsAllOf, type Workload } from "./support/fio.ts";
import { MirroredExport } from "./support/mirrored-export.ts";

const MiB = 2 ** 20;
const SIZE = 18 * MiB;
const JOBS = 3;

/** Three connections that write for about three seconds, so that a mirror begins and completes among their writes. */
const acrossThePivot: Workload = { jobs: JOBS, size: SIZE / JOBS, rate: 2.5 * MiB, seed };

/** An nbdkit that serves a file through filters. */
async function nbdkitFile(filters: readonly string[], settings: readonly string[] = []): Promise<PeerServer> {
  const server = new PeerServer("nbdkit", (directory) => [
    ...filters.map((name) => `--filter=${name}`),
    "file",
    targetOf(directory),
    ...settings.map((each) => each.replace("DIR", directory)),
  ]);
  await run("/bin/sh", ["-c", `truncate -s ${SIZE} disk.raw`], { cwd: server.directory });
  return server.start();
}

const targetOf = (directory: string): string => path.join(directory, "disk.raw");

describe.skipIf(lacksPeers("fio", "qemu-nbd", "qemu-img", "nbdkit"))(
  "fio writes through the export while its disk is mirrored",
  () => {
    test.each(["background", "write-blocking"] as const)(
      "%s: at the pivot both sides are the same; what fio wrote before and after it is on the target",
      async (copyMode) => {
        const peer = await qemuNbd("raw", SIZE);
        await using disk = await MirroredExport.create(SIZE);
        try {
          let source: Buffer = Buffer.alloc(0);
          let isIdentical: boolean | undefined;
          disk.onPivot = () => {
            source = disk.source();
            isIdentical = source.equals(readFileSync(targetOf(peer.directory)));
          };
          const fio = new Fio(disk.uri, acrossThePivot, disk.directory);
          await disk.clientsWrote(MiB);
          const { job } = await disk.mirror(peer.uri, { copyMode });
          await disk.saw("BLOCK_JOB_READY");
          await disk.clientsWrote(disk.written + MiB);
          await job.complete();
          expect(await job.done).toEqual({ outcome: "completed" });
          expect(isIdentical).toBe(true);
          expect(fio.isRunning).toBe(true);
          expect(disk.server.clients().length).toBe(JOBS);
          await fio.done;
          expect(await holdsAllOf(acrossThePivot, targetOf(peer.directory), disk.directory)).toBe(true);
          // Later writes went to the target alone.
          expect(disk.source().equals(source)).toBe(true);
          expect(await holdsAllOf(acrossThePivot, disk.sourceFile, disk.directory)).toBe(false);
        } finally {
          await peer.stop();
        }
      },
    );

    test("a qcow2 image behind qemu-nbd becomes the same disk", async () => {
      const peer = await qemuNbd("qcow2", SIZE);
      await using disk = await MirroredExport.create(SIZE);
      try {
        const fio = new Fio(disk.uri, acrossThePivot, disk.directory);
        await disk.clientsWrote(MiB);
        const { job } = await disk.mirror(peer.uri);
        await fio.done;
        await disk.saw("BLOCK_JOB_READY");
        await job.complete();
        expect(await job.done).toEqual({ outcome: "completed" });
        await disk.closeTarget();
        await peer.signal("SIGTERM");
        const image = path.join(peer.directory, "disk.qcow2");
        await run(requirePeer("qemu-img"), ["check", "-q", image]);
        await run(requirePeer("qemu-img"), ["compare", "-f", "raw", "-F", "qcow2", disk.sourceFile, image]);
      } finally {
        await peer.stop();
      }
    });
  },
);

describe.skipIf(lacksPeers("fio", "qemu-nbd", "qemu-img", "nbdkit"))("while the target's server", () => {
  /** Writes that end before the job is completed, so that the whole disks can be compared. */
  const before: Workload = { jobs: JOBS, size: SIZE / JOBS, rate: 4 * MiB, seed };
  /** The same of guests that have not written everything when a busy machine gets to the next step. */
  const slowly: Workload = { ...before, rate: 1.5 * MiB };

  async function completesIdentical(disk: MirroredExport, mirror: Mirror, target: string): Promise<void> {
    await disk.saw("BLOCK_JOB_READY");
    let isIdentical: boolean | undefined;
    disk.onPivot = () => {
      isIdentical = disk.source().equals(readFileSync(target));
    };
    await mirror.job.complete();
    expect(await mirror.job.done).toEqual({ outcome: "completed" });
    expect(isIdentical).toBe(true);
    expect(await holdsAllOf(before, target, disk.directory)).toBe(true);
  }

  test("is killed and started again, the job goes on where it was when what it answered is kept", async () => {
    const peer = await qemuNbd("raw", SIZE);
    await using disk = await MirroredExport.create(SIZE);
    try {
      const fio = new Fio(disk.uri, before, disk.directory);
      await disk.clientsWrote(MiB);
      const patience = { unflushedWrites: "trust", reconnectDelayMs: 60_000 };
      const mirror = await disk.mirror(peer.uri, { speed: 16 * MiB }, patience);
      for (const bytes of [2 * MiB, 3 * MiB, 4 * MiB]) {
        await disk.clientsWrote(MiB + bytes);
        await peer.signal("SIGKILL");
        await peer.start();
      }
      await fio.done;
      mirror.job.setSpeed(0);
      await completesIdentical(disk, mirror, targetOf(peer.directory));
      expect(mirror.job.snapshot().errorCounts).toEqual({ read: 0, write: 0 });
    } finally {
      await peer.stop();
    }
  });

  test.each(["while it copies", "when it is READY"])(
    "is gone %s, policy stop pauses the job; when it is back, resume goes on to an identical copy",
    async (moment) => {
      const peer = await qemuNbd("raw", SIZE);
      await using disk = await MirroredExport.create(SIZE);
      try {
        const fio = new Fio(disk.uri, slowly, disk.directory);
        await disk.clientsWrote(MiB);
        const mirror = await disk.mirror(
          peer.uri,
          { onTargetError: "stop", speed: moment === "while it copies" ? 8 * MiB : 0 },
          { unflushedWrites: "trust", reconnectDelayMs: 0 },
        );
        if (moment === "when it is READY") await disk.saw("BLOCK_JOB_READY");
        await disk.clientsWrote(disk.written + MiB);
        await peer.signal("SIGKILL");
        await disk.sawStatus(moment === "when it is READY" ? "standby" : "paused");
        expect(mirror.job.snapshot()).toMatchObject({ ioStatus: "failed", userPaused: true });
        expect(disk.events).toContainEqual(
          expect.objectContaining({
            event: "BLOCK_JOB_ERROR",
            data: { device: "m0", operation: "write", action: "stop" },
          }),
        );
        // Guests do not notice: what they write meanwhile is copied later.
        await disk.clientsWrote(disk.written + MiB);
        await peer.start();
        mirror.job.resume();
        await fio.done;
        mirror.job.setSpeed(0);
        expect(mirror.job.snapshot().ioStatus).toBe("ok");
        await completesIdentical(disk, mirror, targetOf(peer.directory));
      } finally {
        await peer.stop();
      }
    },
  );

  test("is lost with writes that were not flushed, the job fails and the guests do not", async () => {
    const peer = await qemuNbd("raw", SIZE);
    await using disk = await MirroredExport.create(SIZE);
    try {
      const fio = new Fio(disk.uri, before, disk.directory);
      await disk.clientsWrote(MiB);
      const { job } = await disk.mirror(peer.uri, { speed: 8 * MiB }, { reconnectDelayMs: 60_000 });
      // Only what the server took and did not flush can be lost.
      while ((job.snapshot().details?.bytesCopied ?? 0) === 0) {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await peer.signal("SIGKILL");
      await peer.start();
      const { outcome, error } = await job.done;
      expect(outcome).toBe("failed");
      // The write that was on its way may fail first, or the target refuse the next: either names the loss as its cause.
      expect(isUnflushedLoss(error), error?.message).toBe(true);
      expect(error?.message).toMatch(/ refuses requests: | failed: its connection was lost/u);
      await fio.done;
      expect(await holdsAllOf(before, disk.sourceFile, disk.directory)).toBe(true);
    } finally {
      await peer.stop();
    }
  });

  test("is slow, the job takes longer and nothing else", async () => {
    const peer = await nbdkitFile(["delay"], ["wdelay=20ms"]);
    await using disk = await MirroredExport.create(SIZE);
    try {
      const fio = new Fio(disk.uri, before, disk.directory);
      await disk.clientsWrote(MiB);
      const mirror = await disk.mirror(peer.uri);
      await fio.done;
      await completesIdentical(disk, mirror, targetOf(peer.directory));
    } finally {
      await peer.stop();
    }
  });

  test("has no space left, policy enospc pauses the job; with room again, resume goes on", async () => {
    const peer = await nbdkitFile(
      ["error"],
      [
        "error=ENOSPC",
        "error-rate=100%",
        "error-pread-rate=0",
        "error-extents-rate=0",
        "error-file=DIR/full",
      ],
    );
    await using disk = await MirroredExport.create(SIZE);
    try {
      const full = path.join(peer.directory, "full");
      const fio = new Fio(disk.uri, slowly, disk.directory);
      await disk.clientsWrote(MiB);
      const mirror = await disk.mirror(peer.uri, { onTargetError: "enospc", speed: 8 * MiB });
      await disk.clientsWrote(2 * MiB);
      writeFileSync(full, "");
      await disk.sawStatus("paused");
      expect(mirror.job.snapshot()).toMatchObject({ ioStatus: "nospace", userPaused: true });
      await disk.clientsWrote(disk.written + MiB);
      rmSync(full);
      mirror.job.resume();
      await fio.done;
      mirror.job.setSpeed(0);
      await completesIdentical(disk, mirror, targetOf(peer.directory));
    } finally {
      await peer.stop();
    }
  });

  test("has no space left, policy report ends the job with that error; the guests go on", async () => {
    const peer = await nbdkitFile(["error"], ["error-pwrite=ENOSPC", "error-pwrite-rate=100%"]);
    await using disk = await MirroredExport.create(SIZE);
    try {
      const fio = new Fio(disk.uri, before, disk.directory);
      await disk.clientsWrote(MiB);
      const { job } = await disk.mirror(peer.uri);
      expect(await job.done).toMatchObject({ outcome: "failed", error: { code: "ENOSPC" } });
      await fio.done;
      expect(await holdsAllOf(before, disk.sourceFile, disk.directory)).toBe(true);
    } finally {
      await peer.stop();
    }
  });
});
