import {
  ExtentFlag,
  ExtentList,
  isZero,
  StatusResolver,
  type BlockEdge,
  type BlockNode,
} from "@blockmirror/block-driver";

/** Bytes read at once from each image. */
const STEP = 2 * 1024 * 1024;
/** Zeroes that are fewer are read like data: a request of their own costs more. */
const LEAST_ZEROES = 256 * 1024;

/** One side of a comparison. */
export interface ComparedImage {
  readonly node: BlockNode;
  readonly edge: BlockEdge;
}

/** How a comparison is carried out. */
export interface CompareOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Compares what a guest reads in two images, and stops at the first byte that differs. What both know to be zero is not
 * read. An image that is shorter counts as if zeroes followed.
 * @returns the offset of the first difference, or undefined without one.
 */
export async function compareImages(
  a: ComparedImage,
  b: ComparedImage,
  { signal, onProgress }: CompareOptions = {},
): Promise<number | undefined> {
  const total = Math.max(a.node.size, b.node.size);
  const sides = [new Side(a), new Side(b)] as const;
  for (let at = 0; at < total;) {
    signal?.throwIfAborted();
    const [left, right] = [await sides[0].kindAt(at, total), await sides[1].kindAt(at, total)];
    const bothZero = left.zero && right.zero;
    const length = Math.min(left.length, right.length, bothZero ? total : STEP);
    const difference = bothZero ? undefined : await compareRange(sides, left, right, at, length);
    if (difference !== undefined) return difference;
    at += length;
    onProgress?.(at, total);
  }
  return undefined;
}

interface Kind {
  readonly zero: boolean;
  readonly length: number;
}

async function compareRange(
  [a, b]: readonly [Side, Side],
  left: Kind,
  right: Kind,
  at: number,
  length: number,
): Promise<number | undefined> {
  if (left.zero || right.zero) {
    const bytes = await (left.zero ? b : a).read(at, length);
    return isZero(bytes) ? undefined : at + bytes.findIndex((byte) => byte !== 0);
  }
  const [one, other] = await Promise.all([a.read(at, length), b.read(at, length)]);
  if (one.equals(other)) return undefined;
  return at + one.findIndex((byte, index) => byte !== other[index]);
}

/** One image, with the extents last asked for and a buffer. */
class Side {
  readonly #image: ComparedImage;
  readonly #resolver = new StatusResolver();
  readonly #extents = new ExtentList();
  readonly #buffer = Buffer.allocUnsafeSlow(STEP);
  #index = 0;

  constructor(image: ComparedImage) {
    this.#image = image;
  }

  /** How it goes on at `at`: beyond the end there are zeroes up to `total`. */
  async kindAt(at: number, total: number): Promise<Kind> {
    const { node } = this.#image;
    if (at >= node.size) return { zero: true, length: total - at };
    const extents = this.#extents;
    if (extents.count === 0 || at >= extents.next) {
      await this.#resolver.resolve(node, at, node.size - at, extents, { precise: false });
      this.#index = 0;
    }
    while (this.#endOf(this.#index) <= at) this.#index += 1;
    if (this.#areZeroes(this.#index, at)) return { zero: true, length: this.#endOf(this.#index) - at };
    let last = this.#index;
    // Data is read as a whole, wherever it is stored.
    while (
      last + 1 < extents.count &&
      this.#endOf(last) - at < STEP &&
      !this.#areZeroes(last + 1, extents.offsetAt(last + 1))
    )
      last += 1;
    return { zero: false, length: this.#endOf(last) - at };
  }

  #endOf(index: number): number {
    return this.#extents.offsetAt(index) + this.#extents.lengthAt(index);
  }

  /** Whether an extent is zeroes from `at` on, and worth a step of their own. */
  #areZeroes(index: number, at: number): boolean {
    if ((this.#extents.flagsAt(index) & ExtentFlag.Zero) === 0) return false;
    const end = this.#endOf(index);
    return end - at >= LEAST_ZEROES || end === this.#image.node.size;
  }

  /** Valid until the next read. */
  async read(at: number, length: number): Promise<Buffer> {
    const bytes = this.#buffer.subarray(0, length);
    await this.#image.edge.read(at, [bytes]);
    return bytes;
  }
}
