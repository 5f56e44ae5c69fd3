/** Fixed, unless told otherwise. */
const SEED = Number(process.env["BLOCKMIRROR_SEED"] ?? 20_261_130);

/** Seconds that each test of a long run takes; 0 in the ordinary ones. */
const SECONDS = Number(process.env["BLOCKMIRROR_FUZZ_SECONDS"] ?? 0);

/** Parameters for `fc.assert`: so many runs, or as many as a long run has the time for. */
export function fuzzing(numRuns: number): {
  readonly seed: number;
  readonly numRuns: number;
  readonly interruptAfterTimeLimit: number;
  readonly markInterruptAsFailure: false;
} {
  const isLong = SECONDS > 0;
  return {
    seed: SEED,
    numRuns: isLong ? 2 ** 31 - 1 : numRuns,
    interruptAfterTimeLimit: isLong ? SECONDS * 1000 : 60_000,
    markInterruptAsFailure: false,
  };
}

/** Timeout of a test that fuzzes, in milliseconds. */
export const FUZZ_TIMEOUT_MS: number = 120_000 + SECONDS * 1000;
