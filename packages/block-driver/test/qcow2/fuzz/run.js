import { spawnSync } from "node:child_process";

/*
 * Fuzzes by hand: `npm run fuzz` for five minutes, `BLOCKMIRROR_FUZZ_SECONDS=3600 npm run fuzz` for an hour. Each run starts
 * with another seed, unless BLOCKMIRROR_SEED says which.
 */

const vitest = ["vitest", "run", "--config", "../../vitest.config.ts", "--root", ".", "test/qcow2/fuzz"];
const { status } = spawnSync("npx", vitest, {
  stdio: "inherit",
  env: {
    BLOCKMIRROR_FUZZ_SECONDS: "300",
    BLOCKMIRROR_SEED: String(Math.floor(Date.now() / 1000)),
    ...process.env,
  },
});
process.exitCode = status ?? 1;
