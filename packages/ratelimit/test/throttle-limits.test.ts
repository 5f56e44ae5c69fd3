import { describe, expect, it } from "vitest";
import { changeLimits, NO_THROTTLE_LIMITS, Throttle, type ThrottleLimits } from "../src/index.ts";

describe("limits", () => {
  it("start as none, and a change leaves the rest as it was", () => {
    const first = changeLimits(NO_THROTTLE_LIMITS, { bpsTotal: 1000 });
    const second = changeLimits(first, { iopsRead: 5, iopsReadMax: 10, iopsReadMaxLength: 3 });
    expect(second).toEqual({
      ...NO_THROTTLE_LIMITS,
      bpsTotal: 1000,
      iopsRead: 5,
      iopsReadMax: 10,
      iopsReadMaxLength: 3,
    });
  });

  const accepted: readonly Partial<ThrottleLimits>[] = [
    {},
    { bpsTotal: 0, bpsRead: 4 },
    { bpsRead: 4, bpsWrite: 5, iopsRead: 3, iopsWrite: 4 },
    { bpsTotal: 10, iopsRead: 3 },
    { bpsTotal: 1000, bpsTotalMax: 1000 },
    { bpsTotal: 1000, bpsReadMax: 0 },
    { bpsTotal: 1000, bpsTotalMax: 5000, bpsTotalMaxLength: 2 ** 32 - 1 },
    { bpsTotalMaxLength: 1 },
    { iopsTotal: 1e15 },
    { iopsTotal: 1, iopsTotalMax: 1e12, iopsTotalMaxLength: 1000 },
    { iopsWrite: 1, iopsSize: 4096 },
  ];
  it.each(accepted)("%j are limits", (change) => {
    expect(changeLimits(NO_THROTTLE_LIMITS, change)).toMatchObject(change);
  });

  const refused: readonly (readonly [Partial<ThrottleLimits>, string])[] = [
    [{ bpsTotal: 1000, bpsRead: 1 }, "same time"],
    [{ iopsTotal: 1000, iopsTotalMax: 1000, iopsWrite: 5 }, "same time"],
    [{ bpsTotal: 1000, bpsReadMax: 3000 }, "same time"],
    [{ bpsTotalMax: 1000 }, "requires bpsTotal"],
    [{ bpsWrite: 1000, bpsReadMax: 1000 }, "requires bpsRead"],
    [{ bpsTotal: 1000, bpsTotalMax: 999 }, "below"],
    [{ bpsTotal: 1000, bpsTotalMaxLength: 2 }, "requires bpsTotalMax"],
    [{ bpsTotal: 1000, bpsTotalMax: 5000, bpsTotalMaxLength: 0 }, "seconds from 1"],
    [{ bpsTotal: 1000, bpsTotalMax: 5000, bpsTotalMaxLength: 2 ** 32 }, "seconds from 1"],
    [{ iopsTotal: 1, iopsTotalMax: 1e12, iopsTotalMaxLength: 1001 }, "too long"],
    [{ iopsTotal: -1 }, "whole number"],
    [{ iopsTotal: 1.5 }, "whole number"],
    [{ iopsTotal: Number.NaN }, "whole number"],
    [{ bpsRead: 1e15 + 1 }, "whole number"],
    [{ iopsSize: 4096 }, "requires a limit of requests"],
    [{ iopsTotal: 1, iopsSize: -1 }, "iopsSize"],
  ];
  it.each(refused)("%j are none", (change, words) => {
    expect(() => changeLimits(NO_THROTTLE_LIMITS, change)).toThrow(RangeError);
    expect(() => changeLimits(NO_THROTTLE_LIMITS, change)).toThrow(words);
    expect(() => new Throttle({ limits: change })).toThrow(words);
  });

  it("that are refused leave those in force", () => {
    const throttle = new Throttle({ limits: { bpsTotal: 5 } });
    expect(() => throttle.setLimits({ bpsRead: 5 })).toThrow(RangeError);
    expect(throttle.limits).toEqual({ ...NO_THROTTLE_LIMITS, bpsTotal: 5 });
  });
});
