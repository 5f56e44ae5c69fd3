import "../../support/seed.ts";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ReferenceMap } from "../../../src/drivers/qcow2/check/reference-map.ts";
import { failure } from "../../support/graphs.ts";

const LIMIT = 64 * 1024 * 1024;

describe("ReferenceMap", () => {
  test("counts as a map would, up to its maximum", () => {
    const cluster = fc.oneof(
      fc.nat(100),
      fc.nat(200_000),
      fc.nat(2 ** 40),
      fc.constantFrom(32767, 32768, 2 ** 47),
    );
    const times = fc.oneof(fc.constant(1), fc.nat(5), fc.constantFrom(254, 255, 256, 70_000));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(cluster, times), { maxLength: 60 }),
        fc.constantFrom(1, 3, 255, 65535, 2 ** 32 - 1, Number.MAX_SAFE_INTEGER),
        (additions, max) => {
          const map = new ReferenceMap({ memoryLimit: LIMIT, max });
          const model = new Map<number, number>();
          const most = Math.min(max, 2 ** 32 - 1);
          for (const [at, count] of additions) {
            const before = model.get(at) ?? 0;
            const after = Math.min(most, before + count);
            expect(map.add(at, count)).toBe(before + count - after);
            model.set(at, after);
          }
          for (const [at, count] of model) expect(map.get(at)).toBe(count);
          expect(map.end).toBe(Math.max(0, ...[...model.keys()].map((at) => at + 1)));
          const ranges = [...map.ranges()];
          for (const [at, count] of model) {
            if (count > 0) expect(ranges.some(([first, end]) => at >= first && at < end)).toBe(true);
          }
          expect(ranges).toEqual(ranges.toSorted(([one], [other]) => one - other));
        },
      ),
    );
  });

  test("raises, and never lowers", () => {
    const map = new ReferenceMap({ memoryLimit: LIMIT, max: 65535 });
    map.raise(7, 3);
    map.raise(7, 2);
    expect(map.get(7)).toBe(3);
    map.raise(7, 300);
    expect([map.get(6), map.get(7), map.get(8)]).toEqual([0, 300, 0]);
  });

  test("takes a bit for a cluster with one user, and refuses to take more than it may", async () => {
    const map = new ReferenceMap({ memoryLimit: 1024 * 1024, max: 65535 });
    // 8 million clusters of 64 KiB are half a terabyte.
    for (let cluster = 0; cluster < 8_000_000; cluster += 1) map.add(cluster);
    expect(map.end).toBe(8_000_000);
    await failure("EFBIG", () => {
      for (let cluster = 2 ** 30; ; cluster += 32768) map.add(cluster);
    });
  });
});
