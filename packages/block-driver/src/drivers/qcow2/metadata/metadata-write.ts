import type { MetadataKind } from "./metadata-map.ts";

/**
 * A piece of metadata on its way to the file, with the bytes it had at one instant: what is changed in memory afterwards
 * goes into the next commit. Exactly one of the two functions is called.
 */
export interface MetadataWrite {
  /** What it is, so that it may be written over metadata of its own kind and no other. */
  readonly kind: MetadataKind;
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** It is durable. Called before the writes of later steps, which depend on it. */
  readonly done: () => void;
  /** The commit failed before it was durable: it counts as changed again. */
  readonly failed: () => void;
}
