import { writeFileSync } from "node:fs";
import type { Random } from "../../../src/conformance/random.ts";
import { createImage } from "../support/create.ts";
import { withImage } from "../support/open.ts";
import { qemuImg } from "../support/qemu-img.ts";
import type { Factors, Forbidden, Row } from "./covering-array.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** What an image can be, in the words of `qemu-img create -o` where it has them. */
export const FACTORS: Factors = new Map([
  ["refcount_bits", ["1", "2", "4", "8", "16", "32", "64"]],
  ["cluster_size", ["512", "4096", "16384", "65536", "2097152"]],
  ["size", [String(6 * MIB), String(MIB + 512), "1000", "0"]],
  ["preallocation", ["off", "metadata", "falloc", "full"]],
  ["backing", ["none", "shorter raw", "longer qcow2", "chain"]],
  ["data_file", ["none", "plain", "raw"]],
  ["compat", ["1.1", "0.10"]],
  ["compression_type", ["zlib", "zstd"]],
  ["extended_l2", ["off", "on"]],
  ["lazy_refcounts", ["off", "on"]],
  ["compressed", ["none", "some"]],
  ["snapshots", ["none", "two"]],
  ["bitmaps", ["none", "two"]],
  ["creator", ["qemu-img", "blockmirror"]],
]);

/** What does not go together is refused by one of these: of all but the first only qemu is asked. */
export interface ForbiddenImage extends Forbidden {
  readonly refusedBy: "create" | "compress" | "snapshot" | "bitmap";
}

const version2 = (
  factor: string,
  values: readonly string[],
  refusedBy: ForbiddenImage["refusedBy"] = "create",
): ForbiddenImage => ({
  why: `version 2 has no ${factor} ${values.join(", ")}`,
  together: { compat: ["0.10"], [factor]: values },
  refusedBy,
});

/** Everything that does not go together. */
export const FORBIDDEN: readonly ForbiddenImage[] = [
  version2("refcount_bits", ["1", "2", "4", "8", "32", "64"]),
  version2("lazy_refcounts", ["on"]),
  version2("extended_l2", ["on"]),
  version2("compression_type", ["zstd"]),
  version2("data_file", ["plain", "raw"]),
  version2("bitmaps", ["two"], "bitmap"),
  {
    why: "subclusters have 512 bytes at least",
    together: { extended_l2: ["on"], cluster_size: ["512", "4096"] },
    refusedBy: "create",
  },
  {
    why: "a preallocated cluster hides the backing file, unless its subclusters say that they are not there",
    together: {
      extended_l2: ["off"],
      backing: ["shorter raw", "longer qcow2", "chain"],
      preallocation: ["metadata", "falloc", "full"],
    },
    refusedBy: "create",
  },
  {
    why: "a raw data file is the whole disk",
    together: { data_file: ["raw"], backing: ["shorter raw", "longer qcow2", "chain"] },
    refusedBy: "create",
  },
  {
    why: "a data file holds clusters as they are",
    together: { data_file: ["plain", "raw"], compressed: ["some"] },
    refusedBy: "compress",
  },
  {
    why: "a compressed cluster does not go where one has its place already",
    together: { preallocation: ["metadata", "falloc", "full"], compressed: ["some"] },
    refusedBy: "compress",
  },
  {
    why: "a disk of no bytes has no clusters",
    together: { size: ["0"], compressed: ["some"] },
    refusedBy: "compress",
  },
  {
    why: "a host cluster of many compressed ones counts each of them, and again for each snapshot",
    together: { refcount_bits: ["2", "4"], compressed: ["some"], snapshots: ["two"] },
    refusedBy: "snapshot",
  },
  {
    why: "a data file is not counted, so that no snapshot can share it",
    together: { data_file: ["plain", "raw"], snapshots: ["two"] },
    refusedBy: "snapshot",
  },
  {
    why: "a refcount of one bit cannot say two",
    together: { refcount_bits: ["1"], snapshots: ["two"] },
    refusedBy: "snapshot",
  },
  {
    why: "qemu-img 7.2 cannot store a bitmap of no bits",
    together: { size: ["0"], bitmaps: ["two"] },
    refusedBy: "bitmap",
  },
];

/** A row in the words of this test. */
export class ImageVariant {
  readonly #row: Row;

  constructor(row: Row) {
    this.#row = row;
  }

  get name(): string {
    return [...FACTORS.keys()].map((factor) => this.get(factor)).join(", ");
  }

  get(factor: string): string {
    const value = this.#row.get(factor);
    if (value === undefined) throw new RangeError(`a row without ${factor}`);
    return value;
  }

  has(factor: string): boolean {
    return !["none", "off"].includes(this.get(factor));
  }

  get isVersion2(): boolean {
    return this.get("compat") === "0.10";
  }

  get clusterSize(): number {
    return Number(this.get("cluster_size"));
  }

  /** The size that was asked for, in whole sectors. */
  get size(): number {
    return Math.ceil(Number(this.get("size")) / 512) * 512;
  }
}

/** Files that belong to one image. */
export interface ImageFiles {
  readonly image: string;
  readonly data: string;
  /** Where images below it go. */
  readonly at: (name: string) => string;
}

/** Makes what lies below the image, and says what a disk of `size` bytes shows of it. */
export async function makeBacking(
  variant: ImageVariant,
  { at }: ImageFiles,
  random: Random,
): Promise<Buffer> {
  const { size } = variant;
  const kind = variant.get("backing");
  const shown = Buffer.alloc(size);
  if (kind === "none") return shown;
  const length = kind === "longer qcow2" ? size + MIB : 512 * Math.ceil((size + 1) / 1024);
  const bytes = Buffer.alloc(length);
  for (let offset = 0; offset < length; offset += 50_000) {
    const value = random.below(3) === 0 ? 0 : 1 + random.below(255);
    bytes.fill(value, offset, Math.min(length, offset + 50_000));
  }
  if (kind === "longer qcow2") {
    await createImage(at("base.qcow2"), length, { clusterSize: 4096 });
    await withImage(at("base.qcow2"), ({ edge }) => Promise.resolve(edge.write(0, [bytes])));
  } else {
    writeFileSync(at("base.raw"), bytes);
  }
  bytes.copy(shown);
  if (kind === "chain") {
    const over = 512 * Math.ceil(length / 2048);
    await createImage(at("base.qcow2"), over, {
      clusterSize: 512,
      backingFile: "base.raw",
      backingFormat: "raw",
    });
    const backing = { driver: "file", filename: at("base.raw"), readOnly: true };
    await withImage(
      at("base.qcow2"),
      ({ edge }) => Promise.resolve(edge.write(0, [Buffer.alloc(512, 0x5a)])),
      {
        backing,
      },
    );
    // What the image in between does not reach, it does not show either.
    shown.fill(0, over);
    shown.fill(0x5a, 0, Math.min(size, 512));
  }
  return shown;
}

/** The image below by name and format, if there is one. */
export function backingOf(
  variant: ImageVariant,
): { readonly name: string; readonly format: string } | undefined {
  if (!variant.has("backing")) return undefined;
  return variant.get("backing") === "shorter raw"
    ? { name: "base.raw", format: "raw" }
    : { name: "base.qcow2", format: "qcow2" };
}

/** Makes the image as its row says, by whom its row says. */
export async function createVariant(variant: ImageVariant, files: ImageFiles): Promise<void> {
  if (variant.get("creator") === "qemu-img") await createByQemu(variant, files);
  else await createByUs(variant, files);
}

export async function createByQemu(variant: ImageVariant, { image, data }: ImageFiles): Promise<void> {
  const options = [
    "refcount_bits",
    "cluster_size",
    "preallocation",
    "compat",
    "extended_l2",
    "lazy_refcounts",
    "compression_type",
  ].map((name) => `${name}=${variant.get(name)}`);
  if (variant.has("data_file")) options.push(`data_file=${data}`);
  if (variant.get("data_file") === "raw") options.push("data_file_raw=on");
  const backing = backingOf(variant);
  const over = backing === undefined ? [] : ["-b", backing.name, "-F", backing.format];
  await qemuImg(["create", "-q", "-f", "qcow2", "-o", options.join(), ...over, image, variant.get("size")]);
}

export async function createByUs(variant: ImageVariant, { image, data }: ImageFiles): Promise<void> {
  const backing = backingOf(variant);
  if (variant.has("data_file")) writeFileSync(data, "");
  await createImage(image, variant.size, {
    version: variant.isVersion2 ? "v2" : "v3",
    clusterSize: variant.clusterSize,
    refcountBits: Number(variant.get("refcount_bits")),
    preallocation: variant.get("preallocation"),
    extendedL2: variant.has("extended_l2"),
    lazyRefcounts: variant.has("lazy_refcounts"),
    compressionType: variant.get("compression_type"),
    ...(variant.has("data_file") && {
      dataFile: { driver: "file", filename: data },
      dataFileRaw: variant.get("data_file") === "raw",
    }),
    ...(backing !== undefined && { backingFile: backing.name, backingFormat: backing.format }),
  });
}
