import { BlockError } from "../errors.ts";
import { DirtyBitmap, type DirtyBitmapInit } from "./dirty-bitmap.ts";

/** The dirty bitmaps of one node. */
export class NodeBitmaps implements Iterable<DirtyBitmap> {
  readonly all: ReadonlySet<DirtyBitmap>;
  readonly #node: string;
  readonly #bitmaps = new Set<DirtyBitmap>();

  /** `node` is the name for messages. */
  constructor(node: string) {
    this.#node = node;
    this.all = this.#bitmaps;
  }

  [Symbol.iterator](): Iterator<DirtyBitmap> {
    return this.#bitmaps.values();
  }

  /**
   * Makes a bitmap for a device of `size` bytes.
   * @throws BlockError `EEXIST` when a bitmap of that name exists; RangeError for a bad granularity.
   */
  create(size: number, init: DirtyBitmapInit): DirtyBitmap {
    if (init.name !== undefined) {
      for (const other of this.#bitmaps) {
        if (other.name === init.name) {
          throw new BlockError("EEXIST", `Bitmap already exists: ${init.name} on node '${this.#node}'`, {
            node: this.#node,
          });
        }
      }
    }
    const bitmap = new DirtyBitmap(size, init);
    this.#bitmaps.add(bitmap);
    return bitmap;
  }

  /**
   * Forgets a bitmap; false when it is not one of these.
   * @throws BlockError `EBUSY` while an operation uses it.
   */
  remove(bitmap: DirtyBitmap): boolean {
    if (bitmap.busy && this.#bitmaps.has(bitmap)) {
      throw new BlockError(
        "EBUSY",
        `dirty bitmap ${bitmap.label} of node '${this.#node}' is in use by an operation; end that first`,
        { node: this.#node },
      );
    }
    return this.#bitmaps.delete(bitmap);
  }

  /** Forgets the bitmaps that the image stores, without taking them from the image. */
  forgetStored(): void {
    for (const bitmap of this.#bitmaps) if (bitmap.persistent) this.#bitmaps.delete(bitmap);
  }

  /** @throws BlockError `EBUSY` while an operation counts on the size that a bitmap has. */
  mustBeResizable(): void {
    for (const bitmap of this.#bitmaps) {
      if (bitmap.busy) {
        throw new BlockError(
          "EBUSY",
          `node '${this.#node}' cannot be resized while its dirty bitmap ${bitmap.label} is in use`,
          { node: this.#node, operation: "resize" },
        );
      }
    }
  }

  /** Follows a new size; new space counts as clean, since it reads as zeroes. */
  truncate(size: number): void {
    for (const bitmap of this.#bitmaps) if (bitmap.bits.size !== size) bitmap.truncate(size);
  }

  /** Marks a range in every enabled bitmap. `size` is the device's, undefined when it is gone. */
  mark(offset: number, length: number, size: number | undefined): void {
    for (const bitmap of this.#bitmaps) {
      // Somebody else may have resized what this node filters; a write to the new part must not be missed.
      if (size !== undefined && bitmap.bits.size !== size) bitmap.truncate(size);
      // The node may have shrunk while the write was on its way.
      const inside = Math.min(length, bitmap.bits.size - offset);
      if (bitmap.enabled && inside > 0) bitmap.mark(offset, inside);
    }
  }
}
