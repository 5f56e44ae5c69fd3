import { HBitmap } from "@blockmirror/hbitmap";
import type { BitmapStore, KeptBitmap, StoredBitmap } from "../../../contract/bitmap-store.ts";
import { BlockError } from "../../../errors.ts";
import {
  BitmapFlag,
  BitmapLimits,
  bitmapTableEntries,
  encodeBitmapDirectory,
  type BitmapEntry,
} from "../format/bitmap-directory.ts";
import { Autoclear } from "../format/constants.ts";
import type { Image } from "../image.ts";
import { writeAutoclear } from "../metadata/header-fields.ts";
import type { WriteState } from "../write/write-state.ts";
import { readBitmapData } from "./bitmap-data.ts";
import { BitmapClusters } from "./bitmap-clusters.ts";
import { describeBitmap } from "./list-bitmaps.ts";
import { readBitmapDirectory, type BitmapDirectory } from "./read-directory.ts";
import { storeBitmaps } from "./store-bitmaps.ts";

/**
 * The persistent dirty bitmaps of an open image (qcow2 specification, "Bitmaps extension"). Before the image is changed
 * for the first time, what is stored is marked as in use, in place; when the image is closed, the bitmaps are written to
 * fresh clusters, and the header switches to them in one write. A crash in between leaves bitmaps that say of themselves
 * that they are not to be trusted.
 */
export class PersistentBitmaps implements BitmapStore {
  readonly #image: Image;
  readonly #kept = new Map<string, KeptBitmap>();
  #directory: BitmapDirectory | undefined;
  #entries: readonly BitmapEntry[];
  #state: WriteState | undefined;
  /** What is to be stored differs from what is stored, whether or not the guest wrote. */
  #changed = false;

  private constructor(image: Image, directory: BitmapDirectory | undefined) {
    this.#image = image;
    this.#directory = directory;
    this.#entries = directory?.entries ?? [];
  }

  /**
   * Reads which bitmaps an image has.
   * @param tolerant reports a directory that makes no sense, instead of failing: for an image that nobody writes.
   * @throws BlockError `BLK_CORRUPT` for such a directory otherwise.
   */
  static async read(image: Image, tolerant: boolean): Promise<PersistentBitmaps> {
    try {
      return new PersistentBitmaps(image, await readBitmapDirectory(image));
    } catch (error) {
      if (!tolerant || !(error instanceof BlockError) || error.code !== "BLK_CORRUPT") throw error;
      image.report({ type: "warning", message: `${error.message}; its bitmaps are ignored` });
      return new PersistentBitmaps(image, undefined);
    }
  }

  /** Follows a writer: marks what is stored as in use before its first change. */
  follow(state: WriteState): void {
    this.#state = state;
    state.beforeFirstChange.push(() => this.#markInUse());
  }

  list(): readonly StoredBitmap[] {
    return this.#entries.map(describeBitmap);
  }

  async load(name: string, into: HBitmap): Promise<void> {
    const entry = this.#entries.find((candidate) => candidate.name === name);
    const { label, virtualSize } = this.#image;
    if (entry === undefined) {
      throw new BlockError("ENOENT", `${label} has no bitmap '${name}'`, { node: label });
    }
    if ((entry.flags & BitmapFlag.InUse) !== 0) {
      throw new BlockError(
        "BLK_CORRUPT",
        `bitmap '${name}' of ${label} was in use when the image was last closed, out of order; remove it and copy everything`,
        { node: label },
      );
    }
    if (into.size !== virtualSize || into.granularity !== 2 ** entry.granularityBits) {
      throw new RangeError(
        `bitmap '${name}' has ${virtualSize} bytes and a granularity of ${2 ** entry.granularityBits}`,
      );
    }
    await readBitmapData(this.#image, entry, into);
  }

  keep(bitmap: KeptBitmap): void {
    const { name } = bitmap;
    const { label, header, geometry } = this.#image;
    const refuse = (code: "EROFS" | "EINVAL" | "ENOTSUP" | "EEXIST", why: string): never => {
      throw new BlockError(code, `${label} cannot keep a bitmap: ${why}`, { node: label });
    };
    if (this.#state === undefined) return refuse("EROFS", "it is open read-only");
    if (header.version < 3) return refuse("ENOTSUP", "version 2 images have none; make a version 3 image");
    if (name === undefined) return refuse("EINVAL", "it has no name");
    const entries = bitmapTableEntries(bitmap.bits.size, Math.log2(bitmap.granularity), geometry.clusterSize);
    if (bitmap.granularity > 2 ** BitmapLimits.maxGranularityBits) {
      return refuse("EINVAL", "its granularity is above 2 GiB");
    }
    if (entries * geometry.clusterSize > BitmapLimits.dataBytes || entries > BitmapLimits.tableEntries) {
      return refuse("EINVAL", `it would take more than 512 MiB; use a larger granularity`);
    }
    if (this.#kept.has(name)) return refuse("EEXIST", `it keeps one named '${name}' already`);
    const stored = this.#entries.some((entry) => entry.name === name);
    if (!stored && this.#entries.length + this.#kept.size >= BitmapLimits.bitmaps) {
      return refuse("EINVAL", `it has ${BitmapLimits.bitmaps}, which is the most`);
    }
    if (!stored) this.#changed = true;
    this.#kept.set(name, bitmap);
    return undefined;
  }

  drop(name: string): void {
    const kept = this.#kept.delete(name);
    const before = this.#entries.length;
    this.#entries = this.#entries.filter((entry) => entry.name !== name);
    if (kept || this.#entries.length < before) this.#changed = true;
  }

  /**
   * Refuses a new size for the disk while there is a bitmap that would not follow.
   * @throws BlockError `ENOTSUP` naming it.
   */
  mustBeResizable(): void {
    const stuck = this.#entries.find(({ name }) => !this.#kept.has(name));
    if (stuck === undefined) return;
    const { label } = this.#image;
    throw new BlockError(
      "ENOTSUP",
      `${label} cannot be resized: its bitmap '${stuck.name}' is not in use here and would not fit any more; remove it first`,
      { node: label, operation: "resize" },
    );
  }

  /**
   * Stores what is kept, before the image is closed. An image that was not changed is left as it is, byte for byte.
   * @throws BlockError what the file meets; what is stored then says of itself that it is in use.
   */
  async store(): Promise<void> {
    const state = this.#state;
    if (state === undefined || state.fence.failure !== undefined) return;
    if (this.#kept.size === 0 && !this.#changed) return;
    if (!state.prepared && !this.#changed && (await this.#isStored())) return;
    await state.prepare();
    const kept = [...this.#kept.values()];
    const preserved = this.#entries.filter(({ name }) => !this.#kept.has(name));
    this.#directory = await storeBitmaps(state, { old: this.#directory, preserved, kept });
    this.#entries = this.#directory?.entries ?? [];
    this.#changed = false;
  }

  /** What is kept is what is stored. */
  async #isStored(): Promise<boolean> {
    for (const { name, granularity, enabled, bits } of this.#kept.values()) {
      const entry = this.#entries.find((candidate) => candidate.name === name);
      if (entry === undefined || (entry.flags & BitmapFlag.InUse) !== 0) return false;
      if (2 ** entry.granularityBits !== granularity || bits.size !== this.#image.virtualSize) return false;
      if (((entry.flags & BitmapFlag.Auto) !== 0) !== enabled) return false;
      const stored = new HBitmap({ size: bits.size, granularity });
      await readBitmapData(this.#image, entry, stored);
      if (stored.count !== bits.count) return false;
      stored.merge(bits);
      if (stored.count !== bits.count) return false;
    }
    return true;
  }

  /**
   * Marks what will be stale as in use, in the directory where it is. The autoclear bit is off meanwhile: half a directory
   * must not be believed.
   */
  async #markInUse(): Promise<void> {
    const state = this.#state;
    if (state === undefined || this.#directory === undefined) return;
    const { extension } = this.#directory;
    await new BitmapClusters(state).addAll(this.#directory);
    const marked = this.#directory.entries.map((entry) =>
      this.#becomesStale(entry) ? { ...entry, flags: entry.flags | BitmapFlag.InUse } : entry,
    );
    const { image } = state;
    if (marked.some((entry, index) => entry !== this.#directory?.entries[index])) {
      const { header } = image;
      await writeAutoclear(state.file, { ...header, autoclear: header.autoclear & ~Autoclear.Bitmaps });
      await state.fence.flush();
      await state.file.write(extension.directoryOffset, [encodeBitmapDirectory(marked)]);
      await state.fence.flush();
      await writeAutoclear(state.file, header);
      await state.fence.flush();
      this.#directory = { extension, entries: marked };
      this.#entries = marked.filter(({ name }) => this.#entries.some((entry) => entry.name === name));
    }
    state.maintainsBitmaps = true;
  }

  /** A bitmap that does not follow writes stays true; every other one is stale with the first write. */
  #becomesStale({ name, flags }: BitmapEntry): boolean {
    return (flags & BitmapFlag.InUse) === 0 && (this.#kept.has(name) || (flags & BitmapFlag.Auto) !== 0);
  }
}
