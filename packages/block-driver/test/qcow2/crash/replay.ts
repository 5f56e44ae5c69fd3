import type { Random } from "../../../src/conformance/random.ts";
import type { RecordedEvent } from "../../support/recording.ts";

const SECTOR = 512;

/**
 * The file after a crash: what it was before, everything that a flush covered, and of the changes since any part: each
 * wholly, not at all, or some of its sectors.
 *
 * @param before content when recording began.
 * @param upTo events that had been asked for when the crash came.
 */
export function crashedFile(
  before: Uint8Array,
  events: readonly RecordedEvent[],
  upTo: number,
  fate: "all" | "none" | "random",
  random: Random,
): Uint8Array {
  let covered = 0;
  for (const event of events.slice(0, upTo)) {
    if (event.type === "flush") covered = Math.max(covered, event.flushes);
  }
  const file = new SparseFile(before);
  for (const event of events.slice(0, upTo)) {
    if (event.type === "flush") continue;
    // A flush covers what had settled before it began, and promises nothing of what was on its way.
    if (event.flushes < covered || fate === "all") file.apply(event);
    else if (fate === "random" && random.below(3) > 0) {
      if (random.below(3) === 0) file.applyTorn(event, random);
      else file.apply(event);
    }
  }
  return file.content();
}

class SparseFile {
  #bytes: Uint8Array;
  #end: number;

  constructor(before: Uint8Array) {
    // A copy even of a Buffer, whose `slice` is not one.
    this.#bytes = new Uint8Array(before);
    this.#end = before.length;
  }

  apply(event: RecordedEvent): void {
    if (event.type === "write") this.#put(event.offset, event.bytes);
    else if (event.type === "zero") {
      const end = Math.min(this.#end, event.offset + event.length);
      if (end > event.offset) this.#bytes.fill(0, event.offset, end);
    } else if (event.type === "resize" && event.size < this.#end) {
      this.#bytes.fill(0, event.size, this.#end);
      this.#end = event.size;
    }
  }

  /** Some sectors of the change, chosen at random; a change of the size happens or not. */
  applyTorn(event: RecordedEvent, random: Random): void {
    if (event.type === "resize" || event.type === "flush") return;
    const length = event.type === "write" ? event.bytes.length : event.length;
    for (let at = event.offset; at < event.offset + length;) {
      const next = Math.min(event.offset + length, at - (at % SECTOR) + SECTOR);
      if (random.below(2) === 0) {
        if (event.type === "write") {
          this.#put(at, event.bytes.subarray(at - event.offset, next - event.offset));
        } else this.#bytes.fill(0, at, Math.min(next, Math.max(at, this.#end)));
      }
      at = next;
    }
  }

  content(): Uint8Array {
    return this.#bytes.slice(0, this.#end);
  }

  #put(offset: number, bytes: Uint8Array): void {
    const end = offset + bytes.length;
    if (end > this.#bytes.length) {
      const larger = new Uint8Array(end * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes.set(bytes, offset);
    this.#end = Math.max(this.#end, end);
  }
}
