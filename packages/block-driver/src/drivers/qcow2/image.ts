import type { BlockChild } from "../../contract/device.ts";
import type { DeviceEvent } from "../../contract/driver.ts";
import type { BlockError } from "../../errors.ts";
import type { Extension } from "./format/extensions.ts";
import type { Geometry } from "./format/geometry.ts";
import type { Header } from "./format/header.ts";
import type { L1Table } from "./metadata/l1-table.ts";
import type { L2Cache } from "./metadata/l2-cache.ts";

/** An open image: what everything that reads or writes it shares. */
export interface Image {
  /** Name of the node, for messages. */
  readonly label: string;
  readonly file: BlockChild;
  /** Holds the guest's data: `file` itself, or the external data file. */
  readonly data: BlockChild;
  /** Guest data is in an external data file, at host offset = guest offset. */
  readonly hasDataFile: boolean;
  /** Answers for what the image does not hold; undefined where zeroes do. */
  readonly backing: BlockChild | undefined;
  readonly geometry: Geometry;
  /** As on disk; replaced as a whole by whoever writes it. */
  header: Header;
  extensions: readonly Extension[];
  backingName: string | undefined;
  backingFormat: string | undefined;
  /** Replaced when the table grows. */
  l1: L1Table;
  readonly l2: L2Cache;
  /** Bytes the guest sees: the recorded size without a partial last sector. */
  virtualSize: number;
  readonly report: (event: DeviceEvent) => void;
  /** See `OpenContext.beginWork`. */
  readonly beginWork: () => () => void;
  /**
   * Tells that a mapping contradicts itself, and returns the error to throw. Who writes the image replaces it: then it is
   * fatal.
   */
  corrupt: (what: string, offset: number) => BlockError;
}
