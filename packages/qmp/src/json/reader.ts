// Only the type: importing the module would load all that `util` has, at every start.
import type { TextDecoder as Utf8Decoder } from "node:util";
import { JsonSyntaxError, parseJson } from "./parse.ts";
import { MessageSplitter, type StreamLimits } from "./splitter.ts";
import type { JsonValue } from "./value.ts";

/** What a {@link JsonReader} found in the stream. */
export type JsonRead =
  | { readonly kind: "value"; readonly value: JsonValue }
  /** Not JSON, or beyond the limits. The reader has recovered and goes on. */
  | { readonly kind: "error"; readonly message: string };

/** Limits of a {@link JsonReader}. */
export interface JsonReaderOptions {
  /** How deep arrays and objects may be nested. Default 1024, as QEMU's. */
  readonly maxDepth?: number;
  /** Bytes of one message. Default 64 MiB. */
  readonly maxBytes?: number;
}

const DEFAULT_LIMITS: StreamLimits = { maxDepth: 1024, maxBytes: 64 * 1024 * 1024 };

/** JSON.parse reads these right, and fast: no number that it would round, no single quote outside of a string. */
const MAY_NEED_OWN_PARSER = /'|[0-9]{16}/;

/**
 * Reads JSON values from a stream of bytes, with or without newlines or anything else between them, however the bytes
 * are cut into chunks. Understands what QEMU's monitor understands, single quotes included, and recovers from broken
 * input as it does.
 */
export class JsonReader {
  readonly #splitter: MessageSplitter;
  readonly #maxDepth: number;
  readonly #isStrict: boolean;
  readonly #decoder: Utf8Decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  /**
   * @param mode `strict` refuses members named twice, as a server should; `fast` leaves plain messages to JSON.parse.
   * @throws RangeError for limits that are not positive integers.
   */
  constructor(mode: "strict" | "fast" = "strict", options: JsonReaderOptions = {}) {
    const limits = { ...DEFAULT_LIMITS, ...options };
    for (const [name, limit] of Object.entries(limits)) {
      if (!Number.isSafeInteger(limit) || limit < 1)
        throw new RangeError(`${name} must be a positive integer`);
    }
    this.#splitter = new MessageSplitter(limits);
    this.#maxDepth = limits.maxDepth;
    this.#isStrict = mode === "strict";
  }

  /** Whether the stream ended in the middle of a message. */
  get isInsideMessage(): boolean {
    return this.#splitter.isInsideMessage;
  }

  /** Takes the next bytes and answers what is complete now, in order. */
  push(chunk: Uint8Array): JsonRead[] {
    return this.#splitter
      .push(chunk)
      .map((piece) => (piece.kind === "error" ? piece : this.#read(piece.bytes)));
  }

  #read(bytes: Uint8Array): JsonRead {
    let text: string;
    try {
      text = this.#decoder.decode(bytes);
    } catch {
      return { kind: "error", message: "JSON parse error, invalid UTF-8 sequence" };
    }
    try {
      return { kind: "value", value: this.#parse(text) };
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      const message = error instanceof JsonSyntaxError ? error.message : `JSON parse error, ${error.message}`;
      return { kind: "error", message };
    }
  }

  #parse(text: string): JsonValue {
    if (this.#isStrict || MAY_NEED_OWN_PARSER.test(text)) return parseJson(text, this.#maxDepth);
    const value: JsonValue = JSON.parse(text);
    return value;
  }
}
