import type { AsyncFunction, CLibrary } from "../../../native/c-library.ts";
import { ContextPool } from "./context-pool.ts";
import type { Candidate } from "./native-decoder.ts";

/** Constants of zlib's public header. */
const Z_FINISH = 4;
const Z_OK = 0;
const Z_STREAM_END = 1;
const Z_BUF_ERROR = -5;
/** A stream without zlib's header, with the largest window. */
const RAW_WINDOW_BITS = -15;

/** `z_stream` of zlib's public header, where pointers and `long` have 64 bits. */
const Z_STREAM_BYTES = 112;
/** Indices of its members, in 64 and in 32-bit words. */
const NEXT_IN = 0;
const AVAIL_IN = 2;
const NEXT_OUT = 3;
const AVAIL_OUT = 8;

/** Prefixes that a runtime's zlib may have; Chromium's, which Node builds with, has one in some versions. */
const PREFIXES = ["Cr_z_", ""];

/** "Blockmirror ", ten times, as a raw deflate stream. */
const SAMPLE = "c8rJT87OzSwqyi9ScKIjGwA=";

interface Inflate {
  readonly init: (stream: Uint8Array, windowBits: number, version: string, streamBytes: number) => number;
  readonly reset: (stream: Uint8Array) => number;
  readonly inflate: AsyncFunction;
}

/** zlib's `inflate`, called on the thread pool; undefined where it is not exported. */
export function openNativeInflate(library: CLibrary): Candidate | undefined {
  const found = findInflate(library);
  if (found === undefined) return undefined;
  const streams = new ContextPool(() => new InflateStream(found, library));
  return {
    decode: (input, cluster) => streams.use((stream) => stream.decode(input, cluster)),
    sample: Buffer.from(SAMPLE, "base64"),
    decoded: Buffer.from("Blockmirror ".repeat(10)),
  };
}

function findInflate({ functions }: CLibrary): Inflate | undefined {
  for (const prefix of PREFIXES) {
    try {
      return {
        init: functions.func(`int ${prefix}inflateInit2_(void *, int, const char *, int)`),
        reset: functions.func(`int ${prefix}inflateReset(void *)`),
        inflate: functions.func(`int ${prefix}inflate(void *, int)`),
      };
    } catch {
      // Not exported by this name.
    }
  }
  return undefined;
}

/** One `z_stream`, used again for each cluster. It lives as long as the process: what it owns outside is never freed. */
class InflateStream {
  readonly #zlib: Inflate;
  readonly #addressOf: CLibrary["addressOf"];
  readonly #stream = new Uint8Array(new ArrayBuffer(Z_STREAM_BYTES));
  readonly #pointers = new BigUint64Array(this.#stream.buffer);
  readonly #counts = new Uint32Array(this.#stream.buffer);
  /** What the call works with, which lives as long as that; empty while there is none. */
  #memory: readonly Uint8Array[] = [];

  constructor(zlib: Inflate, { addressOf }: CLibrary) {
    this.#zlib = zlib;
    this.#addressOf = addressOf;
    const version = process.versions["zlib"] ?? "1";
    const status = zlib.init(this.#stream, RAW_WINDOW_BITS, version, Z_STREAM_BYTES);
    if (status !== Z_OK) throw new Error(`zlib: inflateInit2 failed with ${status}`);
  }

  decode(input: Uint8Array, cluster: Uint8Array): Promise<boolean> {
    if (this.#memory.length > 0) throw new Error("zlib: this stream is in use");
    this.#zlib.reset(this.#stream);
    this.#memory = [input, cluster];
    this.#pointers[NEXT_IN] = this.#addressOf(input);
    this.#counts[AVAIL_IN] = input.length;
    this.#pointers[NEXT_OUT] = this.#addressOf(cluster);
    this.#counts[AVAIL_OUT] = cluster.length;
    return new Promise((resolve, reject) => {
      this.#zlib.inflate.async(this.#stream, Z_FINISH, (error, status) => {
        this.#memory = [];
        if (error !== null && error !== undefined)
          reject(new Error("zlib could not be called", { cause: error }));
        // A stream that has filled the cluster need not end there, nor say that it ends.
        else resolve(this.#counts[AVAIL_OUT] === 0 && isGood(status));
      });
    });
  }
}

function isGood(status: number): boolean {
  return status === Z_STREAM_END || status === Z_OK || status === Z_BUF_ERROR;
}
