import { join } from "node:path";

import { run, StorageDaemon } from "@blockmirror/peers";

import { formatBytes } from "../format.ts";
import { interleave, medianOf } from "../interleave.ts";
import { PROGRAM } from "../process/mirror-process.ts";
import { writeFullImage } from "../raw/images.ts";
import type { BenchRow } from "../row.ts";
import type { Scenario } from "../scenario.ts";

/** What the guest does: small writes at a rate that either program has the time for. */
const WRITES_PER_SEC = 5000;
const SECONDS = 5;

/** Bytes of the disk: the copy at {@link MIRROR_SPEED} goes on for as long as the guest writes. */
const DISK_BYTES: number = 2 ** 30;
const MIRROR_SPEED: number = 200 * 2 ** 20;

/** Latencies that the guest saw. */
interface GuestLatency {
  readonly medianMs: number;
  readonly p99Ms: number;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

/** Follows names into parsed JSON. */
function member(value: unknown, ...names: readonly (string | number)[]): unknown {
  let at = value;
  for (const name of names) at = isRecord(at) ? at[name] : undefined;
  return at;
}

/** 4 KiB writes through an export at a fixed rate; latencies by fio's own clock. */
async function writeAsGuest(uri: string, directory: string): Promise<GuestLatency> {
  const load = ["--rw=randwrite", "--bs=4k", `--size=${DISK_BYTES}`, `--rate_iops=${WRITES_PER_SEC}`];
  const time = ["--iodepth=16", "--time_based", `--runtime=${SECONDS}`, "--output-format=json"];
  const { stdout } = await run("fio", ["--name=guest", "--ioengine=nbd", `--uri=${uri}`, ...load, ...time], {
    cwd: directory,
  });
  const report: unknown = JSON.parse(stdout.slice(stdout.indexOf("{")));
  const percentiles = member(report, "jobs", 0, "write", "clat_ns", "percentile");
  const of = (percentile: string): number => Number(member(percentiles, percentile)) / 1e6;
  const found = { medianMs: of("50.000000"), p99Ms: of("99.000000") };
  if (!(found.p99Ms > 0)) throw new Error(`fio gave no latencies: ${stdout}`);
  return found;
}

/** Latency of a guest of a daemon's export while the daemon mirrors the disk in the background. */
async function measure(
  command: readonly [string, ...string[]] | undefined,
  source: string,
  target: string,
  directory: string,
): Promise<GuestLatency> {
  const daemon = await StorageDaemon.start({ ...(command !== undefined && { command }), timeoutMs: 60_000 });
  try {
    for (const [name, filename] of [
      ["source", source],
      ["target", target],
    ]) {
      const file = { driver: "file", filename };
      await daemon.execute("blockdev-add", { driver: "raw", "node-name": name, file });
    }
    const socket = join(daemon.directory, "guest.sock");
    await daemon.execute("nbd-server-start", { addr: { type: "unix", data: { path: socket } } });
    const disk = { type: "nbd", id: "e0", "node-name": "source", name: "disk", writable: true };
    await daemon.execute("block-export-add", disk);
    const job = { "job-id": "bench", device: "source", target: "target", sync: "full" };
    await daemon.execute("blockdev-mirror", { ...job, speed: MIRROR_SPEED });
    return await writeAsGuest(`nbd+unix:///disk?socket=${socket}`, directory);
  } finally {
    await daemon.stop();
  }
}

/** What a guest feels of a mirror: its write latency while the disk is copied in the background. */
export const nbdGuestLatency: Scenario = {
  name: "nbd/guest-latency",
  title: `4 KiB writes at ${WRITES_PER_SEC}/s through an export while its disk is mirrored at ${formatBytes(MIRROR_SPEED)}/s`,
  needs: ["qemu-storage-daemon", "fio"],

  async run({ directory, runs, log }) {
    const source = join(directory, "source.raw");
    const target = join(directory, "target.raw");
    log(`writing two images of ${formatBytes(DISK_BYTES)}`);
    await writeFullImage(source, DISK_BYTES);
    await writeFullImage(target, DISK_BYTES);
    const ours = [process.execPath, PROGRAM, "storage-daemon"] as const;
    const contestants = {
      ours: () => measure([...ours], source, target, directory),
      qemu: () => measure(undefined, source, target, directory),
    };
    const results = await interleave(contestants, { runs });
    const row = (figure: string, of: (latency: GuestLatency) => number): BenchRow => ({
      figure: `guest write latency, ${figure}`,
      unit: "ms",
      ours: medianOf(results, "ours", of),
      peer: { name: "qemu-storage-daemon", value: medianOf(results, "qemu", of) },
    });
    return [
      row("median", ({ medianMs }) => medianMs),
      { ...row("99th percentile", ({ p99Ms }) => p99Ms), bar: { on: "ratio", atLeast: 1 } },
    ];
  },
};
