import { BlockError } from "../../../errors.ts";
import { bitmapTableEntry, parseBitmapDirectory, parseBitmapsExtension } from "../format/bitmap-directory.ts";
import { Autoclear, ExtensionType, Limits } from "../format/constants.ts";
import { findExtension } from "../format/extensions.ts";
import { hasFeature } from "../format/header.ts";
import { viewOf } from "../format/u64.ts";
import { readHost } from "../metadata/host-read.ts";
import type { CheckedImage } from "./checked-image.ts";
import { namedTables, type NamedTables } from "./l1-tables.ts";
import { L2Scan, type LayerStatistics } from "./l2-scan.ts";
import { refcountTableIsUsable, type RefcountStructure } from "./refcount-structure.ts";
import type { References } from "./references.ts";
import { complainOfEntries } from "./snapshot-entries.ts";
import { listSnapshots, type SnapshotList } from "./snapshot-list.ts";
import { assertNotAborted, readTables } from "./table-reader.ts";

/** Far above any there is: key slots take a few MiB. */
const MAX_ENCRYPTION_HEADER = 256 * 1024 * 1024;

/** How counting goes on, and what it may repair on its way. */
export interface CountOptions {
  readonly signal: AbortSignal | undefined;
  /**
   * Turn preallocated zero clusters at impossible offsets into plain zero clusters, and leave wrong entries of the snapshot
   * table to be repaired: see {@link ReferenceCounter.repairableSnapshots}.
   */
  readonly repair: boolean;
  /** Called for each table: how many more have been looked at, how many more there are. */
  readonly progress: (done: number, found: number) => void;
}

/**
 * Counts every reference in the file but those of the refcount structure itself: header, L1 and L2 tables of the active
 * layer and of every snapshot, clusters, snapshot table, bitmaps, encryption header.
 */
export class ReferenceCounter {
  readonly #image: CheckedImage;
  readonly #references: References;
  readonly #options: CountOptions;
  readonly #scan: L2Scan;
  /** The list of snapshots, when a repair has to write it anew, and what is wrong with it. */
  repairableSnapshots: { readonly list: SnapshotList; readonly messages: readonly string[] } | undefined;

  constructor(image: CheckedImage, references: References, options: CountOptions) {
    this.#image = image;
    this.#references = references;
    this.#options = options;
    this.#scan = new L2Scan(image, references);
  }

  /** @returns how the active layer is stored. */
  async count(): Promise<LayerStatistics> {
    const { header, geometry } = this.#image;
    const statistics: LayerStatistics = { allocated: 0, fragmented: 0, compressed: 0 };
    this.#references.add(0, geometry.clusterSize);
    await this.#layer("the active L1 table", header.l1Offset, header.l1Entries, statistics);
    await this.#snapshots();
    await this.#bitmaps();
    this.#encryptionHeader();
    return statistics;
  }

  async #layer(
    what: string,
    offset: number,
    entries: number,
    statistics: LayerStatistics | undefined,
  ): Promise<void> {
    if (entries === 0) return;
    if (!this.#references.add(offset, entries * 8)) {
      this.#references.complete = false;
      return;
    }
    const bytes = await this.#read(what, offset, entries * 8);
    if (bytes === undefined) return;
    const { findings } = this.#references;
    const { clusterSize } = this.#image.geometry;
    const tables = namedTables(bytes, clusterSize, (complaint) => {
      findings.corruption(`entry ${complaint.index} of ${what} is wrong: ${complaint.what}`);
      if (complaint.what !== "unaligned") return;
      // What is there is no table, but it may be part of one.
      this.#references.complete = false;
      this.#references.add(complaint.offset, clusterSize);
    });
    await this.#tables(tables, statistics);
  }

  async #tables(tables: NamedTables, statistics: LayerStatistics | undefined): Promise<void> {
    const { file, geometry } = this.#image;
    const { signal, progress } = this.#options;
    progress(0, tables.offsets.length);
    for await (const table of readTables(file, tables.offsets, geometry.clusterSize, signal)) {
      progress(1, 0);
      const offset = tables.offsets[table.index] ?? 0;
      const times = tables.times[table.index] ?? 1;
      if (!this.#references.add(offset, geometry.clusterSize, times)) {
        this.#references.complete = false;
        continue;
      }
      if (table.error !== undefined) {
        this.#references.unreadable(`the L2 table at 0x${offset.toString(16)}`, table.error);
        continue;
      }
      const l1Index = tables.firstIndex[table.index] ?? 0;
      const { repair } = this.#options;
      await this.#repair(
        offset,
        this.#scan.scan({ bytes: table.bytes, offset, l1Index, times }, statistics, repair),
      );
    }
  }

  /** The clusters read as zeroes already; now they say so without an impossible offset. */
  async #repair(table: number, entries: readonly number[]): Promise<void> {
    const plainZero = new Uint8Array([0, 0, 0, 0, 0, 0, 0, 1]);
    for (const index of entries) {
      await this.#image.file.write(table + index * this.#image.geometry.l2EntryBytes, [plainZero]);
      this.#references.findings.fixedCorruption(
        `entry ${index} of the L2 table at 0x${table.toString(16)} is a plain zero cluster now`,
      );
    }
  }

  async #snapshots(): Promise<void> {
    const { header, geometry, label } = this.#image;
    if (header.snapshotCount === 0) return;
    const list = await listSnapshots(this.#image, "any");
    const { snapshots, tableBytes } = list;
    this.#judgeEntries(list);
    let index = 0;
    for (const { l1Offset, l1Entries } of snapshots) {
      assertNotAborted(this.#options.signal);
      const what = `the L1 table of snapshot ${index} of ${label}`;
      index += 1;
      const wrong = l1TableProblem(l1Offset, l1Entries, geometry.clusterSize);
      if (wrong === undefined) {
        await this.#layer(what, l1Offset, l1Entries, undefined);
      } else {
        this.#references.complete = false;
        this.#references.findings.corruption(`${what} ${wrong}`);
      }
    }
    this.#references.add(header.snapshotsOffset, tableBytes);
  }

  /** Entries that are wrong are told here, or written anew by whoever repairs. */
  #judgeEntries(list: SnapshotList): void {
    const { messages, isOversized, isRepairable } = complainOfEntries(this.#image, list);
    if (messages.length === 0) return;
    if (this.#options.repair && isRepairable) {
      this.repairableSnapshots = { list, messages };
      return;
    }
    for (const message of messages) this.#references.findings.corruption(message);
    // Tables of snapshots may have been overlooked.
    if (isOversized) this.#references.complete = false;
  }

  async #bitmaps(): Promise<void> {
    const { header, extensions, geometry, label } = this.#image;
    const payload = findExtension(extensions, ExtensionType.Bitmaps);
    if (payload === undefined || !hasFeature(header.autoclear, Autoclear.Bitmaps)) return;
    try {
      const extension = parseBitmapsExtension(payload, geometry.clusterSize, label);
      const { directoryOffset, directorySize } = extension;
      if (!this.#references.add(directoryOffset, directorySize)) {
        this.#references.complete = false;
        return;
      }
      const directory = await this.#read("the bitmap directory", directoryOffset, directorySize);
      if (directory === undefined) return;
      const entries = parseBitmapDirectory(directory, extension.count, geometry.clusterSize, label);
      for (const { tableOffset, tableEntries, name } of entries) {
        await this.#bitmap(`the table of bitmap '${name}'`, tableOffset, tableEntries);
      }
    } catch (error) {
      if (!(error instanceof BlockError) || error.code !== "BLK_CORRUPT") throw error;
      this.#references.complete = false;
      this.#references.findings.corruption(error.message);
    }
  }

  async #bitmap(what: string, offset: number, entries: number): Promise<void> {
    if (!this.#references.add(offset, entries * 8)) {
      this.#references.complete = false;
      return;
    }
    const table = await this.#read(what, offset, entries * 8);
    if (table === undefined) return;
    const { clusterSize } = this.#image.geometry;
    for (let index = 0; index < entries; index += 1) {
      const entry = bitmapTableEntry(table, index, clusterSize, what);
      if (entry.kind === "data") this.#references.add(entry.offset, clusterSize);
    }
  }

  #encryptionHeader(): void {
    const payload = findExtension(this.#image.extensions, ExtensionType.Encryption);
    if (payload === undefined || this.#image.header.encryption !== 2) return;
    if (payload.length !== 16) {
      this.#references.findings.corruption(`the encryption extension has ${payload.length} bytes, not 16`);
      return;
    }
    const view = viewOf(payload);
    const offset = view.getUint32(0) * 2 ** 32 + view.getUint32(4);
    const length = view.getUint32(8) * 2 ** 32 + view.getUint32(12);
    if (length > MAX_ENCRYPTION_HEADER) {
      this.#references.findings.corruption(`the encryption header of ${length} bytes is too large`);
    } else {
      this.#references.add(offset, length);
    }
  }

  /** Reads a table whose place is known to be inside the file; undefined, and told, when that fails. */
  async #read(what: string, offset: number, length: number): Promise<Uint8Array | undefined> {
    assertNotAborted(this.#options.signal);
    const bytes = new Uint8Array(length);
    try {
      await readHost(this.#image.file, offset, [bytes]);
      return bytes;
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      this.#references.unreadable(what, error);
      return undefined;
    }
  }
}

function l1TableProblem(offset: number, entries: number, clusterSize: number): string | undefined {
  if (offset % clusterSize !== 0) return "is not aligned to a cluster";
  return entries * 8 > Limits.l1Bytes ? "is too large" : undefined;
}

/**
 * Counts the refcount table and its blocks, and tells what is wrong with them.
 * @returns whether the structure has to be made anew.
 */
export function countRefcountStructure(
  image: CheckedImage,
  structure: RefcountStructure,
  references: References,
): boolean {
  const { header, geometry } = image;
  const { findings, map } = references;
  let ruined = false;
  if (refcountTableIsUsable(image)) {
    references.add(header.refcountTableOffset, header.refcountTableClusters * geometry.clusterSize);
  } else {
    findings.corruption("there is no refcount table where the header says");
    ruined = true;
  }
  for (let index = 0; index < structure.entries; index += 1) {
    const state = structure.stateOf(index);
    if (state === "absent") continue;
    if (state !== "present") {
      findings.corruption(`refcount block ${index} is wrong: ${WRONG[state]}`);
      ruined = true;
      continue;
    }
    const cluster = structure.offsetOf(index) / geometry.clusterSize;
    references.add(structure.offsetOf(index), geometry.clusterSize);
    if (map.get(cluster) !== 1) {
      findings.corruption(`refcount block ${index} is used for something else as well`);
      ruined = true;
    }
  }
  return ruined;
}

const WRONG: Readonly<Record<"outside" | "unaligned" | "reserved", string>> = {
  outside: "it is outside the file",
  unaligned: "it is not aligned to a cluster",
  reserved: "its table entry has reserved bits set",
};
