import { BlockError } from "../../../errors.ts";
import { Autoclear, Compatible, ExtensionType, Incompatible, KNOWN_INCOMPATIBLE } from "./constants.ts";
import { findExtension, type Extension } from "./extensions.ts";
import type { Header } from "./header.ts";

/** Kinds of feature in the feature name table. */
const Kind = { Incompatible: 0, Compatible: 1, Autoclear: 2 } as const;

const ENTRY_BYTES = 48;
const NAME_BYTES = 46;

/** The names this driver writes, in the words every tool uses. */
const NAMES: readonly (readonly [kind: number, bit: bigint, name: string])[] = [
  [Kind.Incompatible, Incompatible.Dirty, "dirty bit"],
  [Kind.Incompatible, Incompatible.Corrupt, "corrupt bit"],
  [Kind.Incompatible, Incompatible.DataFile, "external data file"],
  [Kind.Incompatible, Incompatible.CompressionType, "compression type"],
  [Kind.Incompatible, Incompatible.ExtendedL2, "extended L2 entries"],
  [Kind.Compatible, Compatible.LazyRefcounts, "lazy refcounts"],
  [Kind.Autoclear, Autoclear.Bitmaps, "bitmaps"],
  [Kind.Autoclear, Autoclear.RawDataFile, "raw external data"],
];

/** The feature name table of every image this driver creates. */
export function encodeFeatureNames(): Uint8Array {
  const bytes = new Uint8Array(NAMES.length * ENTRY_BYTES);
  NAMES.forEach(([kind, bit, name], index) => {
    bytes[index * ENTRY_BYTES] = kind;
    bytes[index * ENTRY_BYTES + 1] = bitNumber(bit);
    bytes.set(new TextEncoder().encode(name), index * ENTRY_BYTES + 2);
  });
  return bytes;
}

function bitNumber(bit: bigint): number {
  return bit.toString(2).length - 1;
}

/**
 * Refuses an image that needs features unknown here.
 * @throws BlockError `ENOTSUP` naming them by the image's own table where it has names, else by number.
 */
export function assertSupportedFeatures(
  header: Header,
  extensions: readonly Extension[],
  label: string,
): void {
  const unknown = header.incompatible & ~KNOWN_INCOMPATIBLE;
  if (unknown === 0n) return;
  const names = incompatibleNames(findExtension(extensions, ExtensionType.FeatureNames));
  const missing: string[] = [];
  for (let bit = 0; bit < 64; bit += 1) {
    if (((unknown >> BigInt(bit)) & 1n) === 1n) missing.push(names.get(bit) ?? `bit ${bit}`);
  }
  throw new BlockError("ENOTSUP", `${label}: unsupported qcow2 feature(s): ${missing.join(", ")}`, {
    node: label,
    operation: "open",
  });
}

/** Names of incompatible features by bit. The table is hostile input: what makes no sense in it is skipped. */
function incompatibleNames(table: Uint8Array | undefined): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  if (table === undefined) return names;
  for (let at = 0; at + ENTRY_BYTES <= table.length; at += ENTRY_BYTES) {
    const bit = table[at + 1] ?? 64;
    if (table[at] !== Kind.Incompatible || bit > 63) continue;
    const text = new TextDecoder().decode(table.subarray(at + 2, at + 2 + NAME_BYTES));
    const name = printable(text.split("\0", 1)[0] ?? "");
    if (name !== "") names.set(bit, name);
  }
  return names;
}

/** Text from an image, fit for a terminal: everything but printable ASCII becomes `?`. */
function printable(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, "?");
}
