import { viewOf } from "./u64.ts";

/**
 * Reads and writes the refcounts of one block (qcow2 specification, "Host cluster management"). Entries below a byte
 * start at its least significant bit; wider ones are big-endian.
 */
export interface RefcountCodec {
  /** The greatest refcount; for 64 bits the greatest exact number. */
  readonly max: number;
  /** Refcount `index` of `block`. A 64-bit count above 2^53-1 reads as `Infinity`. */
  get(block: Uint8Array, index: number): number;
  /** Sets refcount `index`; `count` is at most {@link RefcountCodec.max}. */
  set(block: Uint8Array, index: number, count: number): void;
}

function narrow(bits: 1 | 2 | 4): RefcountCodec {
  const perByte = 8 / bits;
  const max = 2 ** bits - 1;
  return {
    max,
    get(block, index) {
      const byte = block[Math.floor(index / perByte)] ?? 0;
      return (byte >>> ((index % perByte) * bits)) & max;
    },
    set(block, index, count) {
      const at = Math.floor(index / perByte);
      const shift = (index % perByte) * bits;
      block[at] = ((block[at] ?? 0) & ~(max << shift)) | (count << shift);
    },
  };
}

const byByte: RefcountCodec = {
  max: 0xff,
  get: (block, index) => block[index] ?? 0,
  set(block, index, count) {
    block[index] = count;
  },
};

const by16: RefcountCodec = {
  max: 0xffff,
  get: (block, index) => ((block[2 * index] ?? 0) << 8) | (block[2 * index + 1] ?? 0),
  set(block, index, count) {
    block[2 * index] = count >>> 8;
    block[2 * index + 1] = count & 0xff;
  },
};

const by32: RefcountCodec = {
  max: 0xffff_ffff,
  get: (block, index) => viewOf(block).getUint32(4 * index),
  set: (block, index, count) => viewOf(block).setUint32(4 * index, count),
};

const by64: RefcountCodec = {
  max: Number.MAX_SAFE_INTEGER,
  get(block, index) {
    const view = viewOf(block);
    const value = view.getUint32(8 * index) * 2 ** 32 + view.getUint32(8 * index + 4);
    return Number.isSafeInteger(value) ? value : Infinity;
  },
  set(block, index, count) {
    const view = viewOf(block);
    view.setUint32(8 * index, Math.floor(count / 2 ** 32));
    view.setUint32(8 * index + 4, count % 2 ** 32);
  },
};

const CODECS: readonly RefcountCodec[] = [narrow(1), narrow(2), narrow(4), byByte, by16, by32, by64];

/** The codec for refcounts of `2^order` bits; `order` is 0 to 6. */
export function refcountCodec(order: number): RefcountCodec {
  const codec = CODECS[order];
  if (codec === undefined) throw new RangeError(`refcountCodec: order ${order} is not 0 to 6`);
  return codec;
}
