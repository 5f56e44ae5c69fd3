import { BlockError } from "../../../errors.ts";
import {
  Autoclear,
  Compatible,
  CompressionType,
  ExtensionType,
  Incompatible,
  Limits,
  V2_HEADER_LENGTH,
  WRITTEN_HEADER_LENGTH,
} from "../format/constants.ts";
import type { Extension } from "../format/extensions.ts";
import { encodeFeatureNames } from "../format/feature-names.ts";
import { Geometry } from "../format/geometry.ts";
import type { HeaderCluster } from "../format/header-cluster.ts";
import type { Header } from "../format/header.ts";
import type { Qcow2CreateOptions } from "./create-options.ts";
import { planLayout, type Layout } from "./layout.ts";

/** What decides how a new image is laid out; sizes in bytes. The rest of the options is text that it records. */
export type ImageShape = Pick<
  Qcow2CreateOptions,
  | "size"
  | "version"
  | "clusterSize"
  | "refcountBits"
  | "lazyRefcounts"
  | "extendedL2"
  | "compressionType"
  | "preallocation"
  | "backingFile"
  | "backingFormat"
  | "dataFileRaw"
>;

/** Everything about a new image that is known before anything is written. */
export interface ImagePlan {
  readonly geometry: Geometry;
  readonly layout: Layout;
  readonly headerCluster: HeaderCluster;
  /** Entries are made for the whole disk. A raw data file needs them: every cluster has to be where it says. */
  readonly mapped: boolean;
  /** The data is in a data file, under this name. */
  readonly dataFileName: string | undefined;
}

/** Feature names do not fit beside the rest into a header cluster of this size or less. */
const CLUSTER_WITHOUT_FEATURE_NAMES = 4096;

/**
 * Checks that the options agree with each other, and decides what the image will be.
 * @param dataFileName the name of the external data file, undefined without one.
 * @throws BlockError `EINVAL` naming the conflict, `EFBIG` beyond a limit. A backing file name that does not fit into
 * the header cluster is found when that is encoded.
 */
export function planImage(options: ImageShape, dataFileName: string | undefined): ImagePlan {
  checkSizes(options);
  checkVersion(options, dataFileName !== undefined);
  checkNames(options, dataFileName);
  const geometry = new Geometry({
    clusterBits: Math.log2(options.clusterSize),
    refcountOrder: Math.log2(options.refcountBits),
    extendedL2: options.extendedL2,
  });
  const mapped = options.preallocation !== "off" || options.dataFileRaw;
  const layout = planLayout({ geometry, size: options.size, mapped, dataFile: dataFileName !== undefined });
  const headerCluster: HeaderCluster = {
    header: headerOf(options, geometry, layout, dataFileName !== undefined),
    extensions: extensionsOf(options, dataFileName),
    backingName: options.backingFile,
  };
  return { geometry, layout, headerCluster, mapped, dataFileName };
}

function refuse(what: string): never {
  throw new BlockError("EINVAL", `qcow2: ${what}`, { operation: "create" });
}

function checkSizes({ size, clusterSize, refcountBits, extendedL2 }: ImageShape): void {
  if (size % 512 !== 0) refuse(`a size of ${size} bytes is not a multiple of 512; round it up`);
  if (!isPowerOfTwo(clusterSize) || clusterSize < 512 || clusterSize > 2 ** Limits.maxClusterBits) {
    refuse(`a cluster size of ${clusterSize} bytes is not a power of two from 512 to 2 MiB`);
  }
  if (!isPowerOfTwo(refcountBits) || refcountBits > 64) {
    refuse(`refcounts of ${refcountBits} bits; it is 1, 2, 4, 8, 16, 32 or 64`);
  }
  if (extendedL2 && clusterSize < 16384) {
    refuse(`extended L2 entries need clusters of at least 16 KiB, not ${clusterSize} bytes`);
  }
}

function isPowerOfTwo(value: number): boolean {
  return Number.isInteger(Math.log2(value));
}

function checkVersion(options: ImageShape, dataFile: boolean): void {
  if (options.version !== "v2") return;
  const refused = [
    options.lazyRefcounts && "lazy refcounts",
    options.extendedL2 && "extended L2 entries",
    options.refcountBits !== 16 && "refcounts of other than 16 bits",
    options.compressionType !== "zlib" && `${options.compressionType} compression`,
    dataFile && "an external data file",
  ].filter((word) => word !== false);
  if (refused.length > 0) refuse(`version 2 (compat 0.10) has no ${refused.join(", ")}; use version 3`);
}

function checkNames(options: ImageShape, dataFileName: string | undefined): void {
  const { backingFile, backingFormat } = options;
  if (backingFile === undefined && backingFormat !== undefined) {
    refuse("a backing format is given, but no backing file");
  }
  if (backingFile !== undefined) {
    if (backingFormat === undefined) {
      refuse(`give the format of the backing file '${backingFile}': it is recorded, and never guessed`);
    }
    checkText("the backing file name", backingFile, Limits.backingNameBytes);
    checkText("the backing format", backingFormat, Limits.backingFormatBytes);
    if (options.preallocation !== "off" && !options.extendedL2) {
      refuse("a backing file excludes preallocation, unless the image has extended L2 entries");
    }
  }
  if (options.dataFileRaw) {
    if (dataFileName === undefined) refuse("a raw data file is asked for, but no data file is given");
    if (backingFile !== undefined) refuse("a raw data file excludes a backing file");
  }
  if (dataFileName !== undefined)
    checkText("the name of the data file", dataFileName, Limits.backingNameBytes);
}

function checkText(what: string, text: string, mostBytes: number): void {
  const bytes = Buffer.byteLength(text);
  if (bytes > mostBytes) refuse(`${what} has ${bytes} bytes; ${mostBytes} is the most`);
  if (text.includes("\0")) refuse(`${what} contains a NUL character`);
}

function headerOf(options: ImageShape, geometry: Geometry, layout: Layout, dataFile: boolean): Header {
  const zstd = options.compressionType === "zstd";
  return {
    version: options.version === "v2" ? 2 : 3,
    backingNameOffset: 0,
    backingNameLength: 0,
    clusterBits: geometry.clusterBits,
    size: options.size,
    encryption: 0,
    l1Entries: layout.l1Entries,
    l1Offset: layout.l1Offset,
    refcountTableOffset: layout.refcountTableOffset,
    refcountTableClusters: layout.refcountTableClusters,
    snapshotCount: 0,
    snapshotsOffset: 0,
    incompatible:
      (dataFile ? Incompatible.DataFile : 0n) |
      (zstd ? Incompatible.CompressionType : 0n) |
      (options.extendedL2 ? Incompatible.ExtendedL2 : 0n),
    compatible: options.lazyRefcounts ? Compatible.LazyRefcounts : 0n,
    autoclear: options.dataFileRaw ? Autoclear.RawDataFile : 0n,
    refcountOrder: geometry.refcountOrder,
    headerLength: options.version === "v2" ? V2_HEADER_LENGTH : WRITTEN_HEADER_LENGTH,
    compressionType: zstd ? CompressionType.Zstd : CompressionType.Deflate,
    unknownFields: new Uint8Array(0),
  };
}

function extensionsOf(
  { version, clusterSize, backingFormat }: ImageShape,
  dataFileName: string | undefined,
): readonly Extension[] {
  const extensions: Extension[] = [];
  const text = new TextEncoder();
  if (backingFormat !== undefined) {
    extensions.push({ type: ExtensionType.BackingFormat, data: text.encode(backingFormat) });
  }
  if (dataFileName !== undefined) {
    extensions.push({ type: ExtensionType.DataFileName, data: text.encode(dataFileName) });
  }
  if (version === "v3" && clusterSize > CLUSTER_WITHOUT_FEATURE_NAMES) {
    extensions.push({ type: ExtensionType.FeatureNames, data: encodeFeatureNames() });
  }
  return extensions;
}
