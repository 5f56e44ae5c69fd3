import { COPIED, hostOffsetOf } from "../format/l2-entry.ts";
import { viewOf } from "../format/u64.ts";

/** The active L1 table in memory: for each L2 table, where it is and whether it may be changed in place. */
export class L1Table {
  /** Two words for each entry: high, low. */
  readonly words: Uint32Array;

  /** Takes the table's bytes as they are on disk; their length is a multiple of 8. */
  constructor(bytes: Uint8Array) {
    const view = viewOf(bytes);
    this.words = new Uint32Array(bytes.byteLength / 4);
    for (let word = 0; word < this.words.length; word += 1) this.words[word] = view.getUint32(4 * word);
  }

  get entries(): number {
    return this.words.length / 2;
  }

  /** Host offset of L2 table `index`, or 0 where there is none. Unchecked: it may be unaligned or nonsense. */
  offsetOf(index: number): number {
    return hostOffsetOf(this.words[2 * index] ?? 0, this.words[2 * index + 1] ?? 0);
  }

  /** The L2 table may be changed in place: its refcount is one. */
  isCopied(index: number): boolean {
    return ((this.words[2 * index] ?? 0) & COPIED) !== 0;
  }
}
