import { ProtocolError } from "./protocol-error.ts";

/** More separate pieces than this are no honest way to answer a read. */
const MAX_GAPS = 1024;

/**
 * Which bytes of a read have arrived. A structured reply may come in chunks of any order; together they cover the
 * request exactly once (NBD protocol, "Structured reply chunk").
 */
export class ReadCoverage {
  readonly #offset: number;
  readonly #end: number;
  /** Ranges behind the contiguous start, as `[start, end)` in ascending order; nearly always empty. */
  readonly #ahead: (readonly [number, number])[] = [];
  /** Everything from the start of the request to here has arrived. */
  #contiguous: number;

  constructor(offset: number, length: number) {
    this.#offset = offset;
    this.#end = offset + length;
    this.#contiguous = offset;
  }

  get isComplete(): boolean {
    return this.#contiguous === this.#end;
  }

  /**
   * Notes a chunk.
   * @throws ProtocolError when it is empty, leaves the request, or repeats what has arrived.
   */
  add(offset: number, length: number): void {
    const end = offset + length;
    if (length < 1 || offset < this.#offset || end > this.#end) {
      throw new ProtocolError(
        `a chunk of ${length} bytes at ${offset} does not belong to the read of ${this.#offset}..${this.#end}`,
      );
    }
    let index = 0;
    while (index < this.#ahead.length && (this.#ahead[index]?.[0] ?? 0) < offset) index += 1;
    const before = this.#ahead[index - 1];
    const after = this.#ahead[index];
    const repeats =
      offset < this.#contiguous ||
      (before !== undefined && before[1] > offset) ||
      (after !== undefined && after[0] < end);
    if (repeats) throw new ProtocolError(`a chunk of ${length} bytes at ${offset} was sent twice`);
    if (offset > this.#contiguous) {
      if (this.#ahead.length === MAX_GAPS) {
        throw new ProtocolError(`a read was answered in more than ${MAX_GAPS} scattered pieces`);
      }
      this.#ahead.splice(index, 0, [offset, end]);
      return;
    }
    this.#contiguous = end;
    while (this.#ahead[0]?.[0] === this.#contiguous) this.#contiguous = this.#ahead.shift()?.[1] ?? 0;
  }
}
