/**
 * A storage daemon that any QMP client can drive: nodes, jobs, bitmaps and exports, as qemu-storage-daemon has them.
 *
 * @packageDocumentation
 */
export { Daemon, type DaemonOptions } from "./daemon.ts";
export { createDaemonRegistry } from "./drivers/registry.ts";
export { nullDriver, type NullOptions } from "./drivers/null.ts";
export { EXTRA_SCHEMA } from "./schema/extra-schema.ts";
export { runStorageDaemon } from "./command-line/run-storage-daemon.ts";
export { listen as listenForMonitors, type ListenAddress } from "./monitors/listen.ts";
