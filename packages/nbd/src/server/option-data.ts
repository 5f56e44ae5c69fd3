import { MAX_STRING } from "../protocol/constants.ts";

/** The data of an option contradicts itself. */
export class OptionDataError extends Error {
  override readonly name: string = "OptionDataError";
}

const DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Takes the data of one option apart; every length in it is checked against what is there. */
export class OptionData {
  readonly #data: Buffer;
  #at = 0;

  constructor(data: Buffer) {
    this.#data = data;
  }

  /** A string with its 32-bit length in front. */
  string(): string {
    const length = this.#take(4).readUInt32BE(0);
    if (length > MAX_STRING) throw new OptionDataError(`a string of ${length} bytes; at most ${MAX_STRING}`);
    return decode(this.#take(length));
  }

  /** Integers with their 16-bit count in front. */
  uint16List(): readonly number[] {
    const count = this.#take(2).readUInt16BE(0);
    const bytes = this.#take(count * 2);
    return Array.from({ length: count }, (_, index) => bytes.readUInt16BE(index * 2));
  }

  /** Strings with their 32-bit count in front. */
  stringList(): readonly string[] {
    const count = this.#take(4).readUInt32BE(0);
    // Each one has a length at least, so a count that cannot be true is refused before anything is made of it.
    if (count * 4 > this.#data.byteLength - this.#at) throw new OptionDataError("more strings than data");
    return Array.from({ length: count }, () => this.string());
  }

  /** All that is left as a name, or undefined when it is none. */
  rest(): string | undefined {
    const bytes = this.#take(this.#data.byteLength - this.#at);
    if (bytes.byteLength > MAX_STRING) return undefined;
    try {
      return decode(bytes);
    } catch {
      return undefined;
    }
  }

  /** Nothing may be left. */
  end(): void {
    const left = this.#data.byteLength - this.#at;
    if (left > 0) throw new OptionDataError(`${left} bytes too many`);
  }

  #take(length: number): Buffer {
    if (length > this.#data.byteLength - this.#at) throw new OptionDataError("the data is too short");
    this.#at += length;
    return this.#data.subarray(this.#at - length, this.#at);
  }
}

function decode(bytes: Buffer): string {
  let value: string;
  try {
    value = DECODER.decode(bytes);
  } catch {
    throw new OptionDataError("a string is not UTF-8");
  }
  if (value.includes("\0")) throw new OptionDataError("a string has a NUL");
  return value;
}
