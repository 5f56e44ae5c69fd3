import * as fc from "fast-check";
import type { JobSnapshot } from "../../src/job-source/job-source.ts";

const GiB = 2 ** 30;

/** A running mirror job, with whatever a test wants different. */
export function snapshot(changes: Partial<JobSnapshot>): JobSnapshot {
  return {
    id: "vm-database",
    type: "mirror",
    status: "running",
    endpoint: "embedded",
    offset: 4 * GiB,
    length: 10 * GiB,
    speed: 0,
    ioStatus: "ok",
    errorCount: 0,
    paused: false,
    userPaused: false,
    busy: true,
    ready: changes.status === "ready" || changes.status === "standby",
    autoFinalize: true,
    autoDismiss: false,
    copyRateBytesPerSec: 100 * 2 ** 20,
    startedAtMs: 0,
    elapsedMs: 10_000,
    pausedMs: 0,
    updatedAtMs: 10_000,
    ...changes,
  };
}

const amount = fc.oneof(fc.nat(), fc.maxSafeNat());

/** Snapshots of every kind, also those no sane source would send. */
export const snapshots: fc.Arbitrary<JobSnapshot> = fc
  .record({
    id: fc.string({ minLength: 1, maxLength: 30 }),
    status: fc.constantFrom(
      "created",
      "running",
      "paused",
      "ready",
      "standby",
      "waiting",
      "pending",
      "aborting",
      "concluded",
    ),
    offset: amount,
    length: amount,
    speed: fc.oneof(fc.constant(0), amount),
    ioStatus: fc.constantFrom("ok", "failed", "nospace"),
    errorCount: fc.nat(1000),
    dirtyBytes: fc.option(amount, { nil: undefined }),
    inFlightBytes: fc.option(amount, { nil: undefined }),
    inFlightOperations: fc.option(fc.nat(99), { nil: undefined }),
    maxInFlightOperations: fc.option(fc.nat(99), { nil: undefined }),
    copyRateBytesPerSec: fc.option(fc.double({ min: 0, max: 1e12, noNaN: true }), { nil: undefined }),
    dirtyRateBytesPerSec: fc.option(fc.double({ min: 0, max: 1e12, noNaN: true }), { nil: undefined }),
    etaSec: fc.oneof(fc.constant(undefined), fc.constant("never" as const), fc.nat()),
    elapsedMs: amount,
    cancelled: fc.boolean(),
  })
  .map((fields) => snapshot(fields));
