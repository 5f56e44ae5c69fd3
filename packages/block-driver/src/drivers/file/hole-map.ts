import { COARSE_BLOCK, ExtentFlag, type ExtentList } from "../../contract/extents.ts";
import type { FileOps } from "./file-ops.ts";

/** Runs of data in one `status` call, two seeks each: a badly fragmented file holds the event loop for about a millisecond. */
const MAX_RUNS = 256;

/**
 * Where a file has holes, asked from the file system. Only runs of data are remembered: calling a hole data is never
 * wrong, so an outdated memory costs precision at worst; and own changes of space forget it.
 */
export class HoleMap {
  readonly #ops: FileOps;
  readonly #fd: number;
  #dataStart = 0;
  #dataEnd = 0;

  constructor(ops: FileOps, fd: number) {
    this.#ops = ops;
    this.#fd = fd;
  }

  /** To be called when space may have been given back. */
  forget(): void {
    this.#dataStart = 0;
    this.#dataEnd = 0;
  }

  /**
   * Appends what `[offset, offset + length)` is, never beyond `size`. May stop early; adds nothing only when the file
   * ends at or before `offset`. Without `precise` data and holes alternate by blocks, and a file in a thousand pieces takes a
   * few seeks.
   */
  describe(offset: number, length: number, size: number, extents: ExtentList, precise: boolean): void {
    const end = offset + length;
    const block = precise ? 1 : COARSE_BLOCK;
    let at = offset;
    for (let runs = 0; at < end && runs < MAX_RUNS; runs += 1) {
      const data = this.#nextData(at);
      const isData = data !== undefined && data < size;
      const holeEnd = isData
        ? Math.max(at, Math.floor(data / block) * block)
        : Math.min(data ?? this.#ops.end(this.#fd), size);
      if (holeEnd > at && !extents.append(holeEnd - at, ExtentFlag.Zero)) return;
      if (!isData) return;
      const dataEnd = Math.min(Math.ceil(this.#dataRunEnd(data) / block) * block, size);
      if (!extents.append(dataEnd - holeEnd, ExtentFlag.Data)) return;
      at = dataEnd;
    }
  }

  #nextData(at: number): number | undefined {
    return at >= this.#dataStart && at < this.#dataEnd ? at : this.#ops.nextData(this.#fd, at);
  }

  /** End of the run of data at `data`; at least one byte on, should another program have punched it just now. */
  #dataRunEnd(data: number): number {
    if (data >= this.#dataStart && data < this.#dataEnd) return this.#dataEnd;
    const end = Math.max(this.#ops.nextHole(this.#fd, data) ?? data, data + 1);
    this.#dataStart = data;
    this.#dataEnd = end;
    return end;
  }
}
