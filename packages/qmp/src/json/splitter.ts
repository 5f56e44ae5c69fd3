/** One value cut out of the stream, or why there was none. */
export type Piece =
  | { readonly kind: "value"; readonly bytes: Uint8Array }
  | { readonly kind: "error"; readonly message: string };

/** Bounds of what a stream may make its reader hold. */
export interface StreamLimits {
  /** How deep arrays and objects may be nested. */
  readonly maxDepth: number;
  /** Bytes of one message. */
  readonly maxBytes: number;
}

const TAB = 0x09;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const QUOTE = 0x22;
const APOSTROPHE = 0x27;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

function isSpace(byte: number): boolean {
  return byte === SPACE || byte === LINE_FEED || byte === CARRIAGE_RETURN || byte === TAB;
}

function isStructural(byte: number): boolean {
  return (
    byte === OPEN_BRACE ||
    byte === CLOSE_BRACE ||
    byte === OPEN_BRACKET ||
    byte === CLOSE_BRACKET ||
    byte === COMMA ||
    byte === COLON
  );
}

/** Letters, digits, sign and dot: what numbers and keywords consist of. */
function isWord(byte: number): boolean {
  return (
    (byte >= 0x30 && byte <= 0x39) ||
    (byte >= 0x61 && byte <= 0x7a) ||
    (byte >= 0x41 && byte <= 0x5a) ||
    byte === 0x2b ||
    byte === 0x2d ||
    byte === 0x2e
  );
}

function describe(byte: number): string {
  return byte > SPACE && byte < 0x7f
    ? `stray '${String.fromCharCode(byte)}'`
    : `stray byte 0x${byte.toString(16).padStart(2, "0")}`;
}

const EMPTY: Uint8Array = new Uint8Array(0);
/** Least memory for a message that comes in parts. */
const MIN_HELD = 1024;

/** Where the splitter stands. */
type State = "between" | "nested" | "string" | "escape" | "word" | "recovery";

/**
 * Cuts a byte stream into JSON values. Nothing separates messages in QMP: an object ends where its braces balance, and
 * several may come in one chunk, or one in many.
 *
 * Broken input makes one error and then recovers as QEMU's monitor does: what had come of the message is dropped, and
 * everything is skipped up to the next structural or control character. So a byte that occurs nowhere in JSON, such as
 * 0x01 or 0xFF, always brings the reader back to its beginning, even out of the middle of a string.
 */
export class MessageSplitter {
  readonly #limits: StreamLimits;
  #state: State = "between";
  #quote = QUOTE;
  /** Open braces and brackets, counted apart: either going below zero ends a message at once. */
  #braces = 0;
  #brackets = 0;
  /**
   * What came before of a message that has not ended, at the start of memory that grows with it. Not a list of chunks: of a peer
   * that sends single bytes, each would take hundreds.
   */
  #held: Uint8Array = EMPTY;
  #heldBytes = 0;

  constructor(limits: StreamLimits) {
    this.#limits = limits;
  }

  /** Whether a message has begun and not ended. */
  get isInsideMessage(): boolean {
    return this.#state !== "between" && this.#state !== "recovery";
  }

  /**
   * Takes the next bytes and answers what ended within them, in order. Values may be views of `chunk`: use them before
   * its owner changes it.
   */
  push(chunk: Uint8Array): Piece[] {
    const pieces: Piece[] = [];
    let start = 0;
    for (let at = 0; at < chunk.byteLength; at += 1) {
      const byte = chunk[at] ?? 0;
      if (this.#state === "between" || this.#state === "recovery") start = at;
      const step = this.#step(byte);
      if (step === undefined) continue;
      if (step === "end" || step === "end-before") {
        const end = step === "end" ? at + 1 : at;
        pieces.push({ kind: "value", bytes: this.#take(chunk.subarray(start, end)) });
        if (step === "end-before") at -= 1; // this byte begins what follows
      } else {
        this.#drop();
        pieces.push({ kind: "error", message: step.error });
        this.#state = isStructural(byte) ? "between" : "recovery";
      }
    }
    if (this.isInsideMessage) this.#hold(chunk.subarray(start), pieces);
    return pieces;
  }

  /** The byte's effect: nothing, the end of a value with or before it, or an error. */
  #step(byte: number): undefined | "end" | "end-before" | { readonly error: string } {
    switch (this.#state) {
      case "between":
        return this.#begin(byte);
      case "nested":
        return this.#inside(byte);
      case "string":
        if (byte < SPACE || byte >= 0xfe) return { error: `JSON parse error, ${describe(byte)}` };
        if (byte === BACKSLASH) this.#state = "escape";
        else if (byte === this.#quote) return this.#endString();
        return undefined;
      case "escape":
        if (byte < SPACE || byte >= 0xfe) return { error: `JSON parse error, ${describe(byte)}` };
        this.#state = "string";
        return undefined;
      case "word":
        return isWord(byte) ? undefined : "end-before";
      case "recovery":
        if (isStructural(byte)) {
          this.#state = "between";
          return this.#begin(byte);
        }
        if (byte < SPACE || byte >= 0xfe) this.#state = "between";
        return undefined;
    }
  }

  #begin(byte: number): undefined | { readonly error: string } {
    if (isSpace(byte)) return undefined;
    if (byte === QUOTE || byte === APOSTROPHE) {
      this.#quote = byte;
      this.#state = "string";
    } else if (isWord(byte)) {
      this.#state = "word";
    } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      return this.#open(byte);
    } else if (isStructural(byte)) {
      return { error: "JSON parse error, expecting value" };
    } else {
      return { error: `JSON parse error, ${describe(byte)}` };
    }
    return undefined;
  }

  #inside(byte: number): undefined | "end" | { readonly error: string } {
    if (byte === QUOTE || byte === APOSTROPHE) {
      this.#quote = byte;
      this.#state = "string";
      return undefined;
    }
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) return this.#open(byte);
    if (byte === CLOSE_BRACE) this.#braces -= 1;
    else if (byte === CLOSE_BRACKET) this.#brackets -= 1;
    else if (isSpace(byte) || isWord(byte) || isStructural(byte)) return undefined;
    else return { error: `JSON parse error, ${describe(byte)}` };
    if (this.#braces < 0 || this.#brackets < 0) return { error: "JSON parse error, expecting value" };
    return this.#braces + this.#brackets === 0 ? "end" : undefined;
  }

  #open(byte: number): undefined | { readonly error: string } {
    if (byte === OPEN_BRACE) this.#braces += 1;
    else this.#brackets += 1;
    this.#state = "nested";
    return this.#braces + this.#brackets > this.#limits.maxDepth
      ? { error: "JSON nesting depth limit exceeded" }
      : undefined;
  }

  #endString(): undefined | "end" {
    this.#state = "nested";
    return this.#braces + this.#brackets === 0 ? "end" : undefined;
  }

  #hold(rest: Uint8Array, pieces: Piece[]): void {
    const length = this.#heldBytes + rest.byteLength;
    if (length > this.#limits.maxBytes) {
      this.#drop();
      this.#state = "recovery";
      pieces.push({
        kind: "error",
        message: `JSON message size limit of ${this.#limits.maxBytes} bytes exceeded`,
      });
      return;
    }
    // Copied, because the chunk belongs to the stream.
    this.#append(rest, length);
  }

  #append(rest: Uint8Array, length: number): void {
    if (length > this.#held.byteLength) {
      const larger = new Uint8Array(Math.max(length, this.#held.byteLength * 2, MIN_HELD));
      larger.set(this.#held.subarray(0, this.#heldBytes));
      this.#held = larger;
    }
    this.#held.set(rest, this.#heldBytes);
    this.#heldBytes = length;
  }

  #take(last: Uint8Array): Uint8Array {
    let bytes = last;
    if (this.#heldBytes > 0) {
      const length = this.#heldBytes + last.byteLength;
      this.#append(last, length);
      // The memory goes with the message: the next one begins with memory of its own.
      bytes = this.#held.subarray(0, length);
    }
    this.#drop();
    this.#state = "between";
    return bytes;
  }

  #drop(): void {
    this.#held = EMPTY;
    this.#heldBytes = 0;
    this.#braces = 0;
    this.#brackets = 0;
  }
}
