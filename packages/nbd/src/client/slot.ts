import { ReadCoverage } from "./read-coverage.ts";
import type { Request } from "./request.ts";

/** Bytes of a request's header, with extended headers and without. */
const HEADER_SIZE = 32;
const COMPACT_HEADER_SIZE = 28;

/**
 * A place for one request in flight on a connection, with what is known of its answer so far. Slots are used again; the
 * cookie counts their uses, so that a late answer to an earlier use is recognised as wrong.
 */
export class Slot {
  readonly index: number;
  /** Memory of the request's header; it must not change while the socket sends from it. */
  readonly header: Buffer;
  /** The same memory without what only extended headers have. */
  readonly compactHeader: Uint8Array;
  readonly view: DataView;
  /** How often the slot was used: the high half of the cookie. */
  generation = 0;
  request: Request | undefined;
  /** The socket has taken header and payload: the buffers are the caller's again. */
  taken = false;
  /** The last word of the server is in. */
  answered = false;
  /** What of a read has arrived; only where replies come in chunks. */
  coverage: ReadCoverage | undefined;
  /** Block status has been answered, of the context that was asked about. */
  hasStatus = false;
  /** Contexts whose status came so far. */
  statuses = 0;
  /** NBD error number of an error chunk, and its text. */
  errorNumber = 0;
  errorText = "";
  /** Error chunks so far. */
  errors = 0;

  constructor(index: number) {
    this.index = index;
    this.header = Buffer.allocUnsafeSlow(HEADER_SIZE);
    this.compactHeader = this.header.subarray(0, COMPACT_HEADER_SIZE);
    this.view = new DataView(this.header.buffer);
  }

  /** Begins a new use for `request`. */
  occupy(request: Request, isChunked: boolean): void {
    this.generation = (this.generation + 1) >>> 0;
    this.request = request;
    this.taken = false;
    this.answered = false;
    this.hasStatus = false;
    this.statuses = 0;
    this.errorNumber = 0;
    this.errorText = "";
    this.errors = 0;
    this.coverage =
      isChunked && request.operation === "read"
        ? new ReadCoverage(request.offset, request.length)
        : undefined;
  }
}
