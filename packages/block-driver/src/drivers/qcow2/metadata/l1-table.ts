import { COPIED, highWord, hostOffsetOf, lowWord } from "../format/l2-entry.ts";
import { viewOf } from "../format/u64.ts";
import { MetadataKind } from "./metadata-map.ts";
import type { MetadataWrite } from "./metadata-write.ts";

/** The active L1 table in memory: for each L2 table, where it is and whether it may be changed in place. */
export class L1Table {
  /** Two words for each entry: high, low. */
  #words: Uint32Array;
  readonly #dirty = new Set<number>();

  /** Takes the table's bytes as they are on disk; their length is a multiple of 8. */
  constructor(bytes: Uint8Array) {
    const view = viewOf(bytes);
    this.#words = new Uint32Array(bytes.byteLength / 4);
    for (let word = 0; word < this.#words.length; word += 1) this.#words[word] = view.getUint32(4 * word);
  }

  get words(): Uint32Array {
    return this.#words;
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

  /** Entries that differ from the file. */
  get dirtyEntries(): number {
    return this.#dirty.size;
  }

  /** Points entry `index` to a table of its own at `hostOffset`, or with 0 to none. The next commit writes it. */
  set(index: number, hostOffset: number): void {
    this.#words[2 * index] = hostOffset === 0 ? 0 : (highWord(hostOffset) | COPIED) >>> 0;
    this.#words[2 * index + 1] = lowWord(hostOffset);
    this.#dirty.add(index);
  }

  /** Makes room for more entries, which point to nothing. Where the larger table goes is the caller's business. */
  grow(entries: number): void {
    const words = new Uint32Array(2 * entries);
    words.set(this.#words);
    this.#words = words;
  }

  /** The whole table as it is stored. */
  encode(): Uint8Array {
    return this.#encode(0, this.entries);
  }

  /** The entries that differ from the file, for a table at `tableOffset`. */
  takeDirty(tableOffset: number): MetadataWrite[] {
    const entries = [...this.#dirty].sort((a, b) => a - b);
    this.#dirty.clear();
    const writes: MetadataWrite[] = [];
    for (let at = 0; at < entries.length;) {
      const first = entries[at] ?? 0;
      let count = 1;
      while (entries[at + count] === first + count) count += 1;
      writes.push({
        kind: MetadataKind.L1Table,
        offset: tableOffset + 8 * first,
        bytes: this.#encode(first, count),
        done: () => {},
        failed: () => {
          for (let index = first; index < first + count; index += 1) this.#dirty.add(index);
        },
      });
      at += count;
    }
    return writes;
  }

  #encode(first: number, count: number): Uint8Array {
    const bytes = new Uint8Array(8 * count);
    const view = viewOf(bytes);
    for (let word = 0; word < 2 * count; word += 1)
      view.setUint32(4 * word, this.#words[2 * first + word] ?? 0);
    return bytes;
  }
}
