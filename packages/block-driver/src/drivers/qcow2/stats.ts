import type { BlockDevice } from "../../contract/device.ts";
import type { HostCounters } from "./metadata/host-file.ts";
import type { ReadCounters } from "./read/read-counters.ts";

/** What an open qcow2 image has asked of the files below it since it was opened. Divide by guest bytes for amplification. */
export interface Qcow2Stats {
  readonly read: Readonly<ReadCounters>;
  /** Parts of L2 tables that were read. */
  readonly tableReads: number;
  /** Changes of the image's file; undefined when it is open read-only. */
  readonly write: Readonly<HostCounters> | undefined;
  /** Changes of the external data file; undefined when there is none, or nobody writes. */
  readonly dataWrite: Readonly<HostCounters> | undefined;
  /** Guest bytes that writes have read and written again to fill up clusters. */
  readonly copiedBytes: number;
}

/** Devices that count; apart from the format, so that asking a device does not load it. */
const counted = new WeakMap<BlockDevice, () => Qcow2Stats>();

/** Makes {@link qcow2Stats} know a device. */
export function countsRequests(device: BlockDevice, stats: () => Qcow2Stats): void {
  counted.set(device, stats);
}

/** The counters of an open device, a copy; undefined when it is not a qcow2 image. `node.device` of a node is one. */
export function qcow2Stats(device: BlockDevice): Qcow2Stats | undefined {
  return counted.get(device)?.();
}
