import { BlockError } from "../../../errors.ts";

/** Clusters of one page. */
const PAGE = 32768;

/** A page counts in bits while nothing in it is counted twice, then in bytes, then in words. */
type Page =
  | { readonly kind: "bits"; readonly counts: Uint8Array }
  | { readonly kind: "wide"; readonly counts: Uint8Array | Uint32Array };

/** What a map is made with. */
export interface ReferenceMapInit {
  /** Bytes of memory it may take. */
  readonly memoryLimit: number;
  /** The greatest count there can be; see {@link ReferenceMap.add}. */
  readonly max: number;
}

/**
 * How often each cluster of a file is referred to. Sparse: what nothing refers to takes no memory, and where every
 * cluster has one user, as nearly everywhere, a cluster takes one bit.
 */
export class ReferenceMap {
  readonly #pages = new Map<number, Page>();
  readonly #memoryLimit: number;
  readonly #max: number;
  #memory = 0;
  #end = 0;
  #lastNumber = -1;
  #last: Page | undefined;

  constructor({ memoryLimit, max }: ReferenceMapInit) {
    this.#memoryLimit = memoryLimit;
    // Counts are kept in words of 32 bits; an image cannot hold more references than that.
    this.#max = Math.min(max, 0xffff_ffff);
  }

  /** One beyond the last cluster that has ever been counted. */
  get end(): number {
    return this.#end;
  }

  /** How often `cluster` is referred to. */
  get(cluster: number): number {
    const page = this.#page(Math.floor(cluster / PAGE));
    return page === undefined ? 0 : countIn(page, cluster % PAGE);
  }

  /**
   * Counts `times` more references to `cluster`. The count stops at the maximum.
   * @returns how many of them did not fit.
   * @throws BlockError `EFBIG` when the map would take more memory than it may.
   */
  add(cluster: number, times = 1): number {
    if (cluster >= this.#end) this.#end = cluster + 1;
    const number = Math.floor(cluster / PAGE);
    const index = cluster % PAGE;
    const page = this.#page(number) ?? this.#newPage(number);
    if (page.kind === "bits" && times === 1) {
      const at = index >>> 3;
      const bit = 1 << (index & 7);
      const byte = page.counts[at] ?? 0;
      if ((byte & bit) === 0) {
        page.counts[at] = byte | bit;
        return 0;
      }
    }
    const before = countIn(page, index);
    const after = Math.min(this.#max, before + times);
    if (after !== before) this.#store(number, page, index, after);
    return before + times - after;
  }

  /** Raises the count of `cluster` to at least `count`. */
  raise(cluster: number, count: number): void {
    const before = this.get(cluster);
    if (count > before) this.add(cluster, count - before);
  }

  /** The ranges `[first, end)` of clusters in which something may be counted, ascending. */
  *ranges(): Generator<readonly [first: number, end: number]> {
    const numbers = [...this.#pages.keys()].sort((a, b) => a - b);
    for (const number of numbers) yield [number * PAGE, (number + 1) * PAGE];
  }

  #page(number: number): Page | undefined {
    if (number === this.#lastNumber) return this.#last;
    const page = this.#pages.get(number);
    this.#lastNumber = number;
    this.#last = page;
    return page;
  }

  #newPage(number: number): Page {
    return this.#keep(number, { kind: "bits", counts: new Uint8Array(PAGE / 8) });
  }

  #keep(number: number, page: Page): Page {
    const before = this.#pages.get(number)?.counts.byteLength ?? 0;
    this.#memory += page.counts.byteLength - before;
    if (this.#memory > this.#memoryLimit) {
      throw new BlockError(
        "EFBIG",
        `checking this image takes more than ${this.#memoryLimit} bytes of memory; allow more`,
        { operation: "check" },
      );
    }
    this.#pages.set(number, page);
    this.#lastNumber = number;
    this.#last = page;
    return page;
  }

  #store(number: number, page: Page, index: number, count: number): void {
    let target = page;
    if (count > 255 && !(target.kind === "wide" && target.counts instanceof Uint32Array)) {
      target = this.#keep(number, { kind: "wide", counts: widened(page, new Uint32Array(PAGE)) });
    } else if (target.kind === "bits") {
      target = this.#keep(number, { kind: "wide", counts: widened(page, new Uint8Array(PAGE)) });
    }
    target.counts[index] = count;
  }
}

function countIn(page: Page, index: number): number {
  if (page.kind === "bits") return ((page.counts[index >>> 3] ?? 0) >>> (index & 7)) & 1;
  return page.counts[index] ?? 0;
}

function widened<C extends Uint8Array | Uint32Array>(page: Page, counts: C): C {
  for (let index = 0; index < PAGE; index += 1) counts[index] = countIn(page, index);
  return counts;
}
