import { BlockError } from "../../../errors.ts";
import { fileClusters, type CheckedImage } from "./checked-image.ts";
import type { RefcountStructure } from "./refcount-structure.ts";
import type { References } from "./references.ts";
import { assertNotAborted } from "./table-reader.ts";

/** How refcounts are compared. */
export interface CompareOptions {
  readonly signal: AbortSignal | undefined;
  /** Raise refcounts that are too low. */
  readonly raise: boolean;
  /** Lower refcounts that are too high; never done where references may have been overlooked. */
  readonly lower: boolean;
  /** Clusters `[first, end)` that the repair takes into use now: their refcounts are raised without a complaint. */
  readonly taken?: { readonly first: number; readonly end: number } | undefined;
}

/** What a comparison came to, beside what it told. */
export interface Comparison {
  /** One beyond the last cluster that is in use by anybody's count. */
  readonly end: number;
  /** A refcount is too low and there is no block that could hold a higher one. */
  readonly needsBlocks: boolean;
  /** No refcount is too low, now that what could be repaired is. */
  readonly sufficient: boolean;
}

/** Compares the refcounts in the file with the references that were counted, and repairs them if told to. */
export async function compareRefcounts(
  image: CheckedImage,
  structure: RefcountStructure,
  references: References,
  options: CompareOptions,
): Promise<Comparison> {
  const { geometry } = image;
  const comparer = new Comparer(image, structure, references, options);
  const clusters = Math.max(fileClusters(image), references.map.end);
  for (const index of blocksOfInterest(structure, references, geometry.refcountsPerBlock, clusters)) {
    assertNotAborted(options.signal);
    await comparer.compare(index, clusters);
  }
  return { end: comparer.end, needsBlocks: comparer.needsBlocks, sufficient: comparer.sufficient };
}

/** Indices of blocks that exist or should, ascending. */
function blocksOfInterest(
  structure: RefcountStructure,
  { map }: References,
  perBlock: number,
  clusters: number,
): Iterable<number> {
  const indices = new Set<number>();
  const most = Math.ceil(clusters / perBlock);
  for (let index = 0; index < Math.min(structure.entries, most); index += 1) {
    if (structure.stateOf(index) !== "absent") indices.add(index);
  }
  for (const [first, end] of map.ranges()) {
    const last = Math.floor((Math.min(end, clusters) - 1) / perBlock);
    for (let index = Math.floor(first / perBlock); index <= last; index += 1) indices.add(index);
  }
  return [...indices].sort((a, b) => a - b);
}

class Comparer {
  readonly #image: CheckedImage;
  readonly #structure: RefcountStructure;
  readonly #references: References;
  readonly #options: CompareOptions;
  readonly #lower: boolean;
  end = 0;
  needsBlocks = false;
  sufficient = true;

  constructor(
    image: CheckedImage,
    structure: RefcountStructure,
    references: References,
    options: CompareOptions,
  ) {
    this.#image = image;
    this.#structure = structure;
    this.#references = references;
    this.#options = options;
    this.#lower = options.lower && references.complete;
  }

  async compare(index: number, clusters: number): Promise<void> {
    const { refcountsPerBlock } = this.#image.geometry;
    const first = index * refcountsPerBlock;
    const count = Math.min(refcountsPerBlock, clusters - first);
    const { findings } = this.#references;
    if (!this.#structure.isReadable(index)) {
      this.sufficient = false;
      findings.error(`the refcounts from cluster ${first} on cannot be read`, count);
      return;
    }
    let block: Uint8Array | undefined;
    try {
      block = await this.#structure.block(index);
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      this.sufficient = false;
      findings.error(`the refcounts from cluster ${first} on cannot be read: ${error.message}`, count);
      return;
    }
    const canChange = block !== undefined && this.#structure.stateOf(index) === "present";
    let changed = false;
    for (let within = 0; within < count; within += 1) {
      const stored = block === undefined ? 0 : this.#structure.codec.get(block, within);
      const counted = this.#references.map.get(first + within);
      if (stored === 0 && counted === 0) continue;
      this.end = first + within + 1;
      if (
        stored !== counted &&
        this.#differs(first + within, stored, counted, canChange) &&
        block !== undefined
      ) {
        this.#structure.codec.set(block, within, counted);
        changed = true;
      }
    }
    if (changed && block !== undefined) await this.#structure.changed(index, block);
  }

  /** Tells a difference; true when it is to be repaired in its block. */
  #differs(cluster: number, stored: number, counted: number, canChange: boolean): boolean {
    const { findings } = this.#references;
    const what = `cluster ${cluster} has a refcount of ${stored} and ${counted} references`;
    if (stored > counted) {
      if (this.#lower && canChange) findings.fixedLeak(what);
      else findings.leak(what);
      return this.#lower && canChange;
    }
    if (!canChange) this.needsBlocks = true;
    const { taken } = this.#options;
    if (taken !== undefined && cluster >= taken.first && cluster < taken.end) {
      if (!canChange) this.sufficient = false;
      return canChange;
    }
    if (this.#options.raise && canChange) {
      findings.fixedCorruption(what);
      return true;
    }
    this.sufficient = false;
    findings.corruption(what);
    return false;
  }
}
