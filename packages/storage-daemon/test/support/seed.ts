import * as fc from "fast-check";

/** Seed of the property tests: fixed, or BLOCKMIRROR_SEED. Printed so that a failure can be repeated. */
const SEED: number = Number(process.env["BLOCKMIRROR_SEED"] ?? 20140401);

if (!Number.isSafeInteger(SEED)) throw new TypeError("BLOCKMIRROR_SEED must be a whole number");
console.info(`property tests: BLOCKMIRROR_SEED=${SEED}`);
fc.configureGlobal({ seed: SEED });
