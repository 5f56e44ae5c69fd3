import { describe, expect, test } from "vitest";
import { RangeLock } from "../../src/index.ts";
import { isSettled } from "../support/graphs.ts";

describe("RangeLock", () => {
  test("ranges that touch but do not overlap never wait", async () => {
    const lock = new RangeLock();
    const releases = await Promise.all([lock.acquire(0, 10), lock.acquire(10, 10), lock.acquire(20, 1)]);
    expect(lock.size).toBe(3);
    for (const release of releases) release();
    expect(lock.size).toBe(0);
  });

  test("overlapping ranges are served in the order they came", async () => {
    const lock = new RangeLock();
    const first = await lock.acquire(0, 10);
    const wide = lock.acquire(5, 100);
    const late = lock.acquire(50, 1);
    expect(await isSettled(wide)).toBe(false);
    expect(await isSettled(late)).toBe(false);
    first();
    const release = await wide;
    expect(await isSettled(late)).toBe(false);
    release();
    (await late)();
    expect(lock.size).toBe(0);
  });
});
