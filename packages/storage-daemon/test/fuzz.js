import { spawnSync } from "node:child_process";

/*
 * Fuzzes the monitor by hand: `npm run fuzz` takes a minute for each kind, `BLOCKMIRROR_FUZZ_SECONDS=3600` an hour. Each run
 * starts with another seed, unless BLOCKMIRROR_SEED says which.
 */

const vitest = ["vitest", "run", "--config", "../../vitest.config.ts", "--root", ".", "fuzz.test.ts"];
const { status } = spawnSync("npx", vitest, {
  stdio: "inherit",
  env: {
    BLOCKMIRROR_FUZZ_SECONDS: "60",
    BLOCKMIRROR_SEED: String(Math.floor(Date.now() / 1000)),
    ...process.env,
  },
});
process.exitCode = status ?? 1;
