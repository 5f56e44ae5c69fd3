import assert from "node:assert/strict";
import type { DeviceInfo } from "../contract/device.ts";
import { roundDown, roundUp } from "../io/requests.ts";

/** What a request may have left in its range, byte by byte: these bytes, or what was there before. */
interface Possibility {
  readonly offset: number;
  readonly length: number;
  /** Undefined: anything at all. */
  readonly bytes: Uint8Array | undefined;
  readonly since: number;
}

/**
 * What a disk must read as. Requests that failed, and discards that promise nothing, leave more than one possibility for a
 * byte, until something certain is written over it.
 */
export class ContentModel {
  #bytes: Uint8Array;
  /** When each byte was last certain; earlier possibilities are over. */
  #certainSince: Float64Array;
  #possibilities: Possibility[] = [];
  #now = 0;

  /** Starts as `content`, all certain. */
  constructor(content: Uint8Array) {
    this.#bytes = content.slice();
    this.#certainSince = new Float64Array(content.byteLength);
  }

  get size(): number {
    return this.#bytes.byteLength;
  }

  /** A copy that goes its own way. */
  clone(): ContentModel {
    const copy = new ContentModel(this.#bytes);
    copy.#certainSince.set(this.#certainSince);
    copy.#possibilities = [...this.#possibilities];
    copy.#now = this.#now;
    return copy;
  }

  write(offset: number, data: Uint8Array): void {
    this.#now += 1;
    this.#bytes.set(data, offset);
    this.#certainSince.fill(this.#now, offset, offset + data.byteLength);
  }

  zero(offset: number, length: number): void {
    this.write(offset, new Uint8Array(length));
  }

  /** The data may have been written, all of it or any part. */
  mayWrite(offset: number, data: Uint8Array): void {
    this.#allow({ offset, length: data.byteLength, bytes: data });
  }

  /** The range may have become zeroes, all of it or any part. */
  mayZero(offset: number, length: number): void {
    this.mayWrite(offset, new Uint8Array(length));
  }

  /** Nothing is certain about the range any more. */
  forget(offset: number, length: number): void {
    this.#allow({ offset, length, bytes: undefined });
  }

  /** Follows a discard by what the device announces; unaligned ends are dropped. */
  discard(offset: number, length: number, info: DeviceInfo): void {
    const unit = info.align.discard;
    const start = roundUp(offset, unit);
    const end = offset + length === info.size ? info.size : roundDown(offset + length, unit);
    if (end <= start || info.can.discard === "no") return;
    if (info.can.discard === "zeroes") this.zero(start, end - start);
    else this.forget(start, end - start);
  }

  /** Follows a discard that failed. */
  mayDiscard(offset: number, length: number, info: DeviceInfo): void {
    if (info.can.discard === "hint") this.forget(offset, length);
    else if (info.can.discard === "zeroes") this.mayZero(offset, length);
  }

  /** New space reads as zeroes. */
  resize(size: number): void {
    this.#now += 1;
    const bytes = new Uint8Array(size);
    const certainSince = new Float64Array(size).fill(this.#now);
    bytes.set(this.#bytes.subarray(0, size));
    certainSince.set(this.#certainSince.subarray(0, size));
    this.#bytes = bytes;
    this.#certainSince = certainSince;
  }

  /** Asserts that what was read at `offset` is what the disk must hold. */
  check(offset: number, actual: Uint8Array, what: string): void {
    const expected = this.#bytes.subarray(offset, offset + actual.byteLength);
    if (Buffer.compare(actual, expected) === 0) return;
    const at = actual.findIndex(
      (byte, index) => byte !== expected[index] && !this.#isPossible(offset + index, byte),
    );
    if (at < 0) return;
    assert.fail(`${what}: byte ${offset + at} is ${String(actual[at])}, expected ${String(expected[at])}`);
  }

  #allow(possibility: Omit<Possibility, "since">): void {
    if (possibility.length === 0) return;
    this.#now += 1;
    this.#possibilities.push({ ...possibility, since: this.#now });
  }

  #isPossible(at: number, byte: number): boolean {
    const certainSince = this.#certainSince[at] ?? 0;
    return this.#possibilities.some(({ offset, length, bytes, since }) => {
      if (since <= certainSince || at < offset || at >= offset + length) return false;
      return bytes === undefined || bytes[at - offset] === byte;
    });
  }
}
