import { Command, CommandFlag, EXTENDED_REQUEST_MAGIC, REQUEST_MAGIC } from "../protocol/constants.ts";
import { readUint64 } from "../protocol/uint64.ts";
import type { ByteQueue } from "./byte-queue.ts";
import { Stage, type Request } from "./request.ts";

/** Packets below this are copied together, so that a payload is not kept in a million pieces. */
const MIN_PIECE = 4096;
const GATHER_SIZE: number = 256 * 1024;

const COMPACT_HEADER = 28;
const EXTENDED_HEADER = 32;

/** Takes requests out of the bytes of a connection: their headers, and their payloads. */
export class RequestReader {
  readonly #queue: ByteQueue;
  readonly #isExtended: boolean;
  readonly #headerSize: number;

  constructor(queue: ByteQueue, isExtended: boolean) {
    this.#queue = queue;
    this.#isExtended = isExtended;
    this.#headerSize = isExtended ? EXTENDED_HEADER : COMPACT_HEADER;
  }

  /** Whether the header of a request has arrived. */
  get hasHeader(): boolean {
    return this.#queue.length >= this.#headerSize;
  }

  /** Takes a header; false when it is none, and nothing tells where the next request would begin. */
  header(request: Request): boolean {
    const isExtended = this.#isExtended;
    const frame = this.#queue.frame(this.#headerSize);
    const at = this.#queue.frameStart;
    if (frame.readUInt32BE(at) !== (isExtended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC)) return false;
    request.flags = frame.readUInt16BE(at + 4);
    request.command = frame.readUInt16BE(at + 6);
    request.cookieHigh = frame.readUInt32BE(at + 8);
    request.cookieLow = frame.readUInt32BE(at + 12);
    request.offset = readUint64(frame, at + 16);
    request.offsetHigh = frame.readUInt32BE(at + 16);
    request.offsetLow = frame.readUInt32BE(at + 20);
    request.length = isExtended ? readUint64(frame, at + 24) : frame.readUInt32BE(at + 24);
    const hasPayload = isExtended
      ? (request.flags & CommandFlag.PayloadLength) !== 0
      : request.command === Command.Write;
    request.payload = hasPayload ? request.length : 0;
    request.stage = Stage.Announced;
    return true;
  }

  /** Takes what has arrived of a payload, without copying unless it comes in small packets; true when it is complete. */
  collect(request: Request): boolean {
    const queue = this.#queue;
    while (request.received < request.payload && queue.length > 0) {
      const missing = request.payload - request.received;
      const there = Math.min(missing, queue.length);
      if (request.gather === undefined && (there === missing || there >= MIN_PIECE)) {
        request.received += queue.takePieces(there, request.pieces);
        continue;
      }
      request.gather ??= Buffer.allocUnsafe(Math.min(missing, GATHER_SIZE));
      const take = Math.min(there, request.gather.byteLength - request.gathered);
      queue.takeInto(request.gather.subarray(request.gathered, request.gathered + take));
      request.gathered += take;
      request.received += take;
      if (request.gathered === request.gather.byteLength) {
        request.pieces.push(request.gather);
        request.gather = undefined;
        request.gathered = 0;
      }
    }
    return request.received === request.payload;
  }

  /** Drops what has arrived of a payload that nobody wants; true when it is gone. */
  skip(request: Request): boolean {
    request.received += this.#queue.skip(request.payload - request.received);
    return request.received === request.payload;
  }
}
