/** One seed for every property test: fixed by default, overridable, and printed by fast-check with each failure. */
export const propertySeed: number = Number(process.env["BLOCKMIRROR_SEED"] ?? 20_260_101);

if (!Number.isSafeInteger(propertySeed)) throw new RangeError("BLOCKMIRROR_SEED must be an integer");
