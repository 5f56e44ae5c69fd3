import { copyOnReadDriver } from "./drivers/copy-on-read.ts";
import { faultDriver } from "./drivers/fault/fault-driver.ts";
import { fileDriver } from "./drivers/file/file-driver.ts";
import { memoryDriver } from "./drivers/memory.ts";
import { qcow2Driver } from "./drivers/qcow2/qcow2-driver.ts";
import { rawDriver } from "./drivers/raw.ts";
import { throttleDriver } from "./drivers/throttle/throttle-driver.ts";
import { DriverRegistry } from "./registry.ts";

/** A registry with every driver of this package; register your own beside them. */
export function createDefaultRegistry(): DriverRegistry {
  return new DriverRegistry()
    .register(fileDriver)
    .register(memoryDriver)
    .register(rawDriver)
    .register(qcow2Driver)
    .register(copyOnReadDriver)
    .register(throttleDriver)
    .register(faultDriver);
}
