import { performance } from "node:perf_hooks";

import { run, StorageDaemon } from "@blockmirror/peers";

/** Formats of both sides. */
export interface Formats {
  readonly source: "raw" | "qcow2";
  readonly target: "raw" | "qcow2";
}

const RAW: Formats = { source: "raw", target: "raw" };

/**
 * Mirrors with qemu-storage-daemon's blockdev-mirror at its defaults. Starting the daemon and opening the images is
 * not counted, only what {@link MirrorRun} counts of ours.
 *
 * @returns Milliseconds from the command to READY, and to completion.
 */
export async function mirrorWithStorageDaemon(
  source: string,
  target: string,
  formats: Formats = RAW,
): Promise<{ readonly readyMs: number; readonly completedMs: number }> {
  const daemon = await StorageDaemon.start();
  try {
    for (const [name, filename, driver] of [
      ["source", source, formats.source],
      ["target", target, formats.target],
    ]) {
      const file = { driver: "file", filename };
      await daemon.execute("blockdev-add", { driver, "node-name": name, file });
    }
    const args = { "job-id": "bench", device: "source", target: "target", sync: "full" } as const;
    const { readyMs, finishMs } = await daemon.mirror(args);
    return { readyMs, completedMs: readyMs + finishMs };
  } finally {
    await daemon.stop();
  }
}

/**
 * Copies with `qemu-img convert` onto an existing image. At its defaults it flushes nothing (`unsafe`); with `writeback` the
 * copy is durable when it ends, as a mirror's is.
 */
export async function convertWithQemuImg(
  source: string,
  target: string,
  formats: Formats,
  cache: "unsafe" | "writeback",
): Promise<number> {
  const started = performance.now();
  const args = ["convert", "-n", "-t", cache, "-f", formats.source, "-O", formats.target, source, target];
  await run("qemu-img", args, { timeoutMs: 600_000 });
  return performance.now() - started;
}

/** Copies with `dd bs=1M conv=notrunc`: the page cache's own speed. It flushes nothing. */
export async function copyWithDd(source: string, target: string): Promise<number> {
  const started = performance.now();
  await run("dd", [`if=${source}`, `of=${target}`, "bs=1M", "conv=notrunc", "status=none"]);
  return performance.now() - started;
}
