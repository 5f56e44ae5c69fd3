import { join } from "node:path";

import { run } from "@blockmirror/peers";

import { writeFullImage, writeSparseImage } from "../raw/images.ts";
import type { BenchContext, Scenario } from "../scenario.ts";
import { copyScenario } from "./copy.ts";

const TiB = 2 ** 40;
const LAYERS = 4;
const PREPARED_SIZE: number = 4 * 2 ** 30;

async function fullRaw({ directory, dataBytes }: BenchContext): Promise<string> {
  const image = join(directory, "source.raw");
  await writeFullImage(image, dataBytes);
  return image;
}

async function converted(context: BenchContext, options: readonly string[]): Promise<string> {
  const raw = await fullRaw(context);
  const image = join(context.directory, "source.qcow2");
  await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", ...options, raw, image], {
    timeoutMs: 600_000,
  });
  return image;
}

/** Text-like content: random bytes would not compress, and one repeated byte would compress to nothing. */
async function compressed(context: BenchContext, type: "zlib" | "zstd"): Promise<string> {
  const { directory, dataBytes } = context;
  const raw = join(directory, "source.raw");
  const image = join(directory, "source.qcow2");
  const kibibytes = Math.floor(dataBytes / 1024);
  const script = `seq 1 1000000000 | head -c ${kibibytes * 1024} > "$1"`;
  await run("bash", ["-c", script, "bash", raw], { timeoutMs: 600_000, allowedExitCodes: [0, 141] });
  await run(
    "qemu-img",
    ["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", `compression_type=${type}`, raw, image],
    { timeoutMs: 600_000 },
  );
  return image;
}

/** Each layer of the chain holds every fourth 64 MiB of the disk. */
async function chain({ directory, dataBytes }: BenchContext): Promise<string> {
  const step = 64 * 2 ** 20;
  let backing: readonly string[] = [];
  let image = "";
  for (let layer = 0; layer < LAYERS; layer += 1) {
    image = join(directory, `layer${layer}.qcow2`);
    await run("qemu-img", ["create", "-q", "-f", "qcow2", ...backing, image, String(dataBytes)]);
    const commands: string[] = [];
    for (let offset = layer * step; offset < dataBytes; offset += LAYERS * step) {
      commands.push("-c", `write -P ${layer + 1} ${offset} ${Math.min(step, dataBytes - offset)}`);
    }
    await run("qemu-io", ["-f", "qcow2", ...commands, image], { timeoutMs: 600_000 });
    backing = ["-b", image, "-F", "qcow2"];
  }
  return image;
}

async function sparse({ directory }: BenchContext): Promise<string> {
  const raw = join(directory, "source.raw");
  const image = join(directory, "source.qcow2");
  await writeSparseImage(raw, TiB, 64);
  await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, image], { timeoutMs: 600_000 });
  return image;
}

/** As virtual machine managers make images: every cluster has its place, and little was written. */
async function prepared({ directory }: BenchContext): Promise<string> {
  const image = join(directory, "source.qcow2");
  const options = ["-o", "preallocation=metadata", image, String(PREPARED_SIZE)];
  await run("qemu-img", ["create", "-q", "-f", "qcow2", ...options]);
  const writes = Array.from({ length: 64 }, (_, index) => ["-c", `write -P 7 ${index * 64}M 1M`]).flat();
  await run("qemu-io", ["-f", "qcow2", ...writes, image], { timeoutMs: 600_000 });
  return image;
}

/** As a guest leaves it: in every cluster something, written in no order. */
async function scattered({ directory, dataBytes }: BenchContext): Promise<string> {
  const image = join(directory, "source.qcow2");
  await run("qemu-img", ["create", "-q", "-f", "qcow2", image, String(dataBytes)]);
  const cluster = 64 * 1024;
  const clusters = Math.floor(dataBytes / cluster);
  const commands = shuffled(clusters).map(
    (index) => `aio_write -P ${1 + (index % 250)} ${index * cluster} 64k`,
  );
  await run("qemu-io", ["-f", "qcow2", "-t", "unsafe", image], {
    timeoutMs: 600_000,
    input: [...commands, "aio_flush", "quit", ""].join("\n"),
  });
  return image;
}

/** The numbers below `count` in the same disorder every time. */
function shuffled(count: number): readonly number[] {
  const numbers = Array.from({ length: count }, (_, index) => index);
  let state = 1;
  for (let index = count - 1; index > 0; index -= 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    const other = Math.floor((state / 2 ** 32) * (index + 1));
    const moved = numbers[index] ?? 0;
    numbers[index] = numbers[other] ?? 0;
    numbers[other] = moved;
  }
  return numbers;
}

const full = ({ dataBytes }: BenchContext): number => dataBytes;

/** Copies from and to qcow2. */
export const qcow2Copies: readonly Scenario[] = [
  copyScenario({
    name: "qcow2/to-raw",
    title: "qcow2 to raw, an image full of data",
    formats: { source: "qcow2", target: "raw" },
    makeSource: (context) => converted(context, []),
    size: full,
    mirrorBar: 2,
    convertBar: 1,
  }),
  copyScenario({
    name: "qcow2/from-raw",
    title: "raw to qcow2, an image full of data",
    formats: { source: "raw", target: "qcow2" },
    makeSource: fullRaw,
    size: full,
    mirrorBar: 2,
    convertBar: 1,
  }),
  copyScenario({
    name: "qcow2/chain",
    title: "a chain of four qcow2 images to one",
    formats: { source: "qcow2", target: "qcow2" },
    makeSource: chain,
    size: full,
    mirrorBar: 2,
  }),
  copyScenario({
    name: "qcow2/scattered",
    title: "qcow2 to qcow2, an image whose clusters were written in no order",
    formats: { source: "qcow2", target: "qcow2" },
    makeSource: scattered,
    size: full,
    mirrorBar: 1,
  }),
  copyScenario({
    name: "qcow2/prepared",
    title: "qcow2 to qcow2, an image of 4 GiB whose tables were made in advance, with 64 x 1 MiB of data",
    formats: { source: "qcow2", target: "qcow2" },
    makeSource: prepared,
    size: () => PREPARED_SIZE,
    mirrorBar: 10,
  }),
  copyScenario({
    name: "qcow2/sparse",
    title: "qcow2 to qcow2, 1 TiB with 64 x 1 MiB of data",
    formats: { source: "qcow2", target: "qcow2" },
    makeSource: sparse,
    size: () => TiB,
    mirrorBar: 30,
    compact: true,
  }),
  copyScenario({
    name: "qcow2/zlib",
    title: "compressed qcow2 (zlib) to raw",
    formats: { source: "qcow2", target: "raw" },
    makeSource: (context) => compressed(context, "zlib"),
    size: full,
    convertBar: 1,
  }),
  copyScenario({
    name: "qcow2/zstd",
    title: "compressed qcow2 (zstd) to raw",
    formats: { source: "qcow2", target: "raw" },
    makeSource: (context) => compressed(context, "zstd"),
    size: full,
    convertBar: 1,
  }),
];
