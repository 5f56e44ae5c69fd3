import { rm } from "node:fs/promises";
import { join } from "node:path";

import { run } from "@blockmirror/peers";

import { formatBytes } from "../format.ts";
import { interleave, medianOf } from "../interleave.ts";
import { runFio } from "../process/fio.ts";
import { QemuNbd } from "../process/qemu-nbd.ts";
import { ServeProcess } from "../process/serve-process.ts";
import { writeFullImage } from "../raw/images.ts";
import type { BenchContext, Scenario } from "../scenario.ts";

/** Bytes that the random requests are spread over: they stay in the page cache on any machine. */
const RANDOM_BYTES: number = 128 * 2 ** 20;

/** Two servers of equal images of their own, and a URI of each. */
async function withServers<Result>(
  { directory, log }: BenchContext,
  bytes: number,
  format: "raw" | "qcow2",
  measure: (uris: { readonly ours: string; readonly qemu: string }) => Promise<Result>,
): Promise<Result> {
  const image = join(directory, `ours.${format}`);
  const peerImage = join(directory, `peer.${format}`);
  log(`writing two images of ${formatBytes(bytes)}`);
  for (const filename of [image, peerImage]) await writeImage(filename, bytes, format);
  const peer = await QemuNbd.start(peerImage, directory, format);
  try {
    const ours = await ServeProcess.start(image, directory, format);
    try {
      return await measure({
        ours: `nbd+unix:///?socket=${ours.socketPath}`,
        qemu: `nbd+unix:///?socket=${peer.socketPath}`,
      });
    } finally {
      await ours.stop();
    }
  } finally {
    peer.stop();
  }
}

/** An image without a hole. */
async function writeImage(filename: string, bytes: number, format: "raw" | "qcow2"): Promise<void> {
  if (format === "raw") return writeFullImage(filename, bytes);
  const raw = `${filename}.raw`;
  await writeFullImage(raw, bytes);
  await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, filename], { timeoutMs: 600_000 });
  await rm(raw);
}

function random(
  name: string,
  mode: "randread" | "randwrite",
  what: string,
  format: "raw" | "qcow2",
  atLeast: number,
): Scenario {
  return {
    name,
    title: `4 KiB random ${what} through an export of a ${format} image, 16 in flight`,
    needs: ["qemu-nbd", "fio"],
    run: (context) =>
      withServers(context, RANDOM_BYTES, format, async (uris) => {
        const { directory } = context;
        const rateOf = async (uri: string): Promise<number> =>
          (await runFio({ uri, mode, bytes: RANDOM_BYTES, seconds: 4, directory })).iops;
        const results = await interleave(
          {
            ours: () => rateOf(uris.ours),
            qemu: () => rateOf(uris.qemu),
          },
          { runs: context.runs },
        );
        return [
          {
            figure: `fio ${mode}, 4 KiB, 16 in flight`,
            unit: "IOPS",
            ours: medianOf(results, "ours", (rate) => rate),
            peer: { name: "qemu-nbd", value: medianOf(results, "qemu", (rate) => rate) },
            largerIsBetter: true,
            bar: { on: "ratio", atLeast },
          },
        ];
      }),
  };
}

async function timed(args: readonly string[]): Promise<number> {
  const started = performance.now();
  await run("nbdcopy", args);
  return performance.now() - started;
}

function copy(
  name: string,
  title: string,
  args: (uri: string, image: string) => readonly string[],
): Scenario {
  return {
    name,
    title,
    needs: ["qemu-nbd", "nbdcopy"],
    run: async (context) => {
      const { directory, dataBytes, runs } = context;
      const input = join(directory, "input.raw");
      await writeFullImage(input, dataBytes);
      return withServers(context, dataBytes, "raw", async (uris) => {
        const results = await interleave(
          { ours: () => timed(args(uris.ours, input)), qemu: () => timed(args(uris.qemu, input)) },
          { runs },
        );
        return [
          {
            figure: `nbdcopy, ${formatBytes(dataBytes)}`,
            unit: "ms",
            ours: medianOf(results, "ours", (ms) => ms),
            peer: { name: "qemu-nbd", value: medianOf(results, "qemu", (ms) => ms) },
            bar: { on: "ratio", atLeast: 1.2 },
          },
        ];
      });
    },
  };
}

/** Small reads through an export, against qemu-nbd with the same client. */
export const nbdRandread: Scenario = random("nbd/randread", "randread", "reads", "raw", 1.3);
/** Small writes through an export. */
export const nbdRandwrite: Scenario = random("nbd/randwrite", "randwrite", "writes", "raw", 1.3);
/** A whole disk out of an export. */
export const nbdCopyOut: Scenario = copy("nbd/copy-out", "a full raw image out of an export", (uri) => [
  uri,
  "null:",
]);
/** A whole disk into an export. */
export const nbdCopyIn: Scenario = copy("nbd/copy-in", "a full raw image into an export", (uri, input) => [
  input,
  uri,
]);
/** The same of a qcow2 image whose clusters are all allocated. */
export const nbdQcow2Randread: Scenario = random("nbd/qcow2-randread", "randread", "reads", "qcow2", 1.1);
/** The same of a qcow2 image whose clusters are all allocated. */
export const nbdQcow2Randwrite: Scenario = random("nbd/qcow2-randwrite", "randwrite", "writes", "qcow2", 1.1);
