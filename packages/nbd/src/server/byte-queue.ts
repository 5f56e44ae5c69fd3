const EMPTY: Buffer = Buffer.alloc(0);

/** Largest frame in bytes: the longest request header. */
const MAX_FRAME = 32;

/**
 * Bytes that have arrived and wait to be taken, in the chunks they arrived in. Nothing is copied unless a small piece that
 * crosses chunks has to be contiguous. Chunks given to it must not be changed afterwards.
 */
export class ByteQueue {
  readonly #chunks: Buffer[] = [];
  /** Chunks before this index have been taken: shifting an array for each one would cost more. */
  #first = 0;
  /** Bytes of the first chunk that have been taken. */
  #used = 0;
  #length = 0;
  /** Holds a frame that crossed chunks. */
  readonly #straddling: Buffer = Buffer.alloc(MAX_FRAME);

  /** Bytes that can be taken. */
  get length(): number {
    return this.#length;
  }

  /** Adds a chunk behind the others. */
  push(chunk: Buffer): void {
    if (chunk.byteLength === 0) return;
    this.#chunks.push(chunk);
    this.#length += chunk.byteLength;
  }

  /**
   * Takes exactly `length` bytes as one buffer: a view where one chunk holds them all, a copy otherwise.
   * @throws RangeError when fewer are there.
   */
  take(length: number): Buffer {
    this.#demand(length);
    const head = this.#chunks[this.#first];
    if (head !== undefined && head.byteLength - this.#used >= length) {
      const view = head.subarray(this.#used, this.#used + length);
      this.#advance(head, length);
      return view;
    }
    const copy = Buffer.allocUnsafe(length);
    this.takeInto(copy);
    return copy;
  }

  /** Where {@link frame} found the bytes. */
  frameStart = 0;

  /**
   * Takes exactly `length` bytes, which must be there and be at most 32, and makes no object for it: they begin
   * at {@link frameStart} of the buffer returned, and are valid until the next call.
   */
  frame(length: number): Buffer {
    this.#demand(length);
    const head = this.#head();
    if (head.byteLength - this.#used >= length) {
      this.frameStart = this.#used;
      this.#advance(head, length);
      return head;
    }
    this.frameStart = 0;
    let filled = 0;
    while (filled < length) {
      const part = this.#head();
      const count = Math.min(length - filled, part.byteLength - this.#used);
      part.copy(this.#straddling, filled, this.#used, this.#used + count);
      this.#advance(part, count);
      filled += count;
    }
    return this.#straddling;
  }

  /** Takes as many bytes as `target` has, copying them. */
  takeInto(target: Buffer): void {
    this.#demand(target.byteLength);
    let filled = 0;
    while (filled < target.byteLength) {
      const head = this.#head();
      const part = Math.min(target.byteLength - filled, head.byteLength - this.#used);
      head.copy(target, filled, this.#used, this.#used + part);
      this.#advance(head, part);
      filled += part;
    }
  }

  /**
   * Takes up to `length` bytes without copying and appends them to `pieces`; returns how many there were. For payloads that
   * are handed on as a vector.
   */
  takePieces(length: number, pieces: Buffer[]): number {
    const most = Math.min(length, this.#length);
    let taken = 0;
    while (taken < most) {
      const head = this.#head();
      const part = Math.min(most - taken, head.byteLength - this.#used);
      const whole = part === head.byteLength;
      pieces.push(whole ? head : head.subarray(this.#used, this.#used + part));
      this.#advance(head, part);
      taken += part;
    }
    return taken;
  }

  /** Drops up to `length` bytes; returns how many. */
  skip(length: number): number {
    const most = Math.min(length, this.#length);
    let skipped = 0;
    while (skipped < most) {
      const head = this.#head();
      const part = Math.min(most - skipped, head.byteLength - this.#used);
      this.#advance(head, part);
      skipped += part;
    }
    return skipped;
  }

  /** Drops everything. */
  clear(): void {
    this.skip(this.#length);
  }

  #head(): Buffer {
    const head = this.#chunks[this.#first];
    if (head === undefined) throw new RangeError("ByteQueue: empty");
    return head;
  }

  #advance(head: Buffer, length: number): void {
    this.#used += length;
    this.#length -= length;
    if (this.#used < head.byteLength) return;
    this.#used = 0;
    // A chunk that was used up is not kept alive by its place in the list.
    this.#chunks[this.#first] = EMPTY;
    this.#first += 1;
    if (this.#first === this.#chunks.length) {
      this.#chunks.length = 0;
      this.#first = 0;
    } else if (this.#first === 64) {
      this.#chunks.splice(0, this.#first);
      this.#first = 0;
    }
  }

  #demand(length: number): void {
    if (length > this.#length)
      throw new RangeError(`ByteQueue: ${length} bytes wanted, ${this.#length} are there`);
  }
}
