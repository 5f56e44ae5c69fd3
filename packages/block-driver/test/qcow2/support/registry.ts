import { createDefaultRegistry, type DriverRegistry } from "../../../src/index.ts";
import { simpleQcow2Driver } from "./simple-driver.ts";

/** The drivers of this package; the writer is tested behind a reader of its own where they have no qcow2. */
export function qcow2Registry(): DriverRegistry {
  const registry = createDefaultRegistry();
  return registry.has("qcow2") ? registry : registry.register(simpleQcow2Driver);
}
