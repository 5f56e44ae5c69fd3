/**
 * The conformance kit for block drivers: what every driver has to do, as cases that any test runner can run. It needs
 * nothing but `node:assert`.
 *
 * ```ts
 * import { test } from "node:test"; // or from "vitest"
 * import { conformanceCases } from "@blockmirror/block-driver/conformance";
 *
 * const cases = await conformanceCases({
 *   name: "mine",
 *   registry: () => createDefaultRegistry().register(myDriver),
 *   storage: async (size) => ({ spec: { driver: "mine", size } }),
 * });
 * for (const { name, run } of cases) test(name, run);
 * ```
 *
 * @packageDocumentation
 */
export { conformanceCases } from "./cases.ts";
export { constrainedDriver, type ConstrainedOptions } from "./constrained-driver.ts";
export type {
  ConformanceCase,
  ConformanceFeatures,
  ConformanceStorage,
  ConformanceSubject,
} from "./subject.ts";
export { throughWrappers } from "./wrappers.ts";
