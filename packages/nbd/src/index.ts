/**
 * Network Block Device: a driver whose devices are exports of any NBD server.
 *
 * @packageDocumentation
 */
export { createNbdDriver, nbdDriver, type NbdDriverInit } from "./client/nbd-driver.ts";
export type { NbdOptions, NbdTlsFiles } from "./client/nbd-options.ts";
export type { NbdTimers } from "./client/timers.ts";
export { formatNbdUri, isNbdUri, parseNbdUri, type NbdAddress, type NbdUri } from "./protocol/uri.ts";
