import { performance } from "node:perf_hooks";
import { join } from "node:path";

import type { StorageDaemon } from "@blockmirror/peers";

import { formatBytes } from "../format.ts";
import { interleave, medianOf } from "../interleave.ts";
import { startDaemon, type DaemonName } from "../process/daemon-mirror.ts";
import { runFio, type FioResult } from "../process/fio.ts";
import { writeFullImage } from "../raw/images.ts";
import type { BenchContext, Scenario } from "../scenario.ts";

/** How long a guest is watched with a job, and without one. */
const SECONDS = 5;

interface Images {
  readonly source: string;
  readonly target: string;
}

interface Figures {
  /** The guest's rate with the job, in percent of its rate without one. */
  readonly keptPercent: number;
  /** From the job's start to READY; infinite when it was not while the guest wrote. */
  readonly readyMs: number;
  readonly withJob: FioResult;
}

async function makeImages({ directory, dataBytes, log }: BenchContext): Promise<Images> {
  const images = { source: join(directory, "source.raw"), target: join(directory, "target.raw") };
  log(`writing two images of ${formatBytes(dataBytes)}`);
  await writeFullImage(images.source, dataBytes);
  await writeFullImage(images.target, dataBytes);
  return images;
}

/** Both images as nodes, and an export of the source for the guest. @returns its URI. */
async function openExport(
  daemon: StorageDaemon,
  { source, target }: Images,
  directory: string,
): Promise<string> {
  for (const [name, filename] of Object.entries({ source, target })) {
    const file = { driver: "file", filename };
    await daemon.execute("blockdev-add", { driver: "raw", "node-name": name, file });
  }
  const path = join(directory, `guest-${process.hrtime.bigint()}.sock`);
  await daemon.execute("nbd-server-start", { addr: { type: "unix", data: { path } } });
  const options = { type: "nbd", id: "guest", "node-name": "source", writable: true };
  await daemon.execute("block-export-add", options);
  return `nbd+unix:///source?socket=${path}`;
}

async function measure(
  name: DaemonName,
  images: Images,
  { directory, dataBytes }: BenchContext,
  copyMode: "background" | "write-blocking",
): Promise<Figures> {
  const daemon = await startDaemon(name);
  try {
    const uri = await openExport(daemon, images, directory);
    const guest = (): Promise<FioResult> =>
      runFio({ uri, mode: "randwrite", bytes: dataBytes, seconds: SECONDS, directory });
    const alone = await guest();
    const started = performance.now();
    const job = {
      "job-id": "bench",
      device: "source",
      target: "target",
      sync: "full",
      "copy-mode": copyMode,
    };
    await daemon.execute("blockdev-mirror", job);
    let readyMs = Number.POSITIVE_INFINITY;
    const ready = daemon.waitForEvent("BLOCK_JOB_READY", { timeoutMs: 600_000 }).then(() => {
      readyMs = performance.now() - started;
    });
    // A job that is cancelled before it was READY never is; then this ends with the daemon.
    ready.catch(() => {});
    // Write-blocking is for the time after READY, background for the time before.
    if (copyMode === "write-blocking") await ready;
    const withJob = await guest();
    const figures = { keptPercent: (100 * withJob.iops) / alone.iops, readyMs, withJob };
    await daemon.execute("block-job-cancel", { device: "bench", force: true });
    await daemon.waitForEvent("JOB_STATUS_CHANGE", { match: { status: "null" }, timeoutMs: 60_000 });
    return figures;
  } finally {
    await daemon.stop();
  }
}

const PEER = "qemu-storage-daemon";

/** A guest that writes as fast as it can while its disk is mirrored. */
export const jobsGuest: Scenario = {
  name: "jobs/guest",
  title: "a guest's 4 KiB random writes over NBD while raw is mirrored to raw in the background",
  needs: ["qemu-storage-daemon", "fio"],
  async run(context) {
    const images = await makeImages(context);
    const results = await interleave(
      {
        ours: () => measure("ours", images, context, "background"),
        qemu: () => measure("qemu", images, context, "background"),
      },
      { runs: context.runs },
    );
    return [
      {
        figure: "the guest keeps of its rate without a job",
        unit: "%",
        ours: medianOf(results, "ours", ({ keptPercent }) => keptPercent),
        peer: { name: PEER, value: medianOf(results, "qemu", ({ keptPercent }) => keptPercent) },
        largerIsBetter: true,
        bar: { on: "value", atLeast: 60 },
      },
      {
        figure: "the guest's rate with the job",
        unit: "IOPS",
        ours: medianOf(results, "ours", ({ withJob }) => withJob.iops),
        peer: { name: PEER, value: medianOf(results, "qemu", ({ withJob }) => withJob.iops) },
        largerIsBetter: true,
      },
    ];
  },
};

/** A guest whose writes reach both sides before they settle. */
export const jobsWriteBlocking: Scenario = {
  name: "jobs/write-blocking",
  title: "a guest's 4 KiB random writes over NBD, mirrored in write-blocking mode, after READY",
  needs: ["qemu-storage-daemon", "fio"],
  async run(context) {
    const images = await makeImages(context);
    const results = await interleave(
      {
        ours: () => measure("ours", images, context, "write-blocking"),
        qemu: () => measure("qemu", images, context, "write-blocking"),
      },
      { runs: context.runs },
    );
    return [
      {
        figure: "the guest's rate",
        unit: "IOPS",
        ours: medianOf(results, "ours", ({ withJob }) => withJob.iops),
        peer: { name: PEER, value: medianOf(results, "qemu", ({ withJob }) => withJob.iops) },
        largerIsBetter: true,
        bar: { on: "ratio", atLeast: 1.2 },
      },
      {
        figure: "99 of 100 writes take at most",
        unit: "us",
        ours: medianOf(results, "ours", ({ withJob }) => withJob.p99Us),
        peer: { name: PEER, value: medianOf(results, "qemu", ({ withJob }) => withJob.p99Us) },
        bar: { on: "ratio", atLeast: 1 },
      },
    ];
  },
};
