import type { BenchRow } from "../row.ts";
import type { BenchContext, Scenario } from "../scenario.ts";
import { bitContests } from "./bit-contests.ts";
import { holdContest } from "./contest.ts";
import { BITS, cleanBitmap } from "./disk.ts";
import { rangeContests, wholeBitmapContests } from "./range-contests.ts";
import { findRoaring } from "./roaring.ts";
import { searchContests, sweepContests } from "./sweep-contests.ts";

/** Measures the dirty bitmap of a 1 TiB disk in 64 KiB chunks. */
async function benchHBitmap({ runs, log }: Pick<BenchContext, "runs" | "log">): Promise<readonly BenchRow[]> {
  const roaring = await findRoaring();
  if (roaring === undefined) log("roaring is not installed here: its figures are missing");
  const contests = [
    ...rangeContests(roaring),
    ...wholeBitmapContests(roaring),
    ...sweepContests(roaring),
    ...searchContests(),
    ...bitContests(roaring),
  ];
  const rows: BenchRow[] = [];
  for (const contest of contests) rows.push(...(await holdContest(contest, runs)));
  rows.push({
    figure: "memory, bytes per byte of bits",
    unit: "x",
    ours: cleanBitmap().byteLength / (BITS / 8),
    bar: { on: "value", atMost: 1.05 },
  });
  return rows;
}

/** The bitmap alone, without a disk. */
export const hbitmap: Scenario = {
  name: "hbitmap",
  title: "dirty bitmap of 2^24 bits (1 TiB in 64 KiB chunks) beside other bitmaps",
  needs: [],
  run: benchHBitmap,
};
