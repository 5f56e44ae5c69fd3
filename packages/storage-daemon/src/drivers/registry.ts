import { createDefaultRegistry, type DriverRegistry } from "@blockmirror/block-driver";
import { nbdDriver } from "@blockmirror/nbd/driver";
import { blkdebugDriver } from "./blkdebug/blkdebug-driver.ts";
import { nullDriver } from "./null.ts";

/** The drivers that a daemon has when it is not told otherwise. Add your own with `.register(driver)`. */
export function createDaemonRegistry(): DriverRegistry {
  return createDefaultRegistry().register(nbdDriver).register(nullDriver).register(blkdebugDriver);
}
