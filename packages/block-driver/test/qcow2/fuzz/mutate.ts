import type { Random } from "../../../src/conformance/random.ts";

/** One change of an image, for the report of a failure. */
export interface Poke {
  readonly what: string;
  readonly offset: number;
  readonly bytes: readonly number[];
}

const U32: readonly number[] = [
  0, 1, 2, 3, 4, 8, 9, 16, 21, 22, 104, 0x100, 0x1000, 0x10000, 0x100000, 0x3fffffff, 0x7ffffffe, 0x7fffffff,
  0x80000000, 0xfffffffe, 0xffffffff,
];
const U64: readonly bigint[] = [
  ...U32.map(BigInt),
  0x1000000n,
  0x10000000n,
  0x100000000n,
  1n << 53n,
  1n << 55n,
  1n << 56n,
  1n << 62n,
  (1n << 63n) - 1n,
  1n << 63n,
  (1n << 64n) - 2n,
  (1n << 64n) - 1n,
];
const FLAGS: readonly bigint[] = [0n, 1n << 63n, 1n << 62n, 1n, (1n << 63n) | 1n, 3n << 62n, 1n << 61n, 2n];
const HEADER_U32: readonly number[] = [4, 16, 20, 32, 36, 56, 60, 96, 100];
const HEADER_U64: readonly number[] = [8, 24, 40, 48, 64, 72, 80, 88];

/** Tables of a valid image: where a poke is likely to mean something. */
interface Places {
  readonly clusterSize: number;
  readonly l1: number;
  readonly l1Entries: number;
  readonly l2: readonly number[];
  readonly refcountTable: number;
  readonly refcountBlocks: readonly number[];
  readonly snapshots: number;
  readonly headerLength: number;
}

/**
 * Pokes a copy of a valid image in one to three places: header fields, extensions, table entries, refcounts, any metadata
 * byte; sometimes the end is cut off.
 */
export function mutate(
  base: Uint8Array,
  random: Random,
): { readonly bytes: Uint8Array; readonly pokes: readonly Poke[] } {
  let bytes: Uint8Array = new Uint8Array(base);
  const places = placesOf(base);
  const pokes: Poke[] = [];
  const count = 1 + random.below(3);
  for (let index = 0; index < count; index += 1) {
    if (random.below(25) === 0) {
      const length = random.below(bytes.length);
      bytes = bytes.slice(0, length);
      pokes.push({ what: "cut", offset: length, bytes: [] });
      continue;
    }
    const poke = choosePoke(bytes, places, random);
    if (poke.offset + poke.bytes.length > bytes.length) continue;
    bytes.set(poke.bytes, poke.offset);
    pokes.push(poke);
  }
  return { bytes, pokes };
}

function choosePoke(bytes: Uint8Array, places: Places, random: Random): Poke {
  switch (random.below(10)) {
    case 0:
      return { what: "header u32", offset: random.pick(HEADER_U32), bytes: u32(random.pick(U32)) };
    case 1:
      return { what: "header u64", offset: random.pick(HEADER_U64), bytes: u64(random.pick(U64)) };
    case 2:
      return {
        what: "feature bit",
        offset: 72 + random.below(24),
        bytes: [1 << random.below(8)],
      };
    case 3: {
      const offset = places.headerLength + random.below(600);
      return {
        what: "extension",
        offset,
        bytes: random.below(2) === 0 ? u32(random.pick(U32)) : [random.below(256)],
      };
    }
    case 4:
      return {
        what: "L1 entry",
        offset: places.l1 + 8 * random.below(Math.max(1, places.l1Entries)),
        bytes: u64(entry(places, bytes, random)),
      };
    case 5:
      return {
        what: "L2 entry",
        offset:
          (places.l2.length === 0 ? places.l1 : random.pick(places.l2)) +
          8 * random.below(places.clusterSize / 8),
        bytes: u64(entry(places, bytes, random)),
      };
    case 6:
      return {
        what: "refcount table",
        offset: places.refcountTable + 8 * random.below(4),
        bytes: u64(entry(places, bytes, random)),
      };
    case 7: {
      const block =
        places.refcountBlocks.length === 0 ? places.refcountTable : random.pick(places.refcountBlocks);
      return { what: "refcount", offset: block + random.below(256), bytes: [random.pick([0, 1, 2, 3, 255])] };
    }
    case 8:
      if (places.snapshots === 0) return { what: "header u32", offset: 60, bytes: u32(random.pick(U32)) };
      return {
        what: "snapshot table",
        offset: places.snapshots + random.below(150),
        bytes: random.below(2) === 0 ? [random.below(256)] : u32(random.pick(U32)),
      };
    default: {
      const offset = random.below(Math.min(bytes.length, 16 * places.clusterSize));
      return { what: "byte", offset, bytes: [random.below(256)] };
    }
  }
}

/** A table entry: somewhere in the file, at its end, or far away; with any flags. */
function entry({ clusterSize }: Places, bytes: Uint8Array, random: Random): bigint {
  const clusters = Math.ceil(bytes.length / clusterSize);
  const near = BigInt(random.below(clusters + 2)) * BigInt(clusterSize);
  const offset = random.below(4) === 0 ? random.pick(U64) : near;
  return BigInt.asUintN(64, (random.below(6) === 0 ? offset + 512n : offset) | random.pick(FLAGS));
}

function placesOf(bytes: Uint8Array): Places {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const pointers = (at: number, count: number): readonly number[] => {
    const found: number[] = [];
    for (let index = 0; index < count && at + 8 * index + 8 <= bytes.length; index += 1) {
      const offset = Number(view.getBigUint64(at + 8 * index) & 0x00ff_ffff_ffff_fe00n);
      if (offset !== 0) found.push(offset);
    }
    return found;
  };
  const clusterSize = 2 ** view.getUint32(20);
  const l1 = Number(view.getBigUint64(40));
  const l1Entries = view.getUint32(36);
  const refcountTable = Number(view.getBigUint64(48));
  return {
    clusterSize,
    l1,
    l1Entries,
    l2: pointers(l1, l1Entries),
    refcountTable,
    refcountBlocks: pointers(refcountTable, clusterSize / 8),
    snapshots: Number(view.getBigUint64(64)),
    headerLength: view.getUint32(4) === 2 ? 72 : view.getUint32(100),
  };
}

function u32(value: number): readonly number[] {
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}

function u64(value: bigint): readonly number[] {
  return [...u32(Number(value >> 32n)), ...u32(Number(value & 0xffff_ffffn))];
}
