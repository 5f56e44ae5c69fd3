import type { StoredBitmap } from "../../contract/bitmap-store.ts";
import type { Header } from "./format/header.ts";
import { Autoclear, Compatible, CompressionType, Incompatible } from "./format/constants.ts";
import { hasFeature } from "./format/header.ts";
import type { SnapshotEntry } from "./format/snapshot-table.ts";
import type { SnapshotListing } from "./snapshot-listing.ts";
import type { ImageHead } from "./read-header.ts";

/** Facts of a qcow2 image, for people and tools: `DeviceInfo.details` of the driver. */
export interface Qcow2Details extends Readonly<Record<string, unknown>> {
  readonly version: 2 | 3;
  /** Bytes. */
  readonly clusterSize: number;
  readonly refcountBits: number;
  readonly lazyRefcounts: boolean;
  readonly extendedL2: boolean;
  readonly compressionType: "zlib" | "zstd";
  /** Was not closed properly; its refcounts may be stale. */
  readonly dirty: boolean;
  /** Found to contradict itself; only a repair may write it. */
  readonly corrupt: boolean;
  readonly encryption: "none" | "aes" | "luks";
  /** The recorded name of the external data file. */
  readonly dataFile: string | undefined;
  readonly dataFileRaw: boolean;
  /** The internal snapshots; none while {@link snapshotsUnreadable} says why they cannot be listed. */
  readonly snapshots: readonly SnapshotEntry[];
  /** Why the table of snapshots cannot be read, though there is one. The disk of now may be in order all the same. */
  readonly snapshotsUnreadable: string | undefined;
  /** The persistent dirty bitmaps. */
  readonly bitmaps: readonly StoredBitmap[];
}

/** What `head` says, in the words of {@link Qcow2Details}. */
export function describeImage(
  header: Header,
  { dataFileName }: Pick<ImageHead, "dataFileName">,
  { snapshots, unreadable }: SnapshotListing,
  bitmaps: readonly StoredBitmap[],
): Qcow2Details {
  const { incompatible, compatible, autoclear } = header;
  return {
    version: header.version,
    clusterSize: 2 ** header.clusterBits,
    refcountBits: 2 ** header.refcountOrder,
    lazyRefcounts: hasFeature(compatible, Compatible.LazyRefcounts),
    extendedL2: hasFeature(incompatible, Incompatible.ExtendedL2),
    compressionType: header.compressionType === CompressionType.Zstd ? "zstd" : "zlib",
    dirty: hasFeature(incompatible, Incompatible.Dirty),
    corrupt: hasFeature(incompatible, Incompatible.Corrupt),
    encryption: (["none", "aes", "luks"] as const)[header.encryption] ?? "none",
    dataFile: dataFileName,
    dataFileRaw: hasFeature(autoclear, Autoclear.RawDataFile),
    snapshots,
    snapshotsUnreadable: unreadable?.message,
    bitmaps,
  };
}
