/**
 * Network Block Device: a driver whose devices are exports of any NBD server, and a server that exports block nodes.
 *
 * @packageDocumentation
 */
export { createNbdDriver, nbdDriver, type NbdDriverInit } from "./client/nbd-driver.ts";
export { isUnflushedLoss } from "./client/failures.ts";
export type { NbdOptions, NbdTlsFiles } from "./client/nbd-options.ts";
export type { NbdTimers } from "./client/timers.ts";
export { parsePskKeys, type PskKeys } from "./protocol/psk.ts";
export type { NbdAddress } from "./protocol/address.ts";
export { formatNbdUri, isNbdUri, parseNbdUri, type NbdUri } from "./protocol/uri.ts";
export type { NbdClient } from "./server/client-connection.ts";
export type { ListenOptions } from "./server/listener.ts";
export type { ContextExtents, MetaContext } from "./server/meta-contexts.ts";
export type { ExportInit, NbdExport, Resumable } from "./server/nbd-export.ts";
export {
  NbdServer,
  type NbdServerEvent,
  type NbdServerOptions,
  type RemovalMode,
} from "./server/nbd-server.ts";
export {
  latencyBucketMs,
  latencyQuantileMs,
  type RequestCounters,
  type RequestKind,
  type TrafficStatistics,
} from "./server/statistics.ts";
export type { NbdServerCertificates, NbdServerKeys, NbdServerTls } from "./server/tls.ts";
