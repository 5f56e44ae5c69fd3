import type { Findings } from "./check-report.ts";
import type { CheckedImage } from "./checked-image.ts";
import type { ReferenceMap } from "./reference-map.ts";

/** Counts references to ranges of the file, and tells those that lead out of it. */
export class References {
  readonly map: ReferenceMap;
  readonly findings: Findings;
  /**
   * Every table that could hold references was read. Without that, a cluster that seems unused may be in use: its
   * refcount must not be lowered.
   */
  complete = true;
  readonly #image: CheckedImage;
  readonly #clusterSize: number;
  readonly #fileSize: number;

  constructor(image: CheckedImage, map: ReferenceMap, findings: Findings) {
    this.#image = image;
    this.map = map;
    this.findings = findings;
    this.#clusterSize = image.geometry.clusterSize;
    this.#fileSize = image.file.info.size;
  }

  /**
   * Counts the clusters that `[offset, offset + length)` touches.
   * @returns false when the range ends a cluster or more beyond the end of the file; nothing is counted then, so that a
   * wild offset costs no memory.
   */
  add(offset: number, length: number, times = 1): boolean {
    if (length === 0) return true;
    const end = offset + length;
    if (end - this.#fileSize >= this.#clusterSize) {
      this.findings.corruption(
        `a reference to offset 0x${offset.toString(16)} (${length} bytes) leads beyond the end of the file`,
        times,
      );
      return false;
    }
    const last = Math.floor((end - 1) / this.#clusterSize);
    for (let cluster = Math.floor(offset / this.#clusterSize); cluster <= last; cluster += 1) {
      const lost = this.map.add(cluster, times);
      if (lost > 0) {
        this.findings.corruption(
          `cluster ${cluster} has more references than a refcount of ${this.#image.geometry.refcountBits} bits can say`,
          lost,
        );
      }
    }
    return true;
  }

  /** A table could not be read: what it refers to is not known. */
  unreadable(what: string, error: Error): void {
    this.complete = false;
    this.findings.error(`${what} cannot be read: ${error.message}`);
  }
}
