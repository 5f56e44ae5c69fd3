import { HBitmap, type HBitmapOptions } from "../src/index.ts";
import { expect } from "vitest";

/**
 * A bitmap and beside it a plain array with one byte per group, which is the truth. Every change is made to
 * both and then compared by count and by a full walk.
 */
export class Shadow {
  readonly bitmap: HBitmap;
  readonly granularity: number;
  groups: Uint8Array;
  size: number;

  constructor(options: HBitmapOptions) {
    this.bitmap = new HBitmap(options);
    this.size = options.size;
    this.granularity = options.granularity ?? 1;
    this.groups = new Uint8Array(Math.ceil(this.size / this.granularity));
  }

  set(start: number, count: number): void {
    this.bitmap.set(start, count);
    this.#fill(start, count, 1);
    this.check();
  }

  reset(start: number, count: number): void {
    this.bitmap.reset(start, count);
    this.#fill(start, count, 0);
    this.check();
  }

  resetAll(): void {
    this.bitmap.resetAll();
    this.groups.fill(0);
    this.check();
  }

  truncate(size: number): void {
    this.bitmap.truncate(size);
    const groups = new Uint8Array(Math.ceil(size / this.granularity));
    groups.set(this.groups.subarray(0, groups.length));
    this.groups = groups;
    this.size = size;
    this.check();
  }

  /** Starts of the dirty groups from the group of `first` on. */
  expected(first = 0): number[] {
    const found: number[] = [];
    for (let group = Math.floor(first / this.granularity); group < this.groups.length; group += 1) {
      if (this.groups[group] === 1) found.push(group * this.granularity);
    }
    return found;
  }

  /** Whether an item is dirty by the plain array. */
  dirty(item: number): boolean {
    return this.groups[Math.floor(item / this.granularity)] === 1;
  }

  /** First item of [start, end) whose state is `dirty`, clipped to the size; -1 when none. */
  next(start: number, end: number, dirty: boolean): number {
    for (let item = start; item < Math.min(end, this.size); item += 1) {
      if (this.dirty(item) === dirty) return item;
    }
    return -1;
  }

  check(first = 0): void {
    const expected = this.expected(first);
    expect(walk(this.bitmap, first)).toEqual(expected);
    const all = first === 0 ? expected : this.expected();
    expect(this.bitmap.count).toBe(all.length * this.granularity);
    expect(this.bitmap.isEmpty).toBe(all.length === 0);
    expect(this.bitmap.size).toBe(this.size);
  }

  checkEveryGet(): void {
    let dirty = 0;
    for (let item = 0; item < this.size; item += 1) {
      const got = this.bitmap.get(item);
      if (got !== this.dirty(item)) expect.fail(`get(${item}) is ${String(got)}`);
      if (got) dirty += 1;
    }
    expect(this.bitmap.countRange(0, this.size)).toBe(dirty);
  }

  #fill(start: number, count: number, value: number): void {
    if (count === 0) return;
    const last = Math.floor((start + count - 1) / this.granularity);
    this.groups.fill(value, Math.floor(start / this.granularity), last + 1);
  }
}

/** Everything an iterator returns. */
export function walk(bitmap: HBitmap, first = 0): number[] {
  const found: number[] = [];
  const iterator = bitmap.iterate(first);
  for (let start = iterator.next(); start >= 0; start = iterator.next()) found.push(start);
  return found;
}

/**
 * Bits per word, two and three levels of words. The cases speak in these; both the word of this package and
 * the 64-bit word of common hosts are tried.
 */
export const WORD_SIZES: readonly {
  readonly W: number;
  readonly L1: number;
  readonly L2: number;
  readonly L3: number;
}[] = [
  { W: 32, L1: 32, L2: 32 ** 2, L3: 32 ** 3 },
  { W: 64, L1: 64, L2: 64 ** 2, L3: 64 ** 3 },
];
