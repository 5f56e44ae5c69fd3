import FastBitSet from "fastbitset";

import { expectEqual, nanosecondsPer, type Contest } from "./contest.ts";
import { addEvery, BITS, cleanBitmap, fastBitSetOf, GRANULARITY, loadEverySecond } from "./disk.ts";
import type { MakeRoaring } from "./roaring.ts";

const CALLS = 1_000_000;
/** Odd, so that multiples of it reach every bit of a power of two before they repeat. */
const STRIDE = 7_368_787;

function scattered(call: number): number {
  return (call * STRIDE) % BITS;
}

/** One bit at a time, at scattered places: what guest writes and look-ups do. */
export function bitContests(roaring: MakeRoaring | undefined): readonly Contest[] {
  const bitmap = cleanBitmap();
  const half = cleanBitmap();
  loadEverySecond(half);
  const fastHalf = fastBitSetOf(0, 2);
  const roaringHalf = roaring && addEvery(roaring(), 0, 2);

  return [
    {
      figure: "set one bit, scattered, from clean",
      unit: "ns/op",
      ours: () => {
        bitmap.resetAll();
        const took = nanosecondsPer(CALLS, () => {
          for (let call = 0; call < CALLS; call += 1) bitmap.set(scattered(call) * GRANULARITY, GRANULARITY);
        });
        expectEqual("dirty bytes", bitmap.count, CALLS * GRANULARITY);
        return took;
      },
      peers: {
        fastbitset: () => {
          const fast = new FastBitSet();
          fast.resize(BITS - 1);
          const took = nanosecondsPer(CALLS, () => {
            for (let call = 0; call < CALLS; call += 1) fast.add(scattered(call));
          });
          expectEqual("bits set", fast.size(), CALLS);
          return took;
        },
        roaring:
          roaring &&
          (() => {
            const into = roaring();
            return nanosecondsPer(CALLS, () => {
              for (let call = 0; call < CALLS; call += 1) into.add(scattered(call));
            });
          }),
      },
    },
    {
      figure: "get one bit, scattered",
      unit: "ns/op",
      ours: () => nanosecondsPer(CALLS, () => lookUp((bit) => half.get(bit * GRANULARITY))),
      peers: {
        fastbitset: () => nanosecondsPer(CALLS, () => lookUp((bit) => fastHalf.has(bit))),
        roaring: roaringHalf && (() => nanosecondsPer(CALLS, () => lookUp((bit) => roaringHalf.has(bit)))),
      },
    },
  ];
}

function lookUp(has: (bit: number) => boolean): void {
  let found = 0;
  for (let call = 0; call < CALLS; call += 1) if (has(scattered(call))) found += 1;
  expectEqual("bits found", found, CALLS / 2);
}
