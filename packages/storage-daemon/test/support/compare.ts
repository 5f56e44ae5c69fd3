import { expect } from "vitest";

import { Side } from "./sides.ts";

/** Runs the same script on QEMU's daemon and on ours, and compares what comes of it. */
export async function compare<Result>(script: (side: Side) => Promise<Result>): Promise<void> {
  await using theirs = await Side.theirs();
  await using ours = await Side.ours();
  const expected = await script(theirs);
  expect(await script(ours)).toEqual(expected);
}
