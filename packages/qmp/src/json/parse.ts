import type { JsonValue } from "./value.ts";

/** Why a text is not JSON. */
export class JsonSyntaxError extends SyntaxError {
  /** Where in the text, in UTF-16 units. */
  readonly position: number;

  constructor(message: string, position: number) {
    super(message);
    this.name = "JsonSyntaxError";
    this.position = position;
  }
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?/y;
/**
 * Longest number that is read, in characters. The longest that a program has reason to write, a double without its exponent,
 * has about 1100; and making an integer of millions of digits takes seconds, in which nobody else is served.
 */
const MAX_NUMBER_LENGTH = 4096;
const KEYWORD = /[a-z]+/y;
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  "'": "'",
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

/**
 * Reads one JSON value, as a QMP server has to: strings may be in single quotes, a member named twice is refused, and
 * whole numbers beyond 2^53-1 become `bigint`.
 *
 * @param maxDepth how deep arrays and objects may be nested.
 * @throws JsonSyntaxError
 */
export function parseJson(text: string, maxDepth: number): JsonValue {
  const parser = new Parser(text, maxDepth);
  return parser.parse();
}

class Parser {
  readonly #text: string;
  readonly #maxDepth: number;
  #at = 0;
  #depth = 0;

  constructor(text: string, maxDepth: number) {
    this.#text = text;
    this.#maxDepth = maxDepth;
  }

  parse(): JsonValue {
    const value = this.#value();
    this.#skipSpace();
    if (this.#at < this.#text.length) throw this.#error("unexpected text after the value");
    return value;
  }

  #error(what: string): JsonSyntaxError {
    return new JsonSyntaxError(`JSON parse error, ${what}`, this.#at);
  }

  #skipSpace(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.#at += 1;
    }
  }

  #value(): JsonValue {
    this.#skipSpace();
    const first = this.#text[this.#at];
    if (first === "{") return this.#nested(() => this.#object());
    if (first === "[") return this.#nested(() => this.#array());
    if (first === '"' || first === "'") return this.#string(first);
    if (first !== undefined && (first === "-" || (first >= "0" && first <= "9"))) return this.#number();
    if (first !== undefined && first >= "a" && first <= "z") return this.#keyword();
    throw this.#error("expecting value");
  }

  #nested<Value>(read: () => Value): Value {
    this.#depth += 1;
    if (this.#depth > this.#maxDepth) throw this.#error("nesting depth limit exceeded");
    this.#at += 1;
    const value = read();
    this.#depth -= 1;
    return value;
  }

  #object(): JsonValue {
    const object: Record<string, JsonValue> = {};
    if (this.#take("}")) return object;
    do {
      this.#skipSpace();
      const quote = this.#text[this.#at];
      if (quote !== '"' && quote !== "'") throw this.#error("expecting value");
      const name = this.#string(quote);
      if (Object.hasOwn(object, name)) throw this.#error("duplicate key");
      if (!this.#take(":")) throw this.#error("missing : in object pair");
      // Not an assignment: a member named __proto__ is a member like any other.
      const value = this.#value();
      Object.defineProperty(object, name, { value, writable: true, enumerable: true, configurable: true });
    } while (this.#take(","));
    if (!this.#take("}")) throw this.#error("expected separator in dict");
    return object;
  }

  #array(): JsonValue {
    const array: JsonValue[] = [];
    if (this.#take("]")) return array;
    do array.push(this.#value());
    while (this.#take(","));
    if (!this.#take("]")) throw this.#error("expected separator in list");
    return array;
  }

  #take(character: string): boolean {
    this.#skipSpace();
    if (this.#text[this.#at] !== character) return false;
    this.#at += 1;
    return true;
  }

  #keyword(): JsonValue {
    KEYWORD.lastIndex = this.#at;
    const word = KEYWORD.exec(this.#text)?.[0] ?? "";
    const value = word === "null" ? null : word === "true" ? true : word === "false" ? false : undefined;
    if (value === undefined) throw this.#error(`invalid keyword '${word}'`);
    this.#at += word.length;
    return value;
  }

  #number(): number | bigint {
    NUMBER.lastIndex = this.#at;
    const match = NUMBER.exec(this.#text);
    if (match === null) throw this.#error("invalid number");
    const [digits, fraction, exponent] = match;
    const end = this.#at + digits.length;
    if (/[0-9A-Za-z.+_-]/.test(this.#text[end] ?? "")) throw this.#error("invalid number");
    if (digits.length > MAX_NUMBER_LENGTH) {
      throw this.#error(`a number of ${digits.length} characters; at most ${MAX_NUMBER_LENGTH}`);
    }
    const value = Number(digits);
    if (!Number.isFinite(value) && (fraction !== undefined || exponent !== undefined)) {
      throw this.#error("number out of range");
    }
    this.#at = end;
    const isWhole = fraction === undefined && exponent === undefined;
    return isWhole && !Number.isSafeInteger(value) ? BigInt(digits) : value;
  }

  #string(quote: string): string {
    this.#at += 1;
    let value = "";
    let copied = this.#at;
    for (; this.#at < this.#text.length; this.#at += 1) {
      const character = this.#text[this.#at] ?? "";
      if (character === quote) {
        value += this.#text.slice(copied, this.#at);
        this.#at += 1;
        return value;
      }
      if (character < " ") throw this.#error("control character in string");
      if (character !== "\\") continue;
      value += this.#text.slice(copied, this.#at);
      value += this.#escape();
      copied = this.#at + 1;
    }
    throw this.#error("string without end");
  }

  /** Reads an escape and stays on its last character. */
  #escape(): string {
    this.#at += 1;
    const letter = this.#text[this.#at] ?? "";
    if (letter !== "u") {
      const character = ESCAPES[letter];
      if (character === undefined) throw this.#error("invalid escape sequence in string");
      return character;
    }
    const unit = this.#hexUnit();
    if (unit < 0xd800 || unit > 0xdfff) return String.fromCharCode(unit);
    if (unit < 0xdc00 && this.#text.startsWith("\\u", this.#at + 1)) {
      this.#at += 2;
      const low = this.#hexUnit();
      if (low >= 0xdc00 && low <= 0xdfff) return String.fromCharCode(unit, low);
    }
    throw this.#error(`\\u${unit.toString(16)} is not a valid Unicode character`);
  }

  #hexUnit(): number {
    const hex = this.#text.slice(this.#at + 1, this.#at + 5);
    if (!/^[0-9a-fA-F]{4}$/.test(hex)) throw this.#error("invalid hex escape in string");
    this.#at += 4;
    return Number.parseInt(hex, 16);
  }
}
