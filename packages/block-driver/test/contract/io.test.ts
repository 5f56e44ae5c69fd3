import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { iovCopy, iovLength, iovSlice, iovZero, isPromise, isZero, zeroVector } from "../../src/index.ts";
import "../support/seed.ts";

const vector = fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 8 });
const flat = (iov: readonly Uint8Array[]): Uint8Array => Uint8Array.from(iov.flatMap((piece) => [...piece]));

describe("vectors", () => {
  test("property: a slice is the bytes, sharing memory", () => {
    fc.assert(
      fc.property(vector, fc.nat(), fc.nat(), (iov, a, b) => {
        const whole = iovLength(iov);
        const start = a % (whole + 1);
        const length = b % (whole - start + 1);
        const slice = iovSlice(iov, start, length);
        expect(flat(slice)).toEqual(flat(iov).subarray(start, start + length));
        iovZero(slice);
        expect(isZero(flat(iov).subarray(start, start + length))).toBe(true);
      }),
    );
  });

  test("property: copying works between vectors of any pieces", () => {
    fc.assert(
      fc.property(vector, fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 10 }), (from, cuts) => {
        const whole = iovLength(from);
        const memory = new Uint8Array(whole);
        const to: Uint8Array[] = [];
        let at = 0;
        for (const cut of cuts) {
          to.push(memory.subarray(at, at + cut));
          at = Math.min(whole, at + cut);
        }
        to.push(memory.subarray(at));
        iovCopy(from, to);
        expect(memory).toEqual(flat(from));
      }),
    );
  });

  test("ranges outside the vector are refused", () => {
    expect(() => iovSlice([new Uint8Array(2), new Uint8Array(2)], 3, 2)).toThrow(RangeError);
    expect(() => iovCopy([new Uint8Array(2)], [new Uint8Array(1)])).toThrow(RangeError);
  });

  test("a zero vector of any length is zero and shares one page", () => {
    const iov = zeroVector(2_500_000);
    expect(iovLength(iov)).toBe(2_500_000);
    expect(iov.every(isZero)).toBe(true);
    expect(new Set(iov.map((piece) => piece.buffer)).size).toBe(1);
    expect(zeroVector(0)).toEqual([]);
  });

  test.each([0, 15, 16, 17, 1024 * 1024 - 1, 1024 * 1024, 1_500_000])(
    "isZero finds a byte at %i",
    (index) => {
      const bytes = new Uint8Array(1_500_001);
      expect(isZero(bytes)).toBe(true);
      bytes[index] = 1;
      expect(isZero(bytes)).toBe(false);
      expect(isZero(bytes.subarray(0, index))).toBe(true);
    },
  );

  test("isPromise tells values from promises", () => {
    expect([isPromise(1), isPromise(Promise.resolve(1))]).toEqual([false, true]);
  });
});
