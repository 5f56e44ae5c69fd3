import { Limits } from "../format/constants.ts";
import { viewOf, writeU64 } from "../format/u64.ts";
import { readHost } from "../metadata/host-read.ts";
import type { CheckedImage } from "./checked-image.ts";
import { SNAPSHOT_ENTRY_BYTES, type SnapshotList, type SnapshotTables } from "./snapshot-list.ts";

/** Extra data that version 3 requires: the size of the machine state, and that of the disk. */
const REQUIRED_EXTRA_BYTES = 16;
/** Extra data that every writer writes: with the number of executed instructions. */
const WRITTEN_EXTRA_BYTES = 24;

/** What is wrong with the entries of a snapshot table. */
export interface SnapshotComplaints {
  /** One sentence for each entry that is wrong; a repair removes as many corruptions. */
  readonly messages: readonly string[];
  /**
   * An entry claims more extra data than there may be. Where the next one begins is only known if that is true:
   * otherwise what follows is nonsense.
   */
  readonly isOversized: boolean;
  /** Everything that follows such an entry could be a snapshot, so that the table may be written anew. */
  readonly isRepairable: boolean;
}

/** Looks at each entry for itself (qcow2 specification, "Snapshots"), as qemu-img does. */
export function complainOfEntries(image: CheckedImage, { snapshots }: SnapshotList): SnapshotComplaints {
  const messages: string[] = [];
  let isOversized = false;
  let isRepairable = true;
  for (const [index, snapshot] of snapshots.entries()) {
    if (isOversized && !isPlausible(image, snapshot)) isRepairable = false;
    if (snapshot.extraBytes > Limits.snapshotExtraBytes) {
      isOversized = true;
      messages.push(
        `entry ${index} of the snapshot table has ${snapshot.extraBytes} bytes of extra data; ${Limits.snapshotExtraBytes} is the most`,
      );
    } else if (image.header.version > 2 && snapshot.extraBytes < REQUIRED_EXTRA_BYTES) {
      messages.push(`entry ${index} of the snapshot table is incomplete: it lacks the size of its disk`);
    }
  }
  return { messages, isOversized, isRepairable };
}

function isPlausible({ geometry, file }: CheckedImage, { l1Offset, l1Entries }: SnapshotTables): boolean {
  const { clusterSize } = geometry;
  if (l1Offset % clusterSize !== 0 || l1Entries * 8 > Limits.l1Bytes) return false;
  return l1Offset < file.info.size && (l1Offset >= clusterSize || l1Entries === 0);
}

/**
 * The table as it should be: with the extra data that every writer writes, and of what is unknown the first 1024 bytes,
 * byte for byte. Undefined when that would be more than a table may have.
 */
export async function encodeRepairedEntries(
  image: CheckedImage,
  { snapshots }: SnapshotList,
): Promise<Uint8Array | undefined> {
  const entries: Uint8Array[] = [];
  let length = 0;
  for (const snapshot of snapshots) {
    const entry = await repairedEntry(image, snapshot);
    entries.push(entry);
    length += entry.length;
    if (length > Limits.snapshotTableBytes) return undefined;
  }
  const table = new Uint8Array(length);
  let at = 0;
  for (const entry of entries) {
    table.set(entry, at);
    at += entry.length;
  }
  return table;
}

async function repairedEntry(
  { file, header }: CheckedImage,
  { at, extraBytes, idBytes, nameBytes }: SnapshotTables,
): Promise<Uint8Array> {
  const start = header.snapshotsOffset + at;
  const known = knownExtraBytes(extraBytes);
  const extra = Math.max(known, WRITTEN_EXTRA_BYTES);
  const named = SNAPSHOT_ENTRY_BYTES + extra;
  const entry = new Uint8Array(Math.ceil((named + idBytes + nameBytes) / 8) * 8);
  await readHost(file, start, [entry.subarray(0, SNAPSHOT_ENTRY_BYTES + known)]);
  await readHost(file, start + SNAPSHOT_ENTRY_BYTES + extraBytes, [
    entry.subarray(named, named + idBytes + nameBytes),
  ]);
  const view = viewOf(entry);
  view.setUint32(36, extra);
  if (known < 8) writeU64(view, 40, view.getUint32(32));
  if (known < 16) writeU64(view, 48, header.size);
  // Nobody counted instructions.
  if (known < 24) view.setBigUint64(56, 0xffff_ffff_ffff_ffffn);
  return entry;
}

/** Whole fields of the known extra data, and beyond them whatever there may be. */
function knownExtraBytes(extraBytes: number): number {
  if (extraBytes >= WRITTEN_EXTRA_BYTES) return Math.min(extraBytes, Limits.snapshotExtraBytes);
  return Math.floor(extraBytes / 8) * 8;
}
