import type { BlockChild } from "../../../contract/device.ts";
import { BlockError } from "../../../errors.ts";
import { readHost } from "../metadata/host-read.ts";
import { Limits } from "./constants.ts";
import type { Header } from "./header.ts";
import { viewOf } from "./u64.ts";

/** An internal snapshot, as a listing shows it (qcow2 specification, "Snapshots"). */
export interface SnapshotEntry {
  /** Unique; by convention a decimal number. */
  readonly id: string;
  readonly name: string;
  /** When it was taken: seconds since the epoch, and nanoseconds. */
  readonly dateSeconds: number;
  readonly dateNanoseconds: number;
  /** How long the machine had been running, in nanoseconds; not exact beyond 2^53. */
  readonly vmClockNanoseconds: number;
  /** Bytes of machine state. */
  readonly vmStateSize: number;
  /** Size of the disk when it was taken, in bytes. */
  readonly diskSize: number;
  /** Instructions executed, when the machine counted them. */
  readonly instructionCount: number | undefined;
}

const ENTRY_BYTES = 40;
/** Read at once; entries are tens of bytes unless someone made them large on purpose. */
const WINDOW = 256 * 1024;
/** `icount` when nobody counted. */
const NOT_COUNTED = 0xffff_ffff_ffff_ffffn;

/**
 * Reads the snapshot table entry by entry: each says how long it is, and none is believed beyond the limits.
 * @throws BlockError `BLK_CORRUPT` for an entry that makes no sense, `EFBIG` for a table beyond 64 MiB.
 */
export async function readSnapshots(
  file: BlockChild,
  header: Header,
  label: string,
): Promise<readonly SnapshotEntry[]> {
  const snapshots: SnapshotEntry[] = [];
  const window = new Window(file, header.snapshotsOffset);
  let at = 0;
  for (let index = 0; index < header.snapshotCount; index += 1) {
    if (header.snapshotsOffset + at >= file.info.size) {
      throw corrupt(label, `the snapshot table ends beyond the file, at entry ${index}`);
    }
    const fixed = viewOf(await window.bytes(at, ENTRY_BYTES));
    const extra = fixed.getUint32(36);
    if (extra > Limits.snapshotExtraBytes) {
      throw corrupt(
        label,
        `snapshot ${index} has ${extra} bytes of extra data; ${Limits.snapshotExtraBytes} is the most`,
      );
    }
    const idLength = fixed.getUint16(12);
    const nameLength = fixed.getUint16(14);
    const length = ENTRY_BYTES + extra + idLength + nameLength;
    snapshots.push(parseEntry(await window.bytes(at, length), extra, idLength, nameLength, header.size));
    at += Math.ceil(length / 8) * 8;
    if (at > Limits.snapshotTableBytes) {
      throw new BlockError("EFBIG", `${label}: the snapshot table is larger than 64 MiB`, {
        node: label,
        operation: "open",
      });
    }
  }
  return snapshots;
}

/** A part of the table in memory, moved along as the walk goes on. */
class Window {
  readonly #file: BlockChild;
  readonly #start: number;
  readonly #bytes = new Uint8Array(WINDOW);
  #at = -1;

  constructor(file: BlockChild, start: number) {
    this.#file = file;
    this.#start = start;
  }

  /** Bytes of the table, at most {@link WINDOW}; valid until the next call. */
  async bytes(at: number, length: number): Promise<Uint8Array> {
    if (this.#at < 0 || at < this.#at || at + length > this.#at + WINDOW) {
      await readHost(this.#file, this.#start + at, [this.#bytes]);
      this.#at = at;
    }
    return this.#bytes.subarray(at - this.#at, at - this.#at + length);
  }
}

function parseEntry(
  bytes: Uint8Array,
  extra: number,
  idLength: number,
  nameLength: number,
  currentSize: number,
): SnapshotEntry {
  const view = viewOf(bytes);
  const text = (from: number, length: number): string =>
    new TextDecoder().decode(bytes.subarray(from, from + length));
  const idAt = ENTRY_BYTES + extra;
  const count = extra >= 24 ? view.getBigUint64(56) : NOT_COUNTED;
  return {
    id: text(idAt, idLength),
    name: text(idAt + idLength, nameLength),
    dateSeconds: view.getUint32(16),
    dateNanoseconds: view.getUint32(20),
    vmClockNanoseconds: Number(view.getBigUint64(24)),
    vmStateSize: extra >= 8 ? Number(view.getBigUint64(40)) : view.getUint32(32),
    diskSize: extra >= 16 ? Number(view.getBigUint64(48)) : currentSize,
    instructionCount: count === NOT_COUNTED ? undefined : Number(count),
  };
}

function corrupt(label: string, what: string): BlockError {
  return new BlockError("BLK_CORRUPT", `${label}: ${what}`, { node: label, operation: "open" });
}
