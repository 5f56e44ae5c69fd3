import { BlockError } from "../../../errors.ts";
import { viewOf, writeU64 } from "./u64.ts";

/** Limits that QEMU sets too. */
export const BitmapLimits = {
  bitmaps: 65535,
  /** 64 MiB less 1 KiB. */
  directoryBytes: 67_107_840,
  tableEntries: 0x800_0000,
  /** 512 MiB. */
  dataBytes: 0x2000_0000,
  nameBytes: 1023,
  minGranularityBits: 9,
  maxGranularityBits: 31,
} as const;

/** Flags of a directory entry. */
export const BitmapFlag = {
  /** It was being changed: what is stored is not to be trusted. */
  InUse: 1,
  /** It follows every write. */
  Auto: 2,
  /** Its extra data may be ignored. */
  ExtraDataCompatible: 4,
} as const;

/** The only type there is: dirty tracking. */
export const DIRTY_TRACKING = 1;

/** The payload of the bitmaps extension (qcow2 specification, "Bitmaps extension"). */
export interface BitmapsExtension {
  readonly count: number;
  /** Bytes. */
  readonly directorySize: number;
  readonly directoryOffset: number;
}

/** One bitmap as the directory describes it (qcow2 specification, "Bitmap directory"). */
export interface BitmapEntry {
  readonly tableOffset: number;
  readonly tableEntries: number;
  /** {@link BitmapFlag} bits. */
  readonly flags: number;
  readonly type: number;
  readonly granularityBits: number;
  readonly name: string;
  /** Kept as it is; what it means is unknown here. */
  readonly extraData: Uint8Array;
}

const EXTENSION_BYTES = 24;
const ENTRY_BYTES = 24;

function corrupt(label: string, what: string): BlockError {
  return new BlockError("BLK_CORRUPT", `${label}: ${what}`, { node: label });
}

/**
 * Parses the bitmaps extension.
 * @throws BlockError `BLK_CORRUPT` when it is not what the specification allows.
 */
export function parseBitmapsExtension(
  data: Uint8Array,
  clusterSize: number,
  label: string,
): BitmapsExtension {
  const wrong = (what: string): BlockError => corrupt(label, `the bitmaps extension ${what}`);
  if (data.length !== EXTENSION_BYTES) throw wrong(`has ${data.length} bytes instead of ${EXTENSION_BYTES}`);
  const view = viewOf(data);
  const count = view.getUint32(0);
  if (view.getUint32(4) !== 0) throw wrong("has a reserved field that is not zero");
  if (count === 0 || count > BitmapLimits.bitmaps) throw wrong(`names ${count} bitmaps`);
  const directorySize = clamped(view, 8);
  const directoryOffset = clamped(view, 16);
  if (directorySize < count * 32 || directorySize > BitmapLimits.directoryBytes) {
    throw wrong(`has a directory of ${directorySize} bytes for ${count} bitmaps`);
  }
  if (directoryOffset % clusterSize !== 0 || directoryOffset < clusterSize) {
    throw wrong(`has a directory at 0x${directoryOffset.toString(16)}`);
  }
  return { count, directorySize, directoryOffset };
}

/** An offset that may be nonsense; beyond exact numbers it is `Infinity`, which no check passes. */
function clamped(view: DataView, at: number): number {
  const value = view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);
  return Number.isSafeInteger(value) ? value : Infinity;
}

/** The payload of the extension. */
export function encodeBitmapsExtension(extension: BitmapsExtension): Uint8Array {
  const data = new Uint8Array(EXTENSION_BYTES);
  const view = viewOf(data);
  view.setUint32(0, extension.count);
  writeU64(view, 8, extension.directorySize);
  writeU64(view, 16, extension.directoryOffset);
  return data;
}

/**
 * Parses the directory. It stands or falls as a whole, as with QEMU: an entry that makes no sense says that the others
 * are not where they seem to be.
 * @throws BlockError `BLK_CORRUPT` naming the entry.
 */
export function parseBitmapDirectory(
  bytes: Uint8Array,
  count: number,
  clusterSize: number,
  label: string,
): readonly BitmapEntry[] {
  const entries: BitmapEntry[] = [];
  const names = new Set<string>();
  let at = 0;
  while (at < bytes.length) {
    const { entry, length } = parseEntry(bytes, at, clusterSize, label, entries.length);
    if (names.has(entry.name)) throw corrupt(label, `two bitmaps are named '${entry.name}'`);
    names.add(entry.name);
    entries.push(entry);
    at += length;
    if (entries.length > count) break;
  }
  if (entries.length !== count) {
    throw corrupt(label, `the bitmap directory does not hold the ${count} bitmaps it should`);
  }
  return entries;
}

function parseEntry(
  bytes: Uint8Array,
  at: number,
  clusterSize: number,
  label: string,
  index: number,
): { readonly entry: BitmapEntry; readonly length: number } {
  const wrong = (what: string): BlockError =>
    corrupt(label, `entry ${index} of the bitmap directory ${what}`);
  if (bytes.length - at < ENTRY_BYTES) throw wrong("is cut off");
  const view = viewOf(bytes);
  const nameBytes = view.getUint16(at + 18);
  const extraBytes = view.getUint32(at + 20);
  const length = Math.ceil((ENTRY_BYTES + extraBytes + nameBytes) / 8) * 8;
  if (length > bytes.length - at) throw wrong("is cut off");
  if (nameBytes === 0 || nameBytes > BitmapLimits.nameBytes) throw wrong(`has a name of ${nameBytes} bytes`);
  const nameAt = at + ENTRY_BYTES + extraBytes;
  const entry: BitmapEntry = {
    tableOffset: clamped(view, at),
    tableEntries: view.getUint32(at + 8),
    flags: view.getUint32(at + 12),
    type: bytes[at + 16] ?? 0,
    granularityBits: bytes[at + 17] ?? 0,
    name: decodeName(bytes.subarray(nameAt, nameAt + nameBytes), wrong),
    extraData: bytes.slice(at + ENTRY_BYTES, nameAt),
  };
  if (bytes.subarray(nameAt + nameBytes, at + length).some((byte) => byte !== 0)) {
    throw wrong("has padding that is not zero");
  }
  checkEntry(entry, clusterSize, wrong);
  return { entry, length };
}

function decodeName(bytes: Uint8Array, wrong: (what: string) => BlockError): string {
  try {
    const name = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    if (!name.includes("\0")) return name;
  } catch {
    // Told below.
  }
  throw wrong("has a name that is not UTF-8 text");
}

function checkEntry(entry: BitmapEntry, clusterSize: number, wrong: (what: string) => BlockError): void {
  const { tableOffset, tableEntries, flags, type, granularityBits, extraData } = entry;
  if (tableOffset === 0 || tableOffset % clusterSize !== 0) throw wrong("has a table at an invalid offset");
  if (tableEntries === 0 || tableEntries > BitmapLimits.tableEntries) {
    throw wrong(`has a table of ${tableEntries} entries`);
  }
  if (tableEntries * clusterSize > BitmapLimits.dataBytes) throw wrong("is larger than 512 MiB");
  if ((flags & ~7) !== 0) throw wrong("has reserved flags");
  if (type !== DIRTY_TRACKING) throw wrong(`has the unknown type ${type}`);
  if (
    granularityBits < BitmapLimits.minGranularityBits ||
    granularityBits > BitmapLimits.maxGranularityBits
  ) {
    throw wrong(`has a granularity of 2^${granularityBits} bytes`);
  }
  if (extraData.length > 0 && (flags & BitmapFlag.ExtraDataCompatible) === 0) {
    throw wrong("has extra data that must be understood");
  }
}

/** The directory's bytes. */
export function encodeBitmapDirectory(entries: readonly BitmapEntry[]): Uint8Array {
  const names = entries.map((entry) => new TextEncoder().encode(entry.name));
  const lengths = entries.map(
    (entry, index) => Math.ceil((ENTRY_BYTES + entry.extraData.length + (names[index]?.length ?? 0)) / 8) * 8,
  );
  const bytes = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0));
  const view = viewOf(bytes);
  let at = 0;
  entries.forEach((entry, index) => {
    const name = names[index] ?? new Uint8Array(0);
    writeU64(view, at, entry.tableOffset);
    view.setUint32(at + 8, entry.tableEntries);
    view.setUint32(at + 12, entry.flags);
    bytes[at + 16] = entry.type;
    bytes[at + 17] = entry.granularityBits;
    view.setUint16(at + 18, name.length);
    view.setUint32(at + 20, entry.extraData.length);
    bytes.set(entry.extraData, at + ENTRY_BYTES);
    bytes.set(name, at + ENTRY_BYTES + entry.extraData.length);
    at += lengths[index] ?? 0;
  });
  return bytes;
}

/** Entries that the table of a bitmap has: one for each cluster of its data. */
export function bitmapTableEntries(size: number, granularityBits: number, clusterSize: number): number {
  return Math.ceil(Math.ceil(Math.ceil(size / 2 ** granularityBits) / 8) / clusterSize);
}

/** One entry of a bitmap's table. */
export type BitmapTableEntry =
  | { readonly kind: "zeroes" }
  | { readonly kind: "ones" }
  | { readonly kind: "data"; readonly offset: number };

/**
 * Reads entry `index` of a bitmap's table.
 * @throws BlockError `BLK_CORRUPT` for reserved bits, a flag beside an offset, or an unaligned offset.
 */
export function bitmapTableEntry(
  table: Uint8Array,
  index: number,
  clusterSize: number,
  label: string,
): BitmapTableEntry {
  const view = viewOf(table);
  const high = view.getUint32(8 * index);
  const low = view.getUint32(8 * index + 4);
  const wrong = corrupt(label, `entry ${index} of a bitmap table is invalid`);
  if ((high & 0xff00_0000) !== 0 || (low & 0x1fe) !== 0) throw wrong;
  const offset = high * 2 ** 32 + ((low & 0xffff_fe00) >>> 0);
  if (offset === 0) return (low & 1) === 0 ? { kind: "zeroes" } : { kind: "ones" };
  if ((low & 1) !== 0 || offset % clusterSize !== 0) throw wrong;
  return { kind: "data", offset };
}
