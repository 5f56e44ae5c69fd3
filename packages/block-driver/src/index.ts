/**
 * Block drivers, the block graph and dirty bitmaps: everything between a program that reads and writes a disk and the
 * files, images and servers that hold it.
 *
 * @packageDocumentation
 */
export { BlockError, toBlockError, type BlockErrorCode, type BlockErrorContext } from "./errors.ts";
export type { BitmapStore, KeptBitmap, StoredBitmap } from "./contract/bitmap-store.ts";
export {
  BYTE_ALIGNMENT,
  DEFAULT_LIMITS,
  MAX_DEVICE_SIZE,
  READ_ONLY_CAPABILITIES,
  type BlockChild,
  type BlockDevice,
  type Borrower,
  type DeviceAlignment,
  type DeviceCapabilities,
  type DeviceInfo,
  type DeviceLimits,
  type IoOptions,
  type NamedBacking,
  type ResizeOptions,
  type StatusOptions,
  type WriteOptions,
  type ZeroOptions,
} from "./contract/device.ts";
export {
  DRIVER_CONTRACT_VERSION,
  type BlockDriver,
  type ChildRole,
  type CreateContext,
  type DeviceEvent,
  type DriverKind,
  type ImplicitReference,
  type OpenContext,
  type RegisteredDriver,
} from "./contract/driver.ts";
export { COARSE_BLOCK, ExtentFlag, ExtentList, type ExtentFlags } from "./contract/extents.ts";
export {
  iovCopy,
  iovLength,
  iovSlice,
  iovZero,
  isPromise,
  type IoVec,
  type MaybePromise,
} from "./contract/io.ts";
export {
  option,
  optionSchema,
  type ChildReference,
  type DeviceSpec,
  type NumberBounds,
  type OptionField,
  type OptionSchema,
  type OptionValues,
  type ZeroDetection,
} from "./contract/options.ts";
export type { Permission } from "./contract/permissions.ts";
export { createDefaultRegistry } from "./default-registry.ts";
export { copyOnReadDriver, type CopyOnReadOptions } from "./drivers/copy-on-read.ts";
export {
  FaultController,
  type FaultControllerOptions,
  type FaultLogEntry,
  type FaultTimer,
  type HeldRequest,
} from "./drivers/fault/fault-controller.ts";
export { FaultDevice } from "./drivers/fault/fault-device.ts";
export { faultDriver, type FaultOptions } from "./drivers/fault/fault-driver.ts";
export {
  FAULT_OPERATIONS,
  type FaultOperation,
  type FaultRequest,
  type FaultRule,
} from "./drivers/fault/rules.ts";
export { MemoryDevice, memoryDriver, type MemoryOptions } from "./drivers/memory.ts";
export { qcow2Driver } from "./drivers/qcow2/qcow2-driver.ts";
export type { Qcow2Details } from "./drivers/qcow2/describe-image.ts";
export { qcow2Stats, type Qcow2Stats } from "./drivers/qcow2/stats.ts";
export type { Qcow2Options } from "./drivers/qcow2/qcow2-options.ts";
export type { SnapshotEntry } from "./drivers/qcow2/format/snapshot-table.ts";
export { rawDriver, type RawCreateOptions, type RawOptions } from "./drivers/raw.ts";
export {
  ThrottleDevice,
  throttleDriver,
  type ThrottleDriverOptions,
} from "./drivers/throttle/throttle-driver.ts";
export {
  ThrottleGroup,
  ThrottleMember,
  type ThrottleGroupOptions,
} from "./drivers/throttle/throttle-group.ts";
export { checkQcow2, measureQcow2 } from "./drivers/qcow2/tools.ts";
export type { Qcow2CheckOptions } from "./drivers/qcow2/check/check-image.ts";
export type {
  Qcow2CheckProgress,
  Qcow2CheckReport,
  Qcow2Finding,
} from "./drivers/qcow2/check/check-report.ts";
export type { Qcow2CreateOptions } from "./drivers/qcow2/create/create-options.ts";
export type { DataRange, Qcow2MeasureOptions, Qcow2Measurement } from "./drivers/qcow2/measure.ts";
export { DriverRegistry } from "./registry.ts";
export {
  DEFAULT_BITMAP_GRANULARITY,
  DirtyBitmap,
  MAX_BITMAP_GRANULARITY,
  MIN_BITMAP_GRANULARITY,
  type DirtyBitmapInit,
} from "./graph/dirty-bitmap.ts";
export { BlockEdge, type DrainGate, type DrainNotice, type ParentInit } from "./graph/node.ts";
export { denyGate, directoryGate, type GateAnswer, type GateRequest, type OpenGate } from "./graph/gate.ts";
export { BACKING_CLAIM, NO_CLAIM } from "./graph/claims.ts";
export type { DrainedSection } from "./graph/drain.ts";
export { BlockGraph, type GraphOptions } from "./graph/graph.ts";
export type { FilterInit } from "./graph/filters.ts";
export { BlockNode, type NodeInit } from "./graph/node.ts";
export type { DeviceEventListener } from "./graph/structure.ts";
export { WriteWatch } from "./graph/write-watch.ts";
export { ALL_PERMISSIONS, type PermissionClaim } from "./graph/permissions.ts";
export { keepDirtyBitmap, loadDirtyBitmap } from "./graph/stored-bitmaps.ts";
export { backingChain, skipFilters } from "./graph/topology.ts";
export { StatusResolver, type ResolveOptions } from "./graph/resolve-status.ts";
export { allocateAligned, reserveAligned } from "./io/aligned-buffer.ts";
export { isZero, zeroVector } from "./io/zero-page.ts";
export { PassThroughDevice } from "./io/pass-through.ts";
export { RangeLock } from "./io/range-lock.ts";
export { createFileDriver, fileDriver } from "./drivers/file/file-driver.ts";
export type { FileCreateOptions, FileOptions } from "./drivers/file/file-options.ts";
export type { FileDriverInit } from "./drivers/file/host.ts";
export type { DoneCallback, FileCalls, TransferCallback } from "./drivers/file/positional-io.ts";
