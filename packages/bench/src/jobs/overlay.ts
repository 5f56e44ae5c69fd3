import { performance } from "node:perf_hooks";
import { join } from "node:path";

import { run, type StorageDaemon } from "@blockmirror/peers";

import { formatBytes } from "../format.ts";
import { interleave, medianOf } from "../interleave.ts";
import { startDaemon, type DaemonName } from "../process/daemon-mirror.ts";
import { writeFullImage } from "../raw/images.ts";
import type { BenchContext, Scenario } from "../scenario.ts";

/** An overlay holds an eighth of the disk, in pieces of this size. */
const PIECE: number = 4 * 2 ** 20;
const SHARE = 8;

interface Chain {
  readonly base: string;
  readonly overlay: string;
}

/** A full base, and an overlay with data all over it. */
async function makeChain({ directory, dataBytes, log }: BenchContext): Promise<Chain> {
  const raw = join(directory, "base.raw");
  const base = join(directory, "base.qcow2");
  const overlay = join(directory, "overlay.qcow2");
  log(`making an overlay of ${formatBytes(dataBytes / SHARE)} on ${formatBytes(dataBytes)}`);
  await writeFullImage(raw, dataBytes);
  await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, base], { timeoutMs: 600_000 });
  await run("rm", [raw]);
  await run("qemu-img", ["create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", overlay]);
  const commands: string[] = [];
  for (let at = 0; at + PIECE <= dataBytes; at += SHARE * PIECE)
    commands.push("-c", `write -P 9 ${at} ${PIECE}`);
  await run("qemu-io", ["-f", "qcow2", ...commands, overlay], { timeoutMs: 600_000 });
  return { base, overlay };
}

const file = (filename: string): Readonly<Record<string, string>> => ({ driver: "file", filename });

async function openChain(daemon: StorageDaemon, { base, overlay }: Chain): Promise<void> {
  const backing = { driver: "qcow2", "node-name": "base", file: file(base) };
  await daemon.execute("blockdev-add", { driver: "qcow2", "node-name": "top", file: file(overlay), backing });
}

/** Milliseconds from `blockdev-mirror` with sync top to READY. */
async function mirrorTop(name: DaemonName, chain: Chain, target: string): Promise<number> {
  await run("qemu-img", ["create", "-q", "-f", "qcow2", "-b", chain.base, "-F", "qcow2", target]);
  const daemon = await startDaemon(name);
  try {
    await openChain(daemon, chain);
    const file = { driver: "file", filename: target };
    const options = { driver: "qcow2", "node-name": "copy", file, backing: "base" };
    await daemon.execute("blockdev-add", options);
    const args = { "job-id": "bench", device: "top", target: "copy", sync: "top" } as const;
    return (await daemon.mirror(args, { finish: "cancel" })).readyMs;
  } finally {
    await daemon.stop();
  }
}

/** Milliseconds from `block-commit` to READY; the copy of the chain is of this run alone. */
async function commit(name: DaemonName, chain: Chain): Promise<number> {
  const daemon = await startDaemon(name);
  try {
    await openChain(daemon, chain);
    const started = performance.now();
    await daemon.execute("block-commit", { "job-id": "bench", device: "top" });
    await daemon.waitForEvent("BLOCK_JOB_READY", { timeoutMs: 600_000 });
    const readyMs = performance.now() - started;
    await daemon.execute("block-job-cancel", { device: "bench", force: true });
    await daemon.waitForEvent("JOB_STATUS_CHANGE", { match: { status: "null" }, timeoutMs: 60_000 });
    return readyMs;
  } finally {
    await daemon.stop();
  }
}

function scenario(
  name: string,
  title: string,
  figure: string,
  measure: (daemon: DaemonName, chain: Chain, directory: string) => Promise<number>,
): Scenario {
  return {
    name,
    title,
    needs: ["qemu-storage-daemon", "qemu-img"],
    run: async (context) => {
      const chain = await makeChain(context);
      const results = await interleave(
        {
          ours: () => measure("ours", chain, context.directory),
          qemu: () => measure("qemu", chain, context.directory),
        },
        { runs: context.runs },
      );
      return [
        {
          figure: `${formatBytes(context.dataBytes / SHARE)} on ${formatBytes(context.dataBytes)}, ${figure}`,
          unit: "ms",
          ours: medianOf(results, "ours", (ms) => ms),
          peer: { name: "qemu-storage-daemon", value: medianOf(results, "qemu", (ms) => ms) },
          bar: { on: "ratio", atLeast: 2 },
        },
      ];
    },
  };
}

/** What an overlay holds, to a new one on the same base. */
export const jobsTop: Scenario = scenario(
  "jobs/top",
  "sync top: an overlay on a base, to a new overlay, by the same QMP commands",
  "blockdev-mirror sync top to READY",
  (daemon, chain, directory) => mirrorTop(daemon, chain, join(directory, "copy.qcow2")),
);

/** What an overlay holds, into its base. */
export const jobsCommit: Scenario = scenario(
  "jobs/commit",
  "active commit: an overlay into its base, by the same QMP commands",
  "block-commit to READY",
  (daemon, chain) => commit(daemon, chain),
);
