import { defineConfig } from "vitest/config";

// One configuration for every package: each runs `vitest run --config ../../vitest.config.ts --root .`.
export default defineConfig({
  test: {
    include: ["test/**/*.test.{ts,tsx}"],
    // Property tests and interop tests do real work; none of them is a timing assertion.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
  },
});
