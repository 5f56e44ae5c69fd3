import type { IoVec } from "@blockmirror/block-driver";

/** A position in the vector of a read, where arriving data goes. */
export class Scatter {
  #iov: IoVec = [];
  #piece = 0;
  #used = 0;

  /** Moves to byte `position` of `iov`, which must have more than that. */
  seek(iov: IoVec, position: number): void {
    this.#iov = iov;
    this.#piece = 0;
    this.#used = position;
    this.#skipFull();
  }

  /** Forgets the vector. */
  release(): void {
    this.#iov = [];
  }

  /** Memory for the next bytes: up to `limit`, or to the end of the piece. */
  target(limit: number): Uint8Array {
    const piece = this.#iov[this.#piece];
    if (piece === undefined) throw new RangeError("Scatter: beyond the end of the vector");
    return piece.subarray(this.#used, Math.min(piece.byteLength, this.#used + limit));
  }

  /** Moves on by `count` bytes, at most what the last `target` had. */
  advance(count: number): void {
    this.#used += count;
    this.#skipFull();
  }

  /** Copies from `source` and moves on. */
  copy(source: Uint8Array): void {
    for (let done = 0; done < source.byteLength;) {
      const target = this.target(source.byteLength - done);
      target.set(source.subarray(done, done + target.byteLength));
      done += target.byteLength;
      this.advance(target.byteLength);
    }
  }

  /** Fills `length` bytes with zeroes and moves on. */
  zero(length: number): void {
    for (let left = length; left > 0;) {
      const target = this.target(left);
      target.fill(0);
      left -= target.byteLength;
      this.advance(target.byteLength);
    }
  }

  #skipFull(): void {
    for (let piece = this.#iov[this.#piece]; piece !== undefined; piece = this.#iov[this.#piece]) {
      if (this.#used < piece.byteLength) return;
      this.#used -= piece.byteLength;
      this.#piece += 1;
    }
  }
}
