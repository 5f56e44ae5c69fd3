/**
 * Hierarchical dirty bitmap: which groups of items are dirty, found and swept fast at any size, with iterators
 * that survive concurrent change.
 *
 * @packageDocumentation
 */
export { HBitmap } from "./hbitmap.ts";
export type { DirtyArea, DirtyStatus, HBitmapOptions } from "./contract.ts";
export { HBitmapIterator } from "./iterator.ts";
export { MAX_BITS } from "./levels.ts";
export { sha256 } from "./digest.ts";
