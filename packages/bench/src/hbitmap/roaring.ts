/** The members measured here of a bitmap of the roaring package. Ranges end before `end`. */
export interface RoaringBitmap {
  readonly size: number;
  add(value: number): unknown;
  addRange(start: number, end: number): unknown;
  removeRange(start: number, end: number): unknown;
  has(value: number): boolean;
  rangeCardinality(start: number, end: number): number;
  orInPlace(other: RoaringBitmap): unknown;
  clone(): RoaringBitmap;
  [Symbol.iterator](): IterableIterator<number>;
}

/** Makes an empty bitmap. */
export type MakeRoaring = () => RoaringBitmap;

interface RoaringModule {
  readonly RoaringBitmap32: new () => RoaringBitmap;
}

function isRoaring(value: unknown): value is RoaringModule {
  return (
    typeof value === "object" &&
    value !== null &&
    "RoaringBitmap32" in value &&
    typeof value.RoaringBitmap32 === "function"
  );
}

/**
 * The roaring package when it can be loaded from here. It is native and needs an install script, which is why
 * this repository does not depend on it: install it by hand to see its figures.
 */
export async function findRoaring(): Promise<MakeRoaring | undefined> {
  const name: string = "roaring";
  try {
    const loaded: unknown = await import(name);
    if (isRoaring(loaded)) return () => new loaded.RoaringBitmap32();
  } catch {
    // Not there, or there without its native part: the caller says so.
  }
  return undefined;
}
