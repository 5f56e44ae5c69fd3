import { expectEqual, millisecondsOf, nanosecondsPer, type Contest } from "./contest.ts";
import {
  addEvery,
  BITS,
  cleanBitmap,
  DISK_BYTES,
  fastBitSetOf,
  GRANULARITY,
  loadEverySecond,
} from "./disk.ts";
import type { MakeRoaring } from "./roaring.ts";

const CALLS = 1_000_000;

/** Every second bit is set, so a sweep that visits the set ones covers twice as many. */
const RANGE_BITS_PER_VISITED = 2;

/** Millions of set bits visited per second by something that answers how many it visited. */
function rate(visit: () => number): number {
  let visited = 0;
  const took = millisecondsOf(() => {
    visited = visit();
  });
  expectEqual("bits visited", visited, BITS / 2);
  return visited / took / 1000;
}

function countOf(bits: Iterable<number>): number {
  let count = 0;
  for (const bit of bits) if (bit >= 0) count += 1;
  return count;
}

/** Visits every set bit of a bitmap of which every second one is. */
export function sweepContests(roaring: MakeRoaring | undefined): readonly Contest[] {
  const bitmap = cleanBitmap();
  loadEverySecond(bitmap);
  const iterator = bitmap.iterate();
  const area = { start: 0, length: 0 };
  const sweep = (): number => {
    let count = 0;
    iterator.seek(0);
    for (let start = iterator.next(); start >= 0; start = iterator.next()) count += 1;
    return count;
  };

  const fast = fastBitSetOf(0, 2);
  const roaringHalf = roaring && addEvery(roaring(), 0, 2);

  return [
    {
      figure: "sweep every second bit by iterator, bits of the range",
      unit: "M/s",
      largerIsBetter: true,
      bar: { on: "value", atLeast: 100 },
      ours: () => rate(sweep) * RANGE_BITS_PER_VISITED,
    },
    {
      figure: "the same, set bits visited",
      unit: "M/s",
      largerIsBetter: true,
      ours: () => rate(sweep),
      peers: {
        "fastbitset for…of": () => rate(() => countOf(fast)),
        "fastbitset forEach": () =>
          rate(() => {
            let count = 0;
            fast.forEach(() => {
              count += 1;
            });
            return count;
          }),
        roaring: roaringHalf && (() => rate(() => countOf(roaringHalf))),
      },
    },
    {
      figure: "the same by nextDirtyArea, runs",
      unit: "M/s",
      largerIsBetter: true,
      ours: () =>
        rate(() => {
          let count = 0;
          let from = 0;
          while (bitmap.nextDirtyArea(from, DISK_BYTES, 2 ** 21, area) !== undefined) {
            from = area.start + area.length;
            count += 1;
          }
          return count;
        }),
    },
  ];
}

/** Looks for the next dirty chunk where there is none, and where it is at the far end. */
export function searchContests(): readonly Contest[] {
  const empty = cleanBitmap();
  const far = cleanBitmap();
  far.set(DISK_BYTES - 1, 1);
  const full = cleanBitmap();
  full.set(0, DISK_BYTES);
  full.reset(DISK_BYTES - GRANULARITY, GRANULARITY);

  return [
    {
      figure: "nextDirty over an empty bitmap",
      unit: "ns/op",
      bar: { on: "value", atMost: 200 },
      ours: () =>
        nanosecondsPer(CALLS, () => {
          let sum = 0;
          for (let call = 0; call < CALLS; call += 1) sum += empty.nextDirty(call * GRANULARITY);
          expectEqual("the sum of answers", sum, -CALLS);
        }),
    },
    {
      figure: "nextDirty when only the last bit is set",
      unit: "ns/op",
      bar: { on: "value", atMost: 200 },
      ours: () =>
        nanosecondsPer(CALLS, () => {
          let found = 0;
          for (let call = 0; call < CALLS; call += 1) {
            if (far.nextDirty(call * GRANULARITY) === DISK_BYTES - GRANULARITY) found += 1;
          }
          expectEqual("bits found", found, CALLS);
        }),
    },
    {
      figure: "nextZero when only the last bit is clear",
      unit: "ms",
      ours: () => millisecondsOf(() => expectEqual("the answer", full.nextZero(0), DISK_BYTES - GRANULARITY)),
    },
  ];
}
