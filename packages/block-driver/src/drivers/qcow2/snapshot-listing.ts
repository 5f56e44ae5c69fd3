import type { BlockChild } from "../../contract/device.ts";
import { BlockError } from "../../errors.ts";
import type { Header } from "./format/header.ts";
import { readSnapshots, type SnapshotEntry } from "./format/snapshot-table.ts";

/** The snapshots of an image, or why they cannot be listed. */
export interface SnapshotListing {
  readonly snapshots: readonly SnapshotEntry[];
  /** The table makes no sense, or is too large; `snapshots` is empty then. */
  readonly unreadable: BlockError | undefined;
}

/**
 * Lists the snapshots of an image for somebody who does not change it: the disk of now can be read and described without
 * them.
 * @throws BlockError what the file meets.
 */
export async function listSnapshotsIfReadable(
  file: BlockChild,
  header: Header,
  label: string,
): Promise<SnapshotListing> {
  try {
    return { snapshots: await readSnapshots(file, header, label), unreadable: undefined };
  } catch (error) {
    if (!(error instanceof BlockError) || (error.code !== "BLK_CORRUPT" && error.code !== "EFBIG"))
      throw error;
    return { snapshots: [], unreadable: error };
  }
}
