import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HBitmap } from "../src/index.ts";
import { Shadow, walk } from "./shadow.ts";
import "./seed.ts";

/** One random change; positions and lengths are fractions of the bitmap, so that they fit any size. */
type Change =
  | {
      readonly kind: "set" | "reset" | "zeroes" | "ones" | "reload";
      readonly at: number;
      readonly span: number;
    }
  | { readonly kind: "resetAll" }
  | { readonly kind: "truncate"; readonly size: number }
  | { readonly kind: "merge"; readonly granularity: number; readonly at: number; readonly span: number };

const fraction = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
/** Mostly short, now and then up to everything. */
const span = fc.oneof(
  { weight: 3, arbitrary: fraction.map((value) => value / 50) },
  { weight: 1, arbitrary: fraction },
);
const granularities = fc.constantFrom(1, 2, 16, 128);
const sizes = fc.oneof(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 0, max: 70_000 }));

const change: fc.Arbitrary<Change> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constantFrom("set" as const, "reset" as const), at: fraction, span }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom("zeroes" as const, "ones" as const, "reload" as const),
      at: fraction,
      span,
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "resetAll" as const }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("truncate" as const), size: sizes }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("merge" as const),
      granularity: granularities,
      at: fraction,
      span,
    }),
  },
);

/** The range as whole units, cut at the size. */
function aligned(shadow: Shadow, at: number, length: number, unit: number): readonly [number, number] {
  const start = Math.floor((at * shadow.size) / unit) * unit;
  const count = Math.min(shadow.size - start, Math.ceil((length * shadow.size) / unit) * unit);
  return [start, count];
}

/** Makes the change to the bitmap and to the plain array, each in its own way. */
function apply(shadow: Shadow, step: Change): void {
  const { bitmap, granularity } = shadow;
  if (step.kind === "resetAll") {
    shadow.resetAll();
  } else if (step.kind === "truncate") {
    shadow.truncate(step.size);
  } else if (step.kind === "set") {
    shadow.set(...aligned(shadow, step.at, step.span, 1));
  } else if (step.kind === "reset") {
    shadow.reset(...aligned(shadow, step.at, step.span, granularity));
  } else if (step.kind === "merge") {
    const [start, count] = aligned(shadow, step.at, step.span, 1);
    const other = new HBitmap({ size: shadow.size, granularity: step.granularity });
    other.set(start, count);
    bitmap.merge(other);
    for (let item = 0; item < shadow.size; item += 1) {
      if (other.get(item)) shadow.groups[Math.floor(item / granularity)] = 1;
    }
    shadow.check();
  } else {
    const [start, count] = aligned(shadow, step.at, step.span, bitmap.serializationAlign);
    const first = start / granularity;
    const end = Math.ceil((start + count) / granularity);
    if (step.kind === "zeroes") {
      bitmap.deserializeZeroes(start, count);
      shadow.groups.fill(0, first, end);
    } else if (step.kind === "ones") {
      bitmap.deserializeOnes(start, count);
      shadow.groups.fill(1, first, end);
    } else {
      const part = new Uint8Array(bitmap.serializedSize(start, count));
      bitmap.serialize(start, count, part);
      bitmap.deserializeOnes(start, count);
      bitmap.deserialize(start, count, part);
    }
    shadow.check();
  }
}

/** Asks every question about a few ranges and compares with a naive scan. */
function interrogate(shadow: Shadow, at: number, length: number): void {
  const { bitmap, size } = shadow;
  if (size === 0) return;
  const start = Math.floor(at * size);
  const count = Math.min(size - start, 1 + Math.floor(length * size));
  const end = start + count;
  const dirty = shadow.next(start, end, true);
  expect(bitmap.nextDirty(start, count)).toBe(dirty);
  expect(bitmap.nextZero(start, count)).toBe(shadow.next(start, end, false));
  expect(bitmap.get(start)).toBe(shadow.dirty(start));

  const area = bitmap.nextDirtyArea(start, end, 1000);
  if (dirty < 0) {
    expect(area).toBeUndefined();
  } else {
    const limit = Math.min(end, dirty + 1000);
    const clean = shadow.next(dirty, limit, false);
    expect(area).toEqual({ start: dirty, length: (clean < 0 ? limit : clean) - dirty });
  }
  const change = shadow.next(start, end, !shadow.dirty(start));
  expect(bitmap.status(start, count)).toEqual({
    dirty: shadow.dirty(start),
    length: (change < 0 ? end : change) - start,
  });
  let items = 0;
  for (let item = start; item < end; item += 1) items += shadow.dirty(item) ? 1 : 0;
  expect(bitmap.countRange(start, count)).toBe(items);
  expect(walk(bitmap, start)).toEqual(shadow.expected(start));
}

describe("properties", () => {
  it("agrees with a plain array after any sequence of changes", () => {
    fc.assert(
      fc.property(
        sizes,
        granularities,
        fc.array(fc.tuple(change, fraction, span), { maxLength: 25 }),
        (size, granularity, steps) => {
          const shadow = new Shadow({ size, granularity });
          for (const [step, at, length] of steps) {
            apply(shadow, step);
            interrogate(shadow, at, length);
          }
        },
      ),
      { numRuns: 150 },
    );
  });

  it("an iterator never returns a clean or a repeated group and misses none that stays dirty", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40_000 }),
        fc.array(fc.tuple(fraction, span), { maxLength: 10 }),
        fraction,
        fc.array(fc.tuple(fc.nat(40), fc.constantFrom("set", "reset"), fraction, span), { maxLength: 40 }),
        (size, dirty, from, changes) => {
          const shadow = new Shadow({ size });
          for (const [at, length] of dirty) shadow.set(...aligned(shadow, at, length, 1));
          const first = Math.floor(from * size);
          const stayed = new Set(shadow.expected(first));
          const iterator = shadow.bitmap.iterate(first);
          const returned = new Set<number>();
          let last = first - 1;
          const step = (): boolean => {
            const bit = iterator.next();
            if (bit < 0) return false;
            expect(bit).toBeGreaterThan(last);
            expect(shadow.dirty(bit)).toBe(true);
            returned.add(bit);
            last = bit;
            return true;
          };
          for (const [steps, kind, at, length] of changes) {
            for (let index = 0; index < steps; index += 1) if (!step()) break;
            const [start, count] = aligned(shadow, at, length, 1);
            if (kind === "set") shadow.set(start, count);
            else shadow.reset(start, count);
            for (const bit of stayed) if (!returned.has(bit) && !shadow.dirty(bit)) stayed.delete(bit);
          }
          while (step());
          for (const bit of stayed) if (!returned.has(bit)) expect.fail(`bit ${bit} was missed`);
          expect(iterator.next()).toBe(-1);
        },
      ),
      { numRuns: 150 },
    );
  });

  it("serialized in parts of any size equals serialized at once, and restores the same bits", () => {
    fc.assert(
      fc.property(
        sizes,
        granularities,
        fc.array(fc.tuple(fraction, span), { maxLength: 10 }),
        fc.integer({ min: 1, max: 40 }),
        (size, granularity, dirty, units) => {
          const shadow = new Shadow({ size, granularity });
          for (const [at, length] of dirty) shadow.set(...aligned(shadow, at, length, 1));
          const { bitmap } = shadow;
          const whole = new Uint8Array(bitmap.serializedSize(0, size));
          bitmap.serialize(0, size, whole);
          const restored = new HBitmap({ size, granularity });
          const parts: Uint8Array[] = [];
          const unit = units * bitmap.serializationAlign;
          for (let start = 0; start < size; start += unit) {
            const count = Math.min(unit, size - start);
            const part = new Uint8Array(bitmap.serializedSize(start, count));
            bitmap.serialize(start, count, part);
            restored.deserialize(start, count, part);
            parts.push(part);
          }
          expect(Buffer.compare(Buffer.concat(parts), whole)).toBe(0);
          expect(walk(restored)).toEqual(shadow.expected());
          expect(restored.count).toBe(bitmap.count);
        },
      ),
      { numRuns: 200 },
    );
  });

  it("merging is the union, whatever the granularities", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5000 }),
        fc.tuple(granularities, granularities, granularities),
        fc.array(fc.tuple(fraction, span), { maxLength: 6 }),
        fc.array(fc.tuple(fraction, span), { maxLength: 6 }),
        (size, [granularityA, granularityB, granularity], dirtyA, dirtyB) => {
          const a = new Shadow({ size, granularity: granularityA });
          const b = new Shadow({ size, granularity: granularityB });
          for (const [at, length] of dirtyA) a.set(...aligned(a, at, length, 1));
          for (const [at, length] of dirtyB) b.set(...aligned(b, at, length, 1));
          const result = new Shadow({ size, granularity });
          for (let item = 0; item < size; item += 1) {
            if (a.dirty(item) || b.dirty(item)) result.groups[Math.floor(item / granularity)] = 1;
          }
          HBitmap.merge(a.bitmap, b.bitmap, result.bitmap);
          result.check();
          a.check();
          b.check();
        },
      ),
      { numRuns: 200 },
    );
  });
});
