import { ThrottleGroup } from "@blockmirror/block-driver";
import { commandError, type BlockType, type JsonObject } from "@blockmirror/qmp";
import { THROTTLE_RATES, type Clock, type ThrottleLimits } from "@blockmirror/ratelimit";
import { safeInteger } from "../safe-integer.ts";

/** Every limit. */
const LIMITS: readonly (keyof ThrottleLimits)[] = [
  ...THROTTLE_RATES.flatMap((rate) => [rate, `${rate}Max`, `${rate}MaxLength`] as const),
  "iopsSize",
];

/** `bpsTotalMax` is `bps-total-max` in QMP. */
function qmpName(limit: string): string {
  return limit.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** @throws QmpError when the limits are none. */
export function createThrottleGroup(
  options: BlockType<"ThrottleGroupProperties"> & { readonly id: string },
  clock: Clock,
): ThrottleGroup {
  const limits = { ...readLimits({ ...options.limits }), ...readLimits({ ...options }, "x-") };
  return checked(() => new ThrottleGroup({ name: options.id, limits, clock }));
}

/** Changes limits of a group; those left out stay. @throws QmpError when the limits that result are none. */
export function changeGroup(group: ThrottleGroup, limits: JsonObject): void {
  checked(() => group.setLimits(readLimits(limits)));
}

/** All limits of a group, by the names they have in QMP. */
export function describeGroup(group: ThrottleGroup): Readonly<Record<string, number>> {
  return Object.fromEntries(LIMITS.map((limit) => [qmpName(limit), group.limits[limit]]));
}

/** The limits that an object has: members that are of another type have been refused already. */
function readLimits(value: JsonObject, prefix = ""): Partial<ThrottleLimits> {
  const limits: { -readonly [Limit in keyof ThrottleLimits]?: number } = {};
  for (const limit of LIMITS) {
    const name = `${prefix}${qmpName(limit)}`;
    const given = value[name];
    if (typeof given === "number" || typeof given === "bigint") limits[limit] = safeInteger(name, given);
  }
  return limits;
}

function checked<Result>(run: () => Result): Result {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    // Limits are called by the names that the client knows.
    throw commandError(error.message.replaceAll(/\b(?:bps|iops)[A-Z][A-Za-z]*/g, qmpName));
  }
}
