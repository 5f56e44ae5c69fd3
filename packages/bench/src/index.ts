/**
 * Benchmarks side by side with the peers found on this machine. Run them with `npm run bench`.
 *
 * @packageDocumentation
 */
export { main } from "./main.ts";
export { ratioOf, reachesBar, type Bar, type BenchRow } from "./row.ts";
export { FULL_DATA_BYTES, type BenchContext, type Scenario } from "./scenario.ts";
