import type { HBitmap } from "@blockmirror/hbitmap";

import type { Bar } from "../row.ts";
import { expectEqual, millisecondsOf, type Contest } from "./contest.ts";
import {
  addEvery,
  BITS,
  cleanBitmap,
  DISK_BYTES,
  fastBitSetOf,
  GRANULARITY,
  loadEveryFourth,
  loadEverySecond,
} from "./disk.ts";
import type { MakeRoaring, RoaringBitmap } from "./roaring.ts";

const UNIFORM: Bar = { on: "value", atMost: 1 };
const MIXED: Bar = { on: "value", atMost: 4 };

/** What is in the bitmap before the range is changed. */
interface State {
  readonly name: string;
  readonly bar: Bar;
  readonly prepare: (bitmap: HBitmap) => void;
  readonly prepareRoaring: (bitmap: RoaringBitmap) => unknown;
}

const STATES: readonly State[] = [
  { name: "clean", bar: UNIFORM, prepare: (bitmap) => bitmap.resetAll(), prepareRoaring: () => {} },
  {
    name: "dirty",
    bar: UNIFORM,
    prepare: (bitmap) => bitmap.set(0, DISK_BYTES),
    prepareRoaring: (bitmap) => bitmap.addRange(0, BITS),
  },
  {
    name: "half dirty",
    bar: MIXED,
    prepare: loadEverySecond,
    prepareRoaring: (bitmap) => addEvery(bitmap, 0, 2),
  },
];

/** `set` and `reset` of nearly and wholly everything. fastbitset has no operation on ranges. */
export function rangeContests(roaring: MakeRoaring | undefined): readonly Contest[] {
  const bitmap = cleanBitmap();
  const contests: Contest[] = [];
  for (const { name, bar, prepare, prepareRoaring } of STATES) {
    // Without the outer chunks the old bits have to be counted; with them, the total is known.
    for (const [what, skipped] of [
      ["the whole range", 0],
      ["all but two chunks", 1],
    ] as const) {
      for (const verb of ["set", "reset"] as const) {
        const count = DISK_BYTES - 2 * skipped * GRANULARITY;
        contests.push({
          figure: `${verb} ${what} of a ${name} bitmap`,
          unit: "ms",
          bar,
          ours: () => {
            prepare(bitmap);
            const took = millisecondsOf(() => bitmap[verb](skipped * GRANULARITY, count));
            const left = bitmap.countRange(skipped * GRANULARITY, count);
            expectEqual("dirty bytes", left, verb === "set" ? count : 0);
            return took;
          },
          peers: {
            roaring: roaring && (() => changeRoaring(roaring(), prepareRoaring, verb, skipped)),
          },
        });
      }
    }
  }
  return contests;
}

function changeRoaring(
  bitmap: RoaringBitmap,
  prepare: (bitmap: RoaringBitmap) => unknown,
  verb: "set" | "reset",
  skipped: number,
): number {
  prepare(bitmap);
  return millisecondsOf(() => {
    if (verb === "set") bitmap.addRange(skipped, BITS - skipped);
    else bitmap.removeRange(skipped, BITS - skipped);
  });
}

/** Counting a half dirty bitmap and joining two. */
export function wholeBitmapContests(roaring: MakeRoaring | undefined): readonly Contest[] {
  const half = cleanBitmap();
  loadEverySecond(half);
  const target = cleanBitmap();

  const fastHalf = fastBitSetOf(0, 2);
  const fastQuarter = fastBitSetOf(1, 4);
  const roaringHalf = roaring && addEvery(roaring(), 0, 2);
  const roaringQuarter = roaring && addEvery(roaring(), 1, 4);

  return [
    {
      figure: "count the set bits of all but one chunk of a half dirty bitmap",
      unit: "ms",
      ours: () =>
        millisecondsOf(() => {
          expectEqual("the count", half.countRange(GRANULARITY, DISK_BYTES), DISK_BYTES / 2 - GRANULARITY);
        }),
      peers: {
        fastbitset: () => millisecondsOf(() => expectEqual("the count", fastHalf.size(), BITS / 2)),
        roaring:
          roaringHalf &&
          (() =>
            millisecondsOf(() =>
              expectEqual("the count", roaringHalf.rangeCardinality(1, BITS), BITS / 2 - 1),
            )),
      },
    },
    {
      figure: "merge a half dirty bitmap into a quarter dirty one",
      unit: "ms",
      ours: () => {
        loadEveryFourth(target);
        const took = millisecondsOf(() => target.merge(half));
        expectEqual("the count", target.count, (DISK_BYTES / 4) * 3);
        return took;
      },
      peers: {
        fastbitset: () => {
          const into = fastQuarter.clone();
          const took = millisecondsOf(() => into.union(fastHalf));
          expectEqual("the count", into.size(), (BITS / 4) * 3);
          return took;
        },
        roaring:
          roaringHalf &&
          roaringQuarter &&
          (() => {
            const into = roaringQuarter.clone();
            return millisecondsOf(() => into.orInPlace(roaringHalf));
          }),
      },
    },
  ];
}
