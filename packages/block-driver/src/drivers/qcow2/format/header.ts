import { BlockError } from "../../../errors.ts";
import {
  CompressionType,
  Incompatible,
  Limits,
  QCOW2_MAGIC,
  V2_HEADER_LENGTH,
  V3_HEADER_LENGTH,
  WRITTEN_HEADER_LENGTH,
} from "./constants.ts";
import { Geometry } from "./geometry.ts";
import { readU64, viewOf, writeU64 } from "./u64.ts";

/** The header of an image (qcow2 specification, "Header"), as numbers. Immutable: a change makes another one. */
export interface Header {
  readonly version: 2 | 3;
  /** Where the name of the backing file is; 0 for none. */
  readonly backingNameOffset: number;
  readonly backingNameLength: number;
  readonly clusterBits: number;
  /** Virtual size in bytes as recorded, perhaps not a multiple of 512. */
  readonly size: number;
  /** 0 none, 1 AES, 2 LUKS. */
  readonly encryption: number;
  readonly l1Entries: number;
  readonly l1Offset: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  readonly snapshotCount: number;
  readonly snapshotsOffset: number;
  readonly incompatible: bigint;
  readonly compatible: bigint;
  readonly autoclear: bigint;
  readonly refcountOrder: number;
  /** Where the extensions start. */
  readonly headerLength: number;
  readonly compressionType: number;
  /** Fields beyond those known here, kept byte for byte. */
  readonly unknownFields: Uint8Array;
}

/** Byte offsets of the fields that are changed alone, each within one 512-byte sector: such a write is never torn. */
export const HeaderField = {
  size: 24,
  l1: 36,
  refcountTable: 48,
  snapshots: 60,
  incompatible: 72,
  compatible: 80,
  autoclear: 88,
} as const;

/** The error for a header that makes no sense; `what` completes "image L: ...". */
export function corruptHeader(label: string, what: string): BlockError {
  return new BlockError("BLK_CORRUPT", `${label}: ${what}`, { node: label, operation: "open" });
}

/**
 * Parses and checks the header in `bytes`, the start of an image. Nothing is allocated in proportion to a field, and
 * every sum is checked, so hostile bytes cost a refusal and nothing else.
 *
 * Which features are set is not judged here, so that an image which cannot be opened can still be described; see
 * {@link assertSupportedFeatures}.
 *
 * @throws BlockError `EINVAL` when it is not qcow2, `ENOTSUP` for another version or cluster size, `EFBIG` beyond
 * a limit, `BLK_CORRUPT` when the header contradicts itself.
 */
export function parseHeader(bytes: Uint8Array, label: string): Header {
  if (bytes.byteLength < V2_HEADER_LENGTH) {
    throw new BlockError("EINVAL", `${label}: too short to be a qcow2 image (${bytes.byteLength} bytes)`, {
      node: label,
      operation: "open",
    });
  }
  const view = viewOf(bytes);
  const version = parseVersion(view, label);
  const clusterBits = view.getUint32(20);
  if (clusterBits < Limits.minClusterBits || clusterBits > Limits.maxClusterBits) {
    throw new BlockError(
      "ENOTSUP",
      `${label}: unsupported cluster size 2^${clusterBits}; 512 bytes to 2 MiB are supported`,
      { node: label, operation: "open" },
    );
  }
  const extended = version === 3 ? parseVersion3(bytes, view, clusterBits, label) : VERSION_2_FIELDS;
  const u64 = (at: number, what: string): number => readU64(view, at, `${label}: ${what}`);
  return {
    version,
    backingNameOffset: u64Clamped(view, 8),
    backingNameLength: view.getUint32(16),
    clusterBits,
    size: u64(24, "the virtual size"),
    encryption: view.getUint32(32),
    l1Entries: view.getUint32(36),
    l1Offset: u64Clamped(view, 40),
    refcountTableOffset: u64Clamped(view, 48),
    refcountTableClusters: view.getUint32(56),
    snapshotCount: view.getUint32(60),
    snapshotsOffset: u64Clamped(view, 64),
    ...extended,
  };
}

/** An offset that may be nonsense: beyond exact numbers it reads as `Infinity`, which every later check refuses. */
function u64Clamped(view: DataView, at: number): number {
  const value = view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);
  return Number.isSafeInteger(value) ? value : Infinity;
}

function parseVersion(view: DataView, label: string): 2 | 3 {
  if (view.getUint32(0) !== QCOW2_MAGIC) {
    throw new BlockError("EINVAL", `${label}: not a qcow2 image (its first four bytes differ)`, {
      node: label,
      operation: "open",
    });
  }
  const version = view.getUint32(4);
  if (version === 2 || version === 3) return version;
  const hint = version === 1 ? ": this is the older qcow format; convert it with qemu-img" : "";
  throw new BlockError("ENOTSUP", `${label}: unsupported qcow2 version ${version}${hint}`, {
    node: label,
    operation: "open",
  });
}

type Version3Fields = Pick<
  Header,
  | "incompatible"
  | "compatible"
  | "autoclear"
  | "refcountOrder"
  | "headerLength"
  | "compressionType"
  | "unknownFields"
>;

const VERSION_2_FIELDS: Version3Fields = {
  incompatible: 0n,
  compatible: 0n,
  autoclear: 0n,
  refcountOrder: 4,
  headerLength: V2_HEADER_LENGTH,
  compressionType: CompressionType.Deflate,
  unknownFields: new Uint8Array(0),
};

function parseVersion3(
  bytes: Uint8Array,
  view: DataView,
  clusterBits: number,
  label: string,
): Version3Fields {
  if (bytes.byteLength < V3_HEADER_LENGTH) throw corruptHeader(label, "the file ends within the header");
  const headerLength = view.getUint32(100);
  if (headerLength < V3_HEADER_LENGTH || headerLength % 8 !== 0) {
    throw corruptHeader(
      label,
      `a header length of ${headerLength}; it is a multiple of 8 from ${V3_HEADER_LENGTH}`,
    );
  }
  if (headerLength > 2 ** clusterBits) throw corruptHeader(label, "the header is longer than a cluster");
  if (headerLength > bytes.byteLength) throw corruptHeader(label, "the file ends within the header");
  return {
    incompatible: view.getBigUint64(HeaderField.incompatible),
    compatible: view.getBigUint64(HeaderField.compatible),
    autoclear: view.getBigUint64(HeaderField.autoclear),
    refcountOrder: view.getUint32(96),
    headerLength,
    compressionType: headerLength > V3_HEADER_LENGTH ? (bytes[V3_HEADER_LENGTH] ?? 0) : 0,
    unknownFields:
      headerLength > WRITTEN_HEADER_LENGTH
        ? bytes.slice(WRITTEN_HEADER_LENGTH, headerLength)
        : new Uint8Array(0),
  };
}

/** True when `bit` is set in `features`. */
export function hasFeature(features: bigint, bit: bigint): boolean {
  return (features & bit) !== 0n;
}

/** The sizes that follow from `header`, which {@link checkHeader} has accepted. */
export function geometryOf(header: Header): Geometry {
  return new Geometry({
    clusterBits: header.clusterBits,
    refcountOrder: header.refcountOrder,
    extendedL2: hasFeature(header.incompatible, Incompatible.ExtendedL2),
    hasZeroFlag: header.version > 2,
  });
}

/** The header's own bytes, as long as its `headerLength` says, for an image of its version. */
export function encodeHeader(header: Header): Uint8Array {
  const bytes = new Uint8Array(header.headerLength);
  const view = viewOf(bytes);
  view.setUint32(0, QCOW2_MAGIC);
  view.setUint32(4, header.version);
  writeU64(view, 8, header.backingNameOffset);
  view.setUint32(16, header.backingNameLength);
  view.setUint32(20, header.clusterBits);
  writeU64(view, HeaderField.size, header.size);
  view.setUint32(32, header.encryption);
  view.setUint32(HeaderField.l1, header.l1Entries);
  writeU64(view, 40, header.l1Offset);
  writeU64(view, HeaderField.refcountTable, header.refcountTableOffset);
  view.setUint32(56, header.refcountTableClusters);
  view.setUint32(HeaderField.snapshots, header.snapshotCount);
  writeU64(view, 64, header.snapshotsOffset);
  if (header.version === 2) return bytes;
  view.setBigUint64(HeaderField.incompatible, header.incompatible);
  view.setBigUint64(HeaderField.compatible, header.compatible);
  view.setBigUint64(HeaderField.autoclear, header.autoclear);
  view.setUint32(96, header.refcountOrder);
  view.setUint32(100, header.headerLength);
  if (header.headerLength > V3_HEADER_LENGTH) bytes[V3_HEADER_LENGTH] = header.compressionType;
  if (header.headerLength > WRITTEN_HEADER_LENGTH) bytes.set(header.unknownFields, WRITTEN_HEADER_LENGTH);
  return bytes;
}
