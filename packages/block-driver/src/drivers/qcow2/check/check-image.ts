import type { BlockChild } from "../../../contract/device.ts";
import { BlockError } from "../../../errors.ts";
import { Incompatible, KNOWN_AUTOCLEAR } from "../format/constants.ts";
import { hasFeature, HeaderField } from "../format/header.ts";
import { refcountCodec } from "../format/refcount-codec.ts";
import {
  Findings,
  type Qcow2CheckProgress,
  type Qcow2CheckReport,
  type Qcow2Finding,
} from "./check-report.ts";
import { openForCheck, type CheckedImage } from "./checked-image.ts";
import { compareRefcounts, type Comparison } from "./compare-refcounts.ts";
import { checkCopiedFlags } from "./copied-flags.ts";
import { countRefcountStructure, ReferenceCounter } from "./count-references.ts";
import type { LayerStatistics } from "./l2-scan.ts";
import { planSnapshotTable, switchToSnapshotTable, type NewSnapshotTable } from "./move-snapshot-table.ts";
import { rebuildRefcounts } from "./rebuild-refcounts.ts";
import { RefcountStructure } from "./refcount-structure.ts";
import { ReferenceMap } from "./reference-map.ts";
import { References } from "./references.ts";

/** Options of `checkQcow2`. */
export interface Qcow2CheckOptions {
  /**
   * `leaks` gives back clusters that nobody uses; `all` also raises refcounts that are too low, makes a ruined refcount
   * structure anew and sets flags right. Default: change nothing.
   */
  readonly repair?: "leaks" | "all";
  /** Aborting it ends the check with `ECANCELED`. A repair that was begun leaves no less sense than there was. */
  readonly signal?: AbortSignal;
  /** Told of each finding, in the order of the search. */
  readonly onFinding?: (finding: Qcow2Finding) => void;
  readonly onProgress?: (progress: Qcow2CheckProgress) => void;
  /** Bytes of memory for counting references; one bit for each cluster of a usual image. Default 256 MiB. */
  readonly memoryLimit?: number;
}

const DEFAULT_MEMORY_LIMIT = 256 * 1024 * 1024;

/** What `checkQcow2` does. */
export async function checkImage(file: BlockChild, options: Qcow2CheckOptions): Promise<Qcow2CheckReport> {
  const image = await openForCheck(file, options.repair !== undefined);
  const progress = progressOf(options);
  const first = await new Check(image, options, progress).run();
  if (options.repair === undefined) return first.report;
  const { repair: _done, onFinding: _told, ...quietly } = options;
  if (first.movedTable) {
    // The old table is counted still: the header had to point to the new one before it could be given back.
    await new Check(await openForCheck(file, true), { ...quietly, repair: "leaks" }, progress).run();
  }
  if (!first.changed) {
    await clearMarks(image, first.report);
    return first.report;
  }
  // What was repaired is looked at again, as what it is now.
  const repaired = await openForCheck(file, true);
  const { report } = await new Check(repaired, quietly, progress).run();
  await clearMarks(repaired, report);
  const found = first.report;
  return {
    ...report,
    corruptionsFixed: Math.max(0, found.corruptions + found.corruptionsFixed - report.corruptions),
    leaksFixed: Math.max(0, found.leaks + found.leaksFixed - report.leaks),
  };
}

/**
 * Repairs an image that is marked dirty, so that it can be written: its refcounts may be stale, its tables are not.
 * Whoever opens it reads the header again afterwards.
 * @throws BlockError `BLK_CORRUPT` when something is left that this cannot repair.
 */
export async function recoverDirtyImage(file: BlockChild, signal?: AbortSignal): Promise<void> {
  const report = await checkImage(file, { repair: "all", ...(signal !== undefined && { signal }) });
  if (report.corruptions === 0 && report.checkErrors === 0) return;
  const { label } = file.info;
  throw new BlockError(
    "BLK_CORRUPT",
    `${label} was not closed in order and cannot be repaired: ${report.corruptions} corruptions and ${report.checkErrors} errors are left; open it read-only, or look at 'blockmirror check'`,
    { node: label, operation: "open" },
  );
}

function progressOf({ onProgress }: Qcow2CheckOptions): (done: number, found: number) => void {
  let done = 0;
  let total = 0;
  return (more, found) => {
    done += more;
    total += found;
    onProgress?.({ done, total });
  };
}

/** What one look came to. */
interface Outcome {
  readonly report: Qcow2CheckReport;
  /** Something was repaired. */
  readonly changed: boolean;
  /** The snapshot table has a new place; the old one is counted still. */
  readonly movedTable: boolean;
}

/** One look at an image. */
class Check {
  readonly #image: CheckedImage;
  readonly #options: Qcow2CheckOptions;
  readonly #findings: Findings;
  readonly #progress: (done: number, found: number) => void;

  constructor(
    image: CheckedImage,
    options: Qcow2CheckOptions,
    progress: (done: number, found: number) => void,
  ) {
    this.#image = image;
    this.#options = options;
    this.#findings = new Findings(options.onFinding);
    this.#progress = progress;
  }

  async run(): Promise<Outcome> {
    const { repair, signal } = this.#options;
    if (repair !== undefined) await clearUnknownAutoclear(this.#image);
    const references = this.#newReferences(this.#findings);
    const counter = this.#counter(references, repair === "all");
    const statistics = await counter.count();
    let structure = await RefcountStructure.read(this.#image);
    const ruined = countRefcountStructure(this.#image, structure, references);
    const table = await this.#planSnapshotTable(counter, structure, references);
    const comparison = await this.#compare(structure, references, ruined, table);
    const rebuild = repair === "all" && (ruined || comparison.needsBlocks);
    if (rebuild) structure = await this.#rebuild(structure, references.complete, table);
    if (repair !== undefined) await this.#image.file.flush();
    if (table !== undefined) await this.#switchSnapshotTable(table, counter);
    await checkCopiedFlags(this.#image, structure, this.#findings, {
      signal,
      clear: repair !== undefined,
      // A flag may only be set where no reference can have been overlooked.
      set: repair !== undefined && references.complete && (rebuild || comparison.sufficient),
      progress: this.#progress,
    });
    if (repair !== undefined) await this.#image.file.flush();
    const { corruptionsFixed, leaksFixed } = this.#findings;
    const changed = rebuild || corruptionsFixed > 0 || leaksFixed > 0;
    return { report: this.#report(comparison, statistics), changed, movedTable: table !== undefined };
  }

  #newReferences(findings: Findings): References {
    const map = new ReferenceMap({
      memoryLimit: this.#options.memoryLimit ?? DEFAULT_MEMORY_LIMIT,
      max: refcountCodec(this.#image.geometry.refcountOrder).max,
    });
    return new References(this.#image, map, findings);
  }

  #counter(references: References, repair: boolean): ReferenceCounter {
    const { signal } = this.#options;
    return new ReferenceCounter(this.#image, references, { signal, repair, progress: this.#progress });
  }

  /** A table to replace one with wrong entries. Without knowing every reference, no place is known to be free. */
  async #planSnapshotTable(
    { repairableSnapshots }: ReferenceCounter,
    structure: RefcountStructure,
    { complete, map }: References,
  ): Promise<NewSnapshotTable | undefined> {
    if (repairableSnapshots === undefined) return undefined;
    const { list, messages } = repairableSnapshots;
    const table = complete ? await planSnapshotTable(this.#image, list, structure, map) : undefined;
    if (table === undefined) for (const message of messages) this.#findings.corruption(message);
    return table;
  }

  async #switchSnapshotTable(
    table: NewSnapshotTable,
    { repairableSnapshots }: ReferenceCounter,
  ): Promise<void> {
    await switchToSnapshotTable(this.#image, table);
    for (const message of repairableSnapshots?.messages ?? []) this.#findings.fixedCorruption(message);
  }

  #compare(
    structure: RefcountStructure,
    references: References,
    ruined: boolean,
    taken: NewSnapshotTable | undefined,
  ): Promise<Comparison> {
    const { repair, signal } = this.#options;
    // Blocks that are used for something else as well are not written to: they are made anew.
    return compareRefcounts(this.#image, structure, references, {
      signal,
      raise: repair === "all" && !ruined,
      lower: repair !== undefined && !ruined,
      taken,
    });
  }

  /** Makes the refcount structure anew. Where references may be unknown, what was counted as used stays used. */
  async #rebuild(
    structure: RefcountStructure,
    complete: boolean,
    table: NewSnapshotTable | undefined,
  ): Promise<RefcountStructure> {
    const references = this.#newReferences(new Findings());
    await this.#counter(references, false).count();
    if (table !== undefined) {
      for (let cluster = table.first; cluster < table.end; cluster += 1) references.map.add(cluster);
    }
    if (!complete) await keepCounts(this.#image, structure, references.map);
    const fields = await rebuildRefcounts(this.#image, structure, references.map, this.#options.signal);
    this.#options.onFinding?.({
      kind: "corruption",
      message: "the refcount structure was made anew",
      fixed: true,
    });
    return RefcountStructure.read({ ...this.#image, header: { ...this.#image.header, ...fields } });
  }

  #report({ end }: Comparison, statistics: LayerStatistics): Qcow2CheckReport {
    const { geometry, header } = this.#image;
    const { errors, corruptions, leaks, corruptionsFixed, leaksFixed } = this.#findings;
    return {
      checkErrors: errors,
      corruptions,
      leaks,
      corruptionsFixed,
      leaksFixed,
      imageEndOffset: end * geometry.clusterSize,
      totalClusters: geometry.clustersFor(header.size - (header.size % 512)),
      allocatedClusters: statistics.allocated,
      fragmentedClusters: statistics.fragmented,
      compressedClusters: statistics.compressed,
    };
  }
}

/** Raises `map` to every refcount that can still be read. */
async function keepCounts(
  image: CheckedImage,
  structure: RefcountStructure,
  map: ReferenceMap,
): Promise<void> {
  const { refcountsPerBlock, clusterSize } = image.geometry;
  const clusters = Math.ceil(image.file.info.size / clusterSize);
  for (let index = 0; index * refcountsPerBlock < clusters && index < structure.entries; index += 1) {
    if (!structure.isReadable(index)) continue;
    const block = await structure.block(index).catch(() => undefined);
    if (block === undefined) continue;
    const count = Math.min(refcountsPerBlock, clusters - index * refcountsPerBlock);
    for (let within = 0; within < count; within += 1) {
      map.raise(index * refcountsPerBlock + within, structure.codec.get(block, within));
    }
  }
}

/** Autoclear bits that are unknown here stand for what this software does not keep up. */
async function clearUnknownAutoclear(image: CheckedImage): Promise<void> {
  const { header, file } = image;
  if (header.version === 2 || (header.autoclear & ~KNOWN_AUTOCLEAR) === 0n) return;
  await writeFeatures(file, HeaderField.autoclear, header.autoclear & KNOWN_AUTOCLEAR);
}

/** Removes the dirty and the corrupt mark from an image that deserves neither. */
async function clearMarks({ header, file }: CheckedImage, report: Qcow2CheckReport): Promise<void> {
  const marks = Incompatible.Dirty | Incompatible.Corrupt;
  if (!hasFeature(header.incompatible, marks)) return;
  if (report.corruptions > 0 || report.checkErrors > 0 || report.leaks > 0) return;
  await writeFeatures(file, HeaderField.incompatible, header.incompatible & ~marks);
}

async function writeFeatures(file: BlockChild, at: number, features: bigint): Promise<void> {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, features);
  await file.write(at, [bytes]);
  await file.flush();
}
