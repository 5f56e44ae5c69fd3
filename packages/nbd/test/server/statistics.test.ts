import * as fc from "fast-check";
import { expect, test } from "vitest";
import { latencyBucketMs, latencyQuantileMs } from "../../src/index.ts";
import { RequestCounters } from "../../src/server/statistics.ts";
import { Command } from "../../src/protocol/constants.ts";
import { RawClient } from "./support/raw-client.ts";
import { SEED, serve } from "./support/serving.ts";

function histogramOf(latenciesMs: readonly number[]): readonly number[] {
  const counters = new RequestCounters();
  for (const latencyMs of latenciesMs) counters.count(Command.Read, 512, false, latencyMs);
  return counters.snapshot().latencyHistogram;
}

test("every latency is counted in the bucket that holds it", () => {
  fc.assert(
    fc.property(fc.double({ min: 0.001, max: 200_000, noNaN: true }), (latencyMs) => {
      const bucket = histogramOf([latencyMs]).indexOf(1);
      // Counted in whole sixteenths of a microsecond.
      expect(latencyBucketMs(bucket)).toBeLessThanOrEqual(latencyMs);
      expect(latencyBucketMs(bucket + 1) + 1 / 16_000).toBeGreaterThan(latencyMs);
    }),
    { seed: SEED },
  );
});

test("buckets lie side by side, each a quarter of its octave", () => {
  for (let index = 8; index < 127; index += 1) {
    const ratio = latencyBucketMs(index + 1) / latencyBucketMs(index);
    expect(ratio).toBeGreaterThan(1.14);
    expect(ratio).toBeLessThanOrEqual(1.25);
  }
});

test("a quantile is that of the latencies, within a quarter of an octave", () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0.01, max: 10_000, noNaN: true }), { minLength: 1, maxLength: 200 }),
      fc.constantFrom(0.5, 0.9, 0.99, 1),
      (latencies, quantile) => {
        const sorted = latencies.toSorted((left, right) => left - right);
        const exact = sorted[Math.ceil(sorted.length * quantile) - 1] ?? 0;
        const told = latencyQuantileMs(histogramOf(latencies), quantile) ?? 0;
        expect(told).toBeGreaterThan(exact / 1.26);
        expect(told).toBeLessThan(exact * 1.26);
      },
    ),
    { seed: SEED },
  );
});

test("nothing is known of no requests, and times out of range are counted at the ends", () => {
  expect(latencyQuantileMs(histogramOf([]), 0.99)).toBeUndefined();
  expect(histogramOf([0, -1, 1e12]).reduce((sum, count) => sum + count, 0)).toBe(3);
  expect(latencyQuantileMs(histogramOf([1e12]), 0.5)).toBeGreaterThan(100_000);
});

test("a client's own traffic is told apart from that of the others", async () => {
  const { address, server } = await serve();
  const [one, other] = [await RawClient.open(address, "disk"), await RawClient.open(address, "disk")];
  await one.ask({ command: Command.Read, length: 4096 });
  await one.ask({ command: Command.Write, length: 512, payload: Buffer.alloc(512) });
  await other.ask({ command: Command.Read, length: 1024 });
  await other.ask({ command: Command.Read, offset: 2n ** 40n, length: 1024 });
  const [first, second] = server.clients().map((client) => client.statistics());
  expect(first).toMatchObject({ bytesRead: 4096, bytesWritten: 512, failedRequests: 0 });
  expect(second).toMatchObject({ bytesRead: 1024, bytesWritten: 0, failedRequests: 1 });
  expect(server.exports()[0]?.statistics()).toMatchObject({ bytesRead: 5120, bytesWritten: 512 });
  one.close();
  other.close();
});
