import {
  ChunkFlag,
  ChunkType,
  Command,
  EXTENDED_REPLY_MAGIC,
  SIMPLE_REPLY_MAGIC,
  STRUCTURED_REPLY_MAGIC,
} from "../protocol/constants.ts";
import { writeUint64 } from "../protocol/uint64.ts";
import type { Agreement } from "./handshake.ts";
import type { ContextExtents } from "./meta-contexts.ts";
import type { ReplyArena } from "./reply-arena.ts";
import type { ReplyWriter } from "./reply-writer.ts";
import type { Request } from "./request.ts";

/** Bytes of each kind of header. */
const SIMPLE_SIZE = 16;
const CHUNK_SIZE = 20;
const EXTENDED_CHUNK_SIZE = 32;

const COMMAND_NAMES: ReadonlyMap<number, string> = new Map([
  [Command.Read, "read"],
  [Command.Write, "write"],
  [Command.Flush, "flush"],
  [Command.Trim, "trim"],
  [Command.Cache, "cache"],
  [Command.WriteZeroes, "write zeroes"],
  [Command.BlockStatus, "block status"],
]);

/** Makes the replies of one connection, in the form that was agreed, in place: nothing is copied together. */
export class Replies {
  /** Bytes in front of the data of a read. */
  readonly readHeaderSize: number;
  readonly #form: Agreement["replies"];
  readonly #arena: ReplyArena;
  readonly #writer: ReplyWriter;
  /** Bytes queued by the last call. */
  queued = 0;

  constructor(form: Agreement["replies"], arena: ReplyArena, writer: ReplyWriter) {
    this.#form = form;
    this.#arena = arena;
    this.#writer = writer;
    this.readHeaderSize =
      form === "simple" ? SIMPLE_SIZE : (form === "structured" ? CHUNK_SIZE : EXTENDED_CHUNK_SIZE) + 8;
  }

  /** Success without a payload. */
  done(request: Request): void {
    if (this.#form === "simple" || (this.#form === "structured" && request.command !== Command.Read)) {
      this.#simple(request, 0);
    } else {
      this.#chunk(request, ChunkType.None, 0, true);
    }
  }

  /** The data of a read, which is in its slab already, behind room for the header. */
  data(request: Request): void {
    const { slab, slabStart: start, length } = request;
    if (slab === undefined) throw new TypeError("a read without memory");
    const { memory } = slab;
    if (this.#form === "simple") {
      encodeSimple(memory, start, request, 0);
    } else {
      this.#header(memory, start, request, ChunkType.OffsetData, 8 + length, true);
      writeUint64(memory, start + this.readHeaderSize - 8, request.offset);
    }
    request.slab = undefined;
    this.queued = this.readHeaderSize + length;
    this.#writer.push(slab, start, start + this.queued, 1);
  }

  /**
   * A failure. The text is for people at the other side; it says nothing of this side's files.
   */
  error(request: Request, errorNumber: number): void {
    if (this.#form === "simple") {
      this.#simple(request, errorNumber);
      return;
    }
    const name = COMMAND_NAMES.get(request.command) ?? `command ${request.command}`;
    const text = `${name} refused or failed`;
    const at = this.#chunk(request, ChunkType.Error, 6 + text.length, true);
    at.memory.writeUInt32BE(errorNumber, at.start);
    at.memory.writeUInt16BE(text.length, at.start + 4);
    at.memory.write(text, at.start + 6, "latin1");
  }

  /** The extents of one context; `isLast` ends the reply. */
  extents(request: Request, contextId: number, extents: ContextExtents, isLast: boolean): void {
    const isExtended = this.#form === "extended";
    const head = isExtended ? 8 : 4;
    const size = isExtended ? 16 : 8;
    const type = isExtended ? ChunkType.BlockStatusExt : ChunkType.BlockStatus;
    const { memory, start } = this.#chunk(request, type, head + extents.count * size, isLast);
    memory.writeUInt32BE(contextId, start);
    if (isExtended) memory.writeUInt32BE(extents.count, start + 4);
    for (let index = 0, at = start + head; index < extents.count; index += 1, at += size) {
      const length = extents.lengths[index] ?? 0;
      const flags = extents.flags[index] ?? 0;
      if (isExtended) {
        writeUint64(memory, at, length);
        writeUint64(memory, at + 8, flags);
      } else {
        memory.writeUInt32BE(length, at);
        memory.writeUInt32BE(flags, at + 4);
      }
    }
  }

  #simple(request: Request, errorNumber: number): void {
    const slab = this.#arena.reserve(SIMPLE_SIZE);
    const { start } = this.#arena;
    encodeSimple(slab.memory, start, request, errorNumber);
    this.queued = SIMPLE_SIZE;
    this.#writer.push(slab, start, start + SIMPLE_SIZE, 1);
  }

  /** Queues a chunk and answers where its payload goes; it is filled in before anything is sent. */
  #chunk(
    request: Request,
    type: number,
    payload: number,
    isLast: boolean,
  ): { readonly memory: Buffer; readonly start: number } {
    const header = this.#form === "extended" ? EXTENDED_CHUNK_SIZE : CHUNK_SIZE;
    const slab = this.#arena.reserve(header + payload);
    const { start } = this.#arena;
    this.#header(slab.memory, start, request, type, payload, isLast);
    this.queued = header + payload;
    this.#writer.push(slab, start, start + this.queued, isLast ? 1 : 0);
    return { memory: slab.memory, start: start + header };
  }

  #header(into: Buffer, at: number, request: Request, type: number, payload: number, isLast: boolean): void {
    const isExtended = this.#form === "extended";
    into.writeUInt32BE(isExtended ? EXTENDED_REPLY_MAGIC : STRUCTURED_REPLY_MAGIC, at);
    into.writeUInt16BE(isLast ? ChunkFlag.Done : 0, at + 4);
    into.writeUInt16BE(type, at + 6);
    into.writeUInt32BE(request.cookieHigh, at + 8);
    into.writeUInt32BE(request.cookieLow, at + 12);
    if (isExtended) {
      into.writeUInt32BE(request.offsetHigh, at + 16);
      into.writeUInt32BE(request.offsetLow, at + 20);
      writeUint64(into, at + 24, payload);
    } else {
      into.writeUInt32BE(payload, at + 16);
    }
  }
}

function encodeSimple(into: Buffer, at: number, request: Request, errorNumber: number): void {
  into.writeUInt32BE(SIMPLE_REPLY_MAGIC, at);
  into.writeUInt32BE(errorNumber, at + 4);
  into.writeUInt32BE(request.cookieHigh, at + 8);
  into.writeUInt32BE(request.cookieLow, at + 12);
}
