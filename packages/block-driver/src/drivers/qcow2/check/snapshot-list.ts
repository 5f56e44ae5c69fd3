import { BlockError } from "../../../errors.ts";
import { Limits } from "../format/constants.ts";
import { viewOf } from "../format/u64.ts";
import { readHost } from "../metadata/host-read.ts";
import type { CheckedImage } from "./checked-image.ts";

/** What a check has to know of a snapshot. */
export interface SnapshotTables {
  /** Host offset of its L1 table; `Infinity` beyond exact numbers. */
  readonly l1Offset: number;
  readonly l1Entries: number;
  /** Where its entry begins in the snapshot table, in bytes. */
  readonly at: number;
  readonly extraBytes: number;
  readonly idBytes: number;
  readonly nameBytes: number;
}

/** The snapshots of an image, and the bytes that their table takes. */
export interface SnapshotList {
  readonly snapshots: readonly SnapshotTables[];
  readonly tableBytes: number;
}

/** Bytes of an entry before its extra data, id and name. */
export const SNAPSHOT_ENTRY_BYTES = 40;
/** Read at once: an entry is rarely larger. */
const WINDOW = 256 * 1024;

/**
 * Walks the snapshot table, entry by entry: an entry says how long it is, and none is believed beyond the limits.
 * @param extraData `any` steps over more extra data than is allowed, for a check that repairs it. Default `limited`.
 * @throws BlockError `BLK_CORRUPT` or `EFBIG` when the table makes no sense, and what the file meets.
 */
export async function listSnapshots(
  { file, header, label }: Pick<CheckedImage, "file" | "header" | "label">,
  extraData: "limited" | "any" = "limited",
): Promise<SnapshotList> {
  const snapshots: SnapshotTables[] = [];
  const window = new Uint8Array(WINDOW);
  let windowStart = -1;
  let at = 0;
  for (let index = 0; index < header.snapshotCount; index += 1) {
    if (header.snapshotsOffset + at >= file.info.size) {
      throw corrupt(label, `the snapshot table ends beyond the file, at entry ${index}`);
    }
    if (windowStart < 0 || at + SNAPSHOT_ENTRY_BYTES > windowStart + WINDOW) {
      await readHost(file, header.snapshotsOffset + at, [window]);
      windowStart = at;
    }
    const view = viewOf(window.subarray(at - windowStart, at - windowStart + SNAPSHOT_ENTRY_BYTES));
    const extraBytes = view.getUint32(36);
    if (extraBytes > Limits.snapshotExtraBytes && extraData === "limited") {
      throw corrupt(
        label,
        `entry ${index} of the snapshot table has ${extraBytes} bytes of extra data; 'blockmirror check --repair all' cuts it off`,
      );
    }
    const l1Offset = view.getUint32(0) * 2 ** 32 + view.getUint32(4);
    const idBytes = view.getUint16(12);
    const nameBytes = view.getUint16(14);
    snapshots.push({
      l1Offset: Number.isSafeInteger(l1Offset) ? l1Offset : Infinity,
      l1Entries: view.getUint32(8),
      at,
      extraBytes,
      idBytes,
      nameBytes,
    });
    at += Math.ceil((SNAPSHOT_ENTRY_BYTES + extraBytes + idBytes + nameBytes) / 8) * 8;
    if (at > Limits.snapshotTableBytes) {
      throw new BlockError("EFBIG", `${label}: the snapshot table is larger than 64 MiB`, { node: label });
    }
  }
  return { snapshots, tableBytes: at };
}

function corrupt(label: string, what: string): BlockError {
  return new BlockError("BLK_CORRUPT", `${label}: ${what}`, { node: label, operation: "check" });
}
