import assert from "node:assert/strict";
import type { DeviceInfo } from "../contract/device.ts";
import { roundDown, roundUp } from "../io/requests.ts";

/** What a disk must read as: plain bytes, and which of them are certain. */
export class ContentModel {
  #bytes: Uint8Array;
  /** 1 where the content is certain. */
  #known: Uint8Array;

  /** Starts as `content`, all certain. */
  constructor(content: Uint8Array) {
    this.#bytes = content.slice();
    this.#known = new Uint8Array(content.byteLength).fill(1);
  }

  get size(): number {
    return this.#bytes.byteLength;
  }

  /** A copy that goes its own way. */
  clone(): ContentModel {
    const copy = new ContentModel(this.#bytes);
    copy.#known.set(this.#known);
    return copy;
  }

  write(offset: number, data: Uint8Array): void {
    this.#bytes.set(data, offset);
    this.#known.fill(1, offset, offset + data.byteLength);
  }

  zero(offset: number, length: number): void {
    this.#bytes.fill(0, offset, offset + length);
    this.#known.fill(1, offset, offset + length);
  }

  /** Nothing is certain about the range any more. */
  forget(offset: number, length: number): void {
    this.#known.fill(0, offset, offset + length);
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

  /** New space reads as zeroes. */
  resize(size: number): void {
    const bytes = new Uint8Array(size);
    const known = new Uint8Array(size).fill(1);
    bytes.set(this.#bytes.subarray(0, size));
    known.set(this.#known.subarray(0, size));
    this.#bytes = bytes;
    this.#known = known;
  }

  /** Asserts that what was read at `offset` is what the disk must hold. */
  check(offset: number, actual: Uint8Array, what: string): void {
    const expected = this.#bytes.subarray(offset, offset + actual.byteLength);
    if (Buffer.compare(actual, expected) === 0) return;
    const at = actual.findIndex(
      (byte, index) => byte !== expected[index] && this.#known[offset + index] === 1,
    );
    if (at < 0) return;
    assert.fail(`${what}: byte ${offset + at} is ${String(actual[at])}, expected ${String(expected[at])}`);
  }
}
