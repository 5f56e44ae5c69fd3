import { readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { lacksPeers } from "@blockmirror/peers";
import { describe, expect, test } from "vitest";
import {
  BlockGraph,
  createDefaultRegistry,
  directoryGate,
  ExtentFlag,
  ExtentList,
  type BlockEdge,
  type BlockNode,
} from "../../../src/index.ts";
import { Random } from "../../../src/conformance/random.ts";
import { qemuImg, qemuIo } from "../support/qemu-img.ts";
import { scratchFiles } from "../support/scratch.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const SEED = Number(process.env["BLOCKMIRROR_SEED"] ?? 7);
const at = scratchFiles();

interface Variant {
  readonly name: string;
  /** Options of `qemu-img create`. */
  readonly options?: string;
  readonly size?: number;
  /** Over a raw or qcow2 image of that size. */
  readonly backing?: readonly ["raw" | "qcow2", number, string?];
  /** Made by converting, with compressed clusters. */
  readonly compressed?: boolean;
  readonly snapshots?: boolean;
  readonly bitmaps?: boolean;
}

/** Each value of each property at least once, and those that meet in the code together. */
const VARIANTS: readonly Variant[] = [
  { name: "default" },
  { name: "version 2", options: "compat=0.10" },
  { name: "version 2 over raw", options: "compat=0.10,cluster_size=4k", backing: ["raw", 2 * MIB] },
  {
    name: "512-byte clusters, 1-bit refcounts",
    options: "cluster_size=512,refcount_bits=1",
    size: MIB + 512,
  },
  {
    name: "512-byte clusters over qcow2 of 2 MiB clusters",
    options: "cluster_size=512,refcount_bits=64",
    size: MIB + 512,
    backing: ["qcow2", 3 * MIB, "cluster_size=2M"],
  },
  { name: "1 KiB clusters, 2-bit refcounts", options: "cluster_size=1k,refcount_bits=2", size: MIB },
  {
    name: "8 KiB clusters, 4-bit refcounts, lazy",
    options: "cluster_size=8k,refcount_bits=4,lazy_refcounts=on",
  },
  {
    name: "256 KiB clusters, 8-bit refcounts",
    options: "cluster_size=256k,refcount_bits=8",
    size: 4 * MIB + 1536,
  },
  {
    name: "2 MiB clusters, 32-bit refcounts",
    options: "cluster_size=2M,refcount_bits=32",
    size: 9 * MIB + 512,
  },
  { name: "subclusters of 512 bytes", options: "extended_l2=on,cluster_size=16k" },
  { name: "subclusters over a shorter raw image", options: "extended_l2=on", backing: ["raw", MIB + 1024] },
  {
    name: "subclusters of 64 KiB",
    options: "extended_l2=on,cluster_size=2M",
    size: 8 * MIB,
    backing: ["qcow2", 6 * MIB],
  },
  { name: "preallocated metadata", options: "preallocation=metadata" },
  {
    name: "preallocated, with subclusters, over raw",
    options: "preallocation=metadata,extended_l2=on",
    backing: ["raw", 3 * MIB],
  },
  { name: "fully preallocated", options: "preallocation=falloc,cluster_size=4k" },
  { name: "a data file", options: "data_file=disk.data" },
  { name: "a raw data file", options: "data_file=disk.data,data_file_raw=on,cluster_size=4k" },
  { name: "a data file over qcow2", options: "data_file=disk.data", backing: ["qcow2", 5 * MIB] },
  { name: "a data file, with subclusters", options: "data_file=disk.data,extended_l2=on" },
  { name: "deflate", options: "compression_type=zlib", compressed: true },
  { name: "deflate in 512-byte clusters", options: "cluster_size=512", compressed: true, size: MIB },
  { name: "deflate in 2 MiB clusters", options: "cluster_size=2M", compressed: true, size: 7 * MIB },
  {
    name: "deflate with subclusters over raw",
    options: "extended_l2=on",
    compressed: true,
    backing: ["raw", 2 * MIB],
  },
  { name: "deflate in version 2", options: "compat=0.10,cluster_size=4k", compressed: true },
  { name: "zstd", options: "compression_type=zstd", compressed: true },
  {
    name: "zstd in 4 KiB clusters over qcow2",
    options: "compression_type=zstd,cluster_size=4k",
    compressed: true,
    backing: ["qcow2", 2 * MIB, "cluster_size=512"],
  },
  { name: "snapshots", snapshots: true },
  { name: "snapshots, 4 KiB clusters, version 2", options: "compat=0.10,cluster_size=4k", snapshots: true },
  { name: "bitmaps", bitmaps: true, snapshots: true },
];

/** Makes an image with qemu, with something of every kind in it. */
async function make(variant: Variant): Promise<{ readonly file: string; readonly size: number }> {
  const {
    options = "",
    size = 4 * MIB,
    backing,
    compressed = false,
    snapshots = false,
    bitmaps = false,
  } = variant;
  const random = new Random(SEED);
  const file = at("disk.qcow2");
  const base: string[] = [];
  if (backing !== undefined) {
    const [format, baseSize, baseOptions] = backing;
    const extra = baseOptions === undefined ? [] : ["-o", baseOptions];
    await qemuImg(["create", "-q", "-f", format, ...extra, at("base.img"), String(baseSize)]);
    await qemuIo(at("base.img"), ["write -P 0x31 0 1M", `write -P 0x32 ${baseSize - 70_656} 69k`], format);
    base.push("-b", "base.img", "-F", format);
  }
  const chosen = options.replace("disk.data", at("disk.data"));
  if (compressed) {
    const content = Buffer.alloc(size);
    for (let offset = 0; offset < size; offset += 40_000) {
      const length = Math.min(size - offset, 40_000);
      if (random.below(4) > 0) content.fill(random.below(256), offset, offset + length);
      if (random.below(4) === 0) content.set(random.bytes(length), offset);
    }
    writeFileSync(at("source.raw"), content);
    const over = backing === undefined ? [] : ["-B", at("base.img"), "-F", backing[0]];
    await qemuImg([
      "convert",
      "-c",
      "-f",
      "raw",
      "-O",
      "qcow2",
      "-o",
      chosen,
      ...over,
      at("source.raw"),
      file,
    ]);
  } else {
    const extra = chosen === "" ? [] : ["-o", chosen];
    await qemuImg(["create", "-q", "-f", "qcow2", ...extra, ...base, file, String(size)]);
  }
  const write = (count: number): string[] =>
    Array.from({ length: count }, () => {
      const length = 512 * (1 + random.below(200));
      const offset = 512 * random.below((size - length) / 512);
      const kind = random.below(4);
      if (kind === 0) return `write -z ${offset} ${length}`;
      if (kind === 1) return `write -z -u ${offset} ${length}`;
      return `write -P ${1 + random.below(255)} ${offset} ${length}`;
    });
  await qemuIo(file, write(compressed ? 3 : 12));
  if (bitmaps) await qemuImg(["bitmap", "--add", "--enable", file, "one"]);
  if (snapshots) {
    await qemuImg(["snapshot", "-c", "first", file]);
    await qemuIo(file, write(4));
    await qemuImg(["snapshot", "-c", "second", file]);
    await qemuIo(file, write(4));
  }
  return { file, size: Math.ceil(size / 512) * 512 };
}

interface Opened {
  readonly node: BlockNode;
  readonly edge: BlockEdge;
}

async function withChain<T>(file: string, run: (opened: Opened) => Promise<T>): Promise<T> {
  const graph = new BlockGraph({ registry: createDefaultRegistry(), gate: directoryGate([dirname(file)]) });
  try {
    const node = await graph.open({
      driver: "qcow2",
      readOnly: true,
      file: { driver: "file", filename: file },
    });
    return await run({
      node,
      edge: graph.attach(node, { name: "reader", uses: ["read"], shares: ["read"] }),
    });
  } finally {
    await graph.closeAll();
  }
}

/** An extent in qemu's words. */
interface MapExtent {
  readonly start: number;
  readonly length: number;
  readonly depth: number;
  readonly present: boolean;
  readonly zero: boolean;
  readonly data: boolean;
  readonly compressed?: boolean;
  readonly offset?: number;
}

/**
 * The parts of a map that images decide. Whether stored bytes are a hole of the file below, and how a file system rounds
 * that, is not one: qemu calls such data zero. Nor is space that is reserved for subclusters which are not there yet: qemu
 * tells its place, and we do not, since nothing is stored in it.
 */
function comparable(extents: readonly MapExtent[]): readonly string[] {
  const parts: { what: string; start: number; end: number; hostEnd: number | undefined }[] = [];
  for (const { start, length, depth, present, zero, offset: place } of extents) {
    const offset = present ? place : undefined;
    const kind = offset === undefined ? (zero ? "zero" : "compressed") : "placed";
    const what = present ? `depth ${depth}, ${kind}` : "nowhere";
    const last = parts.at(-1);
    if (last?.what === what && (offset === undefined || last.hostEnd === offset)) {
      last.end = start + length;
      last.hostEnd = offset === undefined ? undefined : offset + length;
    } else {
      const hostEnd = offset === undefined ? undefined : offset + length;
      parts.push({ what, start, end: start + length, hostEnd });
    }
  }
  return parts.map(
    ({ what, start, end, hostEnd }) =>
      `${start} to ${end}: ${what}${hostEnd === undefined ? "" : ` until ${hostEnd}`}`,
  );
}

/** Our status of the whole chain, layer by layer, as qemu would tell it. */
async function ourMap(
  layer: BlockNode,
  depth = 0,
  start = 0,
  end = layer.size,
): Promise<readonly MapExtent[]> {
  const extents = new ExtentList(7);
  const found: MapExtent[] = [];
  const backing = layer.child("backing")?.node;
  for (let offset = start; offset < Math.min(end, layer.size); offset = extents.next) {
    const answer = layer.status(offset, Math.min(end, layer.size) - offset, extents);
    if (answer !== undefined) await answer;
    extents.clip(Math.min(end, layer.size));
    for (let index = 0; index < extents.count; index += 1) {
      const flags = extents.flagsAt(index);
      const range = { start: extents.offsetAt(index), length: extents.lengthAt(index), depth };
      const zero = (flags & ExtentFlag.Zero) !== 0;
      const offset = (flags & ExtentFlag.HostOffset) === 0 ? {} : { offset: extents.hostOffsetAt(index) };
      if ((flags & ExtentFlag.Deferred) === 0)
        found.push({ ...range, present: true, zero, data: !zero, ...offset });
      else if (backing === undefined) found.push(absent(range));
      else found.push(...(await ourMap(backing, depth + 1, range.start, range.start + range.length)));
    }
  }
  const rest = Math.max(start, Math.min(end, layer.size));
  if (rest < end) found.push(absent({ start: rest, length: end - rest, depth: depth - 1 }));
  return found;
}

function absent(range: Pick<MapExtent, "start" | "length" | "depth">): MapExtent {
  return { ...range, present: false, zero: true, data: false };
}

describe.skipIf(lacksPeers("qemu-img", "qemu-io"))("images made by qemu", () => {
  test.each(VARIANTS)("$name", async (variant) => {
    const { file, size } = await make(variant);
    await qemuImg(["convert", "-f", "qcow2", "-O", "raw", file, at("theirs.raw")]);
    const theirs = readFileSync(at("theirs.raw"));
    const before = readFileSync(file);
    const theirMap: readonly MapExtent[] = JSON.parse(
      await qemuImg(["map", "-f", "qcow2", "--output=json", file]),
    );
    await withChain(file, async ({ node, edge }) => {
      expect(node.size).toBe(size);
      const ours = Buffer.alloc(size, 0xee);
      await edge.read(0, [ours]);
      expect(Buffer.compare(ours, theirs), "read in one request").toBe(0);
      const random = new Random(SEED);
      await Promise.all(
        Array.from({ length: 60 }, async () => {
          const length = 1 + random.below(random.below(3) === 0 ? 400_000 : 5000);
          const offset = random.below(Math.max(1, size - length));
          const taken = Math.min(length, size - offset);
          const split = random.below(taken);
          const bytes = Buffer.alloc(taken + 2, 0xee);
          await edge.read(offset, [bytes.subarray(1, 1 + split), bytes.subarray(1 + split, 1 + taken)]);
          expect(Buffer.compare(bytes.subarray(1, 1 + taken), theirs.subarray(offset, offset + taken))).toBe(
            0,
          );
          expect([bytes[0], bytes[taken + 1]]).toEqual([0xee, 0xee]);
        }),
      );
      await mustAgree(await ourMap(node), theirMap, theirs);
      if (variant.snapshots === true) {
        const theirList = await qemuImg(["snapshot", "-l", file]);
        const listed: unknown = node.info.details?.["snapshots"];
        expect(listed).toMatchObject([
          { id: "1", name: "first" },
          { id: "2", name: "second" },
        ]);
        expect(theirList).toMatch(/1\s+first[\s\S]*2\s+second/);
      }
    });
    expect(Buffer.compare(readFileSync(file), before), "reading changes nothing").toBe(0);
  });
});

/** What is zero in our map is zero; where both name a place or a layer they are the same. */
async function mustAgree(
  ours: readonly MapExtent[],
  theirs: readonly MapExtent[],
  content: Buffer,
): Promise<void> {
  for (const { start, length, zero } of ours) {
    if (zero)
      expect(content.subarray(start, start + length).equals(Buffer.alloc(length)), `zero at ${start}`).toBe(
        true,
      );
  }
  expect(comparable(ours)).toEqual(comparable(theirs));
}
