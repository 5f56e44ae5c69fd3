/** What a rate limits: the data moved, or the requests made. */
export type ThrottleUnit = "bps" | "iops";

/** Which requests a rate counts. */
export type ThrottleScope = "total" | "read" | "write";

/** One of the six rates: `bps` are bytes per second, `iops` requests per second. */
export type ThrottleRate = `${ThrottleUnit}${Capitalize<ThrottleScope>}`;

/**
 * The limits of a {@link Throttle}: those that QEMU's throttle groups have. Every member is a whole number.
 *
 * Either a total or limits per direction, not both, for bytes and for requests each.
 */
export interface ThrottleLimits extends Readonly<Record<ThrottleRate, number>> {
  /**
   * What may be had in a burst: 0 for none, else at least the rate, in the rate's unit. With a burst of one second it
   * is an amount that may be taken at once; with a longer one it is the rate during the burst.
   */
  readonly bpsTotalMax: number;
  readonly bpsReadMax: number;
  readonly bpsWriteMax: number;
  readonly iopsTotalMax: number;
  readonly iopsReadMax: number;
  readonly iopsWriteMax: number;
  /** How long a burst lasts, seconds, at least 1; more than 1 only with a burst. */
  readonly bpsTotalMaxLength: number;
  readonly bpsReadMaxLength: number;
  readonly bpsWriteMaxLength: number;
  readonly iopsTotalMaxLength: number;
  readonly iopsReadMaxLength: number;
  readonly iopsWriteMaxLength: number;
  /** A request of more bytes counts as more than one: as its bytes divided by this. 0: every request counts as one. */
  readonly iopsSize: number;
}

/** No limit at all. */
export const NO_THROTTLE_LIMITS: ThrottleLimits = Object.freeze({
  bpsTotal: 0,
  bpsRead: 0,
  bpsWrite: 0,
  iopsTotal: 0,
  iopsRead: 0,
  iopsWrite: 0,
  bpsTotalMax: 0,
  bpsReadMax: 0,
  bpsWriteMax: 0,
  iopsTotalMax: 0,
  iopsReadMax: 0,
  iopsWriteMax: 0,
  bpsTotalMaxLength: 1,
  bpsReadMaxLength: 1,
  bpsWriteMaxLength: 1,
  iopsTotalMaxLength: 1,
  iopsReadMaxLength: 1,
  iopsWriteMaxLength: 1,
  iopsSize: 0,
});

/** The six rates. */
export const THROTTLE_RATES: readonly ThrottleRate[] = [
  "bpsTotal",
  "bpsRead",
  "bpsWrite",
  "iopsTotal",
  "iopsRead",
  "iopsWrite",
];

/** The largest rate, and the most that one burst may let through. */
export const MAX_THROTTLE_RATE = 1e15;

/** The longest burst, seconds. */
export const MAX_BURST_SECONDS: number = 2 ** 32 - 1;

const UNITS: readonly ThrottleUnit[] = ["bps", "iops"];

/**
 * Limits with some of them changed; what is left out stays as it was.
 *
 * @throws RangeError when the limits that result are none: a value out of its range, a total beside limits per
 * direction, a burst without or below its rate, a length without its burst.
 */
export function changeLimits(base: ThrottleLimits, change: Partial<ThrottleLimits>): ThrottleLimits {
  const limits = { ...base, ...change };
  for (const rate of THROTTLE_RATES) requireValues(limits, rate);
  if (!Number.isSafeInteger(limits.iopsSize) || limits.iopsSize < 0) {
    throw new RangeError(`iopsSize must be a whole number of bytes, 0 or more, not ${limits.iopsSize}`);
  }
  for (const unit of UNITS) requireOneKind(limits, unit);
  if (limits.iopsSize > 0 && limits.iopsTotal + limits.iopsRead + limits.iopsWrite === 0) {
    throw new RangeError("iopsSize requires a limit of requests: set iopsTotal, iopsRead or iopsWrite");
  }
  for (const rate of THROTTLE_RATES) requireBurst(limits, rate);
  return limits;
}

function requireValues(limits: ThrottleLimits, rate: ThrottleRate): void {
  for (const name of [rate, `${rate}Max`] as const) {
    const value = limits[name];
    if (!Number.isSafeInteger(value) || value < 0 || value > MAX_THROTTLE_RATE) {
      throw new RangeError(`${name} must be a whole number from 0 to ${MAX_THROTTLE_RATE}, not ${value}`);
    }
  }
  const length = limits[`${rate}MaxLength`];
  if (!Number.isSafeInteger(length) || length < 1 || length > MAX_BURST_SECONDS) {
    throw new RangeError(
      `${rate}MaxLength must be a whole number of seconds from 1 to ${MAX_BURST_SECONDS}, not ${length}`,
    );
  }
}

function requireOneKind(limits: ThrottleLimits, unit: ThrottleUnit): void {
  const total = limits[`${unit}Total`] + limits[`${unit}TotalMax`];
  const directed =
    limits[`${unit}Read`] + limits[`${unit}Write`] + limits[`${unit}ReadMax`] + limits[`${unit}WriteMax`];
  if (total > 0 && directed > 0) {
    throw new RangeError(`${unit}Total and limits per direction cannot be used at the same time`);
  }
}

function requireBurst(limits: ThrottleLimits, rate: ThrottleRate): void {
  const [average, max, length] = [limits[rate], limits[`${rate}Max`], limits[`${rate}MaxLength`]];
  if (length > 1 && max === 0) throw new RangeError(`${rate}MaxLength requires ${rate}Max`);
  if (max > 0 && average === 0) throw new RangeError(`${rate}Max requires ${rate}`);
  if (max > 0 && max < average) throw new RangeError(`${rate}Max must not be below ${rate}`);
  if (max * length > MAX_THROTTLE_RATE) {
    throw new RangeError(
      `${rate}MaxLength is too long: ${rate}Max for ${length} s exceeds ${MAX_THROTTLE_RATE}`,
    );
  }
}
