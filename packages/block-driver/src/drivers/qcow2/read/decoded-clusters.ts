/**
 * The compressed clusters that were decoded last, for readers that take less than a cluster at a time. Keyed by where a
 * cluster is stored: compressed data is never changed in place, and new compressed clusters are never written, so that
 * nothing else compressed can be found in the same place while the image is open.
 */
export class DecodedClusters {
  readonly #capacity: number;
  readonly #clusters = new Map<number, Promise<Uint8Array>>();

  /** @param capacity clusters kept, at least 1. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** The cluster stored at `host`, decoded once by `decode` however many ask for it. A failure is not kept. */
  get(host: number, decode: () => Promise<Uint8Array>): Promise<Uint8Array> {
    const known = this.#clusters.get(host);
    if (known !== undefined) {
      // The order of insertion is the order of use.
      this.#clusters.delete(host);
      this.#clusters.set(host, known);
      return known;
    }
    const decoding = decode();
    this.#clusters.set(host, decoding);
    decoding.catch(() => this.#clusters.delete(host));
    for (const oldest of this.#clusters.keys()) {
      if (this.#clusters.size <= this.#capacity) break;
      this.#clusters.delete(oldest);
    }
    return decoding;
  }
}
