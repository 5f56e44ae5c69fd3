// fastbitset brings no types; these are the members measured here.
declare module "fastbitset" {
  class FastBitSet {
    constructor(iterable?: Iterable<number>);
    add(index: number): void;
    has(index: number): boolean;
    size(): number;
    resize(index: number): void;
    clone(): FastBitSet;
    forEach(callback: (index: number) => void): void;
    union(other: FastBitSet): FastBitSet;
    [Symbol.iterator](): IterableIterator<number>;
  }
  export = FastBitSet;
}
