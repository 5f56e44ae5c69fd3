/**
 * Live block mirroring: keeps a copy of a disk in step while it is being written, then switches its users to the copy.
 *
 * @packageDocumentation
 */
export { startCommit, type CommitOptions } from "./commit/start-commit.ts";
export type { DiskMap } from "./disk-map.ts";
export { DEFAULT_GRANULARITY, MAX_GRANULARITY, MIN_GRANULARITY } from "./granularity.ts";
export { COMMIT_FILTER_DRIVER, MIRROR_FILTER_DRIVER } from "./mirror-filter.ts";
export type { MirrorDetails } from "./mirror-details.ts";
export {
  DEFAULT_BUFFER_SIZE,
  DEFAULT_SWITCH_PAUSE_MS,
  type BackingMode,
  type CopyMode,
  type LargerTarget,
  type MirrorTuning,
  type SyncMode,
} from "./options.ts";
export type { MirrorPhase, MirrorProgress } from "./progress.ts";
export { startMirror, type Mirror, type MirrorOptions } from "./start-mirror.ts";
export { mirrorTraceChannel, type MirrorTraceMessages, type MirrorTracePoint } from "./tracing.ts";
export { startStream, type StreamOptions } from "./stream/start-stream.ts";
export type { StreamDetails } from "./stream/stream-job.ts";
export { STREAM_FILTER_DRIVER } from "./stream/stream-filter.ts";
