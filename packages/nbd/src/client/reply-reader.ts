import {
  ChunkFlag,
  ChunkType,
  EXTENDED_REPLY_MAGIC,
  SIMPLE_REPLY_MAGIC,
  STRUCTURED_REPLY_MAGIC,
} from "../protocol/constants.ts";
import type { ExtentReader } from "./extent-reader.ts";
import type { ReplyForm } from "./negotiated.ts";
import { ProtocolError } from "./protocol-error.ts";
import type { Request } from "./request.ts";
import { Scatter } from "./scatter.ts";
import type { Slot } from "./slot.ts";
import type { ByteSink } from "./wire.ts";

const STAGE_SIZE = 64 * 1024;
/** What the stage takes at once while bulk data is expected: what lands there has to be copied once more. */
const BULK_STAGE_SIZE = 1024;
/** Smallest piece that the kernel is asked to fill directly; below it one more copy is cheaper than one more call. */
const MIN_DIRECT = 8 * 1024;

const SIMPLE_HEADER = 16;
const STRUCTURED_HEADER = 20;
const EXTENDED_HEADER = 32;
/** Longest text of an error (NBD protocol: strings are at most 4096 bytes), and its fixed parts. */
const MAX_ERROR_PAYLOAD = 4096 + 6 + 8;
const MAX_ERRORS_PER_REPLY = 16;

/** Who the replies belong to. */
export interface ReplyOwner {
  /** The slot a cookie names, if that request is in flight. */
  find(generation: number, index: number): Slot | undefined;
  /** The server has said all it has to say about the slot's request. */
  finished(slot: Slot): void;
  /** Whether replies with much data are on their way. */
  readonly expectsBulk: boolean;
}

/** What the bytes to come are. */
type Phase = "header" | "prefix" | "data" | "extents" | "skip";

/**
 * Reads the replies of the transmission phase. Data goes from the socket straight into the buffers of the read it
 * answers; everything else is short and goes through a stage of fixed size, so a server cannot make it grow.
 */
export class ReplyReader implements ByteSink {
  readonly #owner: ReplyOwner;
  readonly #form: ReplyForm;
  readonly #extents: ExtentReader;
  readonly #stage = Buffer.allocUnsafeSlow(STAGE_SIZE);
  readonly #scatter = new Scatter();
  #start = 0;
  #end = 0;
  #phase: Phase = "header";
  /** Bytes of the current payload that have not been dealt with. */
  #left = 0;
  /** The last target was a caller's buffer. */
  #isDirect = false;
  #slot: Slot | undefined;
  #type = 0;
  #isLast = false;

  constructor(owner: ReplyOwner, form: ReplyForm, extents: ExtentReader) {
    this.#owner = owner;
    this.#form = form;
    this.#extents = extents;
  }

  /** The slot whose read the kernel may be writing into right now. */
  get receiving(): Slot | undefined {
    return this.#phase === "data" ? this.#slot : undefined;
  }

  target(): Uint8Array {
    this.#isDirect = false;
    if (this.#start === this.#end) {
      this.#start = 0;
      this.#end = 0;
      if (this.#phase === "data" && this.#left >= MIN_DIRECT) {
        const target = this.#scatter.target(this.#left);
        if (target.byteLength >= MIN_DIRECT) {
          this.#isDirect = true;
          return target;
        }
      }
    } else if (this.#end === STAGE_SIZE || STAGE_SIZE - this.#start < MAX_ERROR_PAYLOAD) {
      this.#stage.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    const most =
      this.#owner.expectsBulk && this.#phase === "header" ? this.#end + BULK_STAGE_SIZE : STAGE_SIZE;
    return this.#stage.subarray(this.#end, Math.min(most, STAGE_SIZE));
  }

  received(count: number): void {
    if (this.#isDirect) {
      this.#scatter.advance(count);
      this.#left -= count;
      if (this.#left > 0) return;
      this.#endOfChunk();
    } else {
      this.#end += count;
    }
    while (this.#step());
  }

  /** Deals with what is staged; false when more bytes are needed. */
  #step(): boolean {
    const staged = this.#end - this.#start;
    switch (this.#phase) {
      case "header":
        return this.#header(staged);
      case "prefix":
        return this.#prefix(staged);
      case "extents":
        return this.#moreExtents(staged);
      case "data":
      case "skip": {
        const take = Math.min(staged, this.#left);
        if (this.#phase === "data") this.#scatter.copy(this.#stage.subarray(this.#start, this.#start + take));
        this.#start += take;
        this.#left -= take;
        if (this.#left > 0) return false;
        this.#endOfChunk();
        return true;
      }
    }
  }

  #header(staged: number): boolean {
    if (staged < 4) return false;
    const at = this.#start;
    const magic = this.#stage.readUInt32BE(at);
    if (magic === SIMPLE_REPLY_MAGIC && this.#form !== "extended") {
      if (staged < SIMPLE_HEADER) return false;
      this.#start += SIMPLE_HEADER;
      this.#simple(
        this.#stage.readUInt32BE(at + 4),
        this.#slotOf(this.#stage.readUInt32BE(at + 8), this.#stage.readUInt32BE(at + 12)),
      );
      return true;
    }
    const isExtended = magic === EXTENDED_REPLY_MAGIC && this.#form === "extended";
    if (!isExtended && !(magic === STRUCTURED_REPLY_MAGIC && this.#form === "structured")) {
      throw new ProtocolError(`a reply began with 0x${magic.toString(16)}, which is none of the agreed kind`);
    }
    const size = isExtended ? EXTENDED_HEADER : STRUCTURED_HEADER;
    if (staged < size) return false;
    this.#start += size;
    const flags = this.#stage.readUInt16BE(at + 4);
    const type = this.#stage.readUInt16BE(at + 6);
    const slot = this.#slotOf(this.#stage.readUInt32BE(at + 8), this.#stage.readUInt32BE(at + 12));
    let length = this.#stage.readUInt32BE(at + 16);
    if (isExtended) {
      const high = this.#stage.readUInt32BE(at + 24);
      length = high === 0 ? this.#stage.readUInt32BE(at + 28) : Number.MAX_SAFE_INTEGER;
    }
    this.#chunk(slot, flags, type, length);
    return true;
  }

  #slotOf(generation: number, index: number): Slot {
    const slot = this.#owner.find(generation, index);
    if (slot === undefined) throw new ProtocolError("a reply carried a cookie that no request in flight has");
    return slot;
  }

  #simple(errorNumber: number, slot: Slot): void {
    const request = requestOf(slot);
    const isChunked = this.#form !== "simple";
    if (request.operation === "read" && isChunked) {
      throw new ProtocolError("a read was answered with a simple reply, though structured ones were agreed");
    }
    if (slot.errors > 0 || slot.statuses > 0) {
      throw new ProtocolError("a reply in chunks was continued with a simple reply");
    }
    slot.errorNumber = errorNumber;
    if (request.operation === "read" && errorNumber === 0) {
      this.#slot = slot;
      this.#isLast = true;
      this.#receiveData(request, 0, request.length);
    } else if (request.operation === "status" && errorNumber === 0) {
      throw new ProtocolError("block status was answered without any");
    } else {
      this.#finish(slot);
    }
  }

  #chunk(slot: Slot, flags: number, type: number, length: number): void {
    const request = requestOf(slot);
    this.#slot = slot;
    this.#type = type;
    this.#isLast = (flags & ChunkFlag.Done) !== 0;
    this.#left = length;
    const tooLong = (most: number): void => {
      if (length <= most) return;
      throw new ProtocolError(
        `a chunk of type ${type} for a ${request.operation} of ${request.length} bytes has ${length} bytes`,
      );
    };
    if (isError(type)) {
      tooLong(MAX_ERROR_PAYLOAD);
    } else if (type === ChunkType.None) {
      tooLong(0);
      if (!this.#isLast) throw new ProtocolError("a chunk without content was not the last of its reply");
      this.#endOfChunk();
      return;
    } else if (type === ChunkType.OffsetData && request.operation === "read") {
      tooLong(request.length + 8);
    } else if (type === ChunkType.OffsetHole && request.operation === "read") {
      tooLong(12);
    } else if (type === this.#extents.chunkType && request.operation === "status") {
      tooLong(this.#extents.longest);
    } else {
      throw new ProtocolError(`a ${request.operation} was answered with a chunk of type ${type}`);
    }
    if (length < this.#prefixSize(type)) {
      throw new ProtocolError(`a chunk of type ${type} has only ${length} bytes`);
    }
    this.#phase = "prefix";
  }

  /** Bytes at the start of a payload that have to be seen as a whole. */
  #prefixSize(type: number): number {
    if (isError(type)) return Math.max(6, this.#left);
    if (type === ChunkType.OffsetData) return 9;
    if (type === ChunkType.OffsetHole) return 12;
    return this.#extents.prefixSize;
  }

  #prefix(staged: number): boolean {
    const type = this.#type;
    // Of data one byte more than the offset is promised; it need not be here yet.
    const size = type === ChunkType.OffsetData ? 8 : this.#prefixSize(type);
    if (staged < size) return false;
    const slot = this.#slot;
    if (slot === undefined) throw new ProtocolError("a payload belongs to no request");
    const request = requestOf(slot);
    const at = this.#start;
    this.#start += size;
    this.#left -= size;
    if (isError(type)) {
      this.#errorChunk(slot, at, size);
    } else if (type === ChunkType.OffsetData) {
      const offset = this.#offset(at);
      slot.coverage?.add(offset, this.#left);
      this.#receiveData(request, offset - request.offset, this.#left);
    } else if (type === ChunkType.OffsetHole) {
      if (this.#left > 0) throw new ProtocolError("a hole carries data");
      const offset = this.#offset(at);
      const length = this.#stage.readUInt32BE(at + 8);
      slot.coverage?.add(offset, length);
      if (request.iov !== undefined && !request.settled) {
        this.#scatter.seek(request.iov, offset - request.offset);
        this.#scatter.zero(length);
        this.#scatter.release();
      }
      this.#endOfChunk();
    } else {
      this.#phase = this.#extents.begin(slot, request, this.#stage, at, this.#left) ? "extents" : "skip";
    }
    return true;
  }

  #errorChunk(slot: Slot, at: number, size: number): void {
    const errorNumber = this.#stage.readUInt32BE(at);
    const textLength = this.#stage.readUInt16BE(at + 4);
    if (errorNumber === 0) throw new ProtocolError("an error chunk says that there is no error");
    if (textLength > size - 6) throw new ProtocolError("the text of an error is longer than its chunk");
    slot.errors += 1;
    if (slot.errors > MAX_ERRORS_PER_REPLY) throw new ProtocolError("a reply has no end of errors");
    // The first error is the cause; what follows are consequences.
    if (slot.errorNumber === 0) {
      slot.errorNumber = errorNumber;
      slot.errorText = this.#stage.toString("utf8", at + 6, at + 6 + textLength);
    }
    this.#endOfChunk();
  }

  #receiveData(request: Request, position: number, length: number): void {
    this.#left = length;
    if (length === 0) {
      this.#endOfChunk();
    } else if (request.iov === undefined || request.settled) {
      // The caller gave up: its buffers are its own again.
      this.#phase = "skip";
    } else {
      this.#phase = "data";
      this.#scatter.seek(request.iov, position);
    }
  }

  #moreExtents(staged: number): boolean {
    const size = this.#extents.extentSize;
    const count = Math.min(Math.floor(staged / size), this.#left / size);
    this.#extents.take(this.#stage, this.#start, count);
    this.#start += count * size;
    this.#left -= count * size;
    if (this.#left > 0) return false;
    this.#extents.end();
    this.#endOfChunk();
    return true;
  }

  /** A 64-bit number; beyond what an export can have it only has to stay beyond. */
  #offset(at: number): number {
    return this.#stage.readUInt32BE(at) * 2 ** 32 + this.#stage.readUInt32BE(at + 4);
  }

  #endOfChunk(): void {
    const slot = this.#slot;
    const isLast = this.#isLast;
    this.#phase = "header";
    this.#slot = undefined;
    this.#scatter.release();
    if (slot !== undefined && isLast) this.#finish(slot);
  }

  #finish(slot: Slot): void {
    const request = requestOf(slot);
    if (slot.errorNumber === 0) {
      if (slot.coverage !== undefined && !slot.coverage.isComplete) {
        throw new ProtocolError(
          `parts of the read of ${request.length} bytes at ${request.offset} never came`,
        );
      }
      if (request.operation === "status" && !slot.hasStatus) {
        throw new ProtocolError("block status was answered without any");
      }
    }
    this.#owner.finished(slot);
  }
}

/** Types with the highest bit are errors, known or not. */
function isError(type: number): boolean {
  return (type & 0x80_00) !== 0;
}

function requestOf(slot: Slot): Request {
  if (slot.request === undefined) throw new ProtocolError("a reply belongs to no request");
  return slot.request;
}
