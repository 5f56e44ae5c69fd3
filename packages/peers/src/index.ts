/**
 * Finds and drives the programs that tests and benchmarks measure themselves against: qemu-img, qemu-io, qemu-nbd,
 * qemu-storage-daemon, nbdkit, libnbd's tools, fio and tmux.
 *
 * @packageDocumentation
 */
export { makeCertificates } from "./certificates.ts";
export { PeerError, type PeerErrorCode, type PeerErrorDetails } from "./error.ts";
export {
  findPeer,
  lacksPeers,
  PEER_NAMES,
  peerOrSkip,
  requirePeer,
  type PeerEnvironment,
  type PeerName,
} from "./find.ts";
export type { MirrorArguments, MirrorOptions, MirrorTiming } from "./mirror-timing.ts";
export { nbdkit, PeerServer, qemuNbd } from "./nbd-peer-server.ts";
export type { EventFilter, QmpEvent, QmpObject } from "./qmp-connection.ts";
export { run, type RunOptions, type RunResult } from "./run.ts";
export { StorageDaemon, type StorageDaemonOptions } from "./storage-daemon.ts";
