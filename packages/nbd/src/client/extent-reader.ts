import { ChunkType } from "../protocol/constants.ts";
import type { ReplyForm } from "./negotiated.ts";
import { ProtocolError } from "./protocol-error.ts";
import type { Request } from "./request.ts";
import type { Slot } from "./slot.ts";
import { appendExtent } from "./status-contexts.ts";

/** Extents in one chunk of block status (NBD protocol). */
const MAX_EXTENTS = 2 ** 20;

/** Reads chunks of block status: a context's id, and then extents, of which there may be more than fit into the stage. */
export class ExtentReader {
  /** Type of the chunks. */
  readonly chunkType: number;
  /** Bytes before the extents: the context's id, and with extended headers how many there are. */
  readonly prefixSize: number;
  /** Bytes of an extent. */
  readonly extentSize: number;
  readonly #isExtended: boolean;
  readonly #exportSize: number;
  readonly #contextIds: readonly (number | undefined)[];
  #request: Request | undefined;
  /** Where the next extent starts. */
  #at = 0;
  #listIsFull = false;

  /** @param contextIds the server's ids of the contexts; undefined for those it has not. */
  constructor(form: ReplyForm, exportSize: number, contextIds: readonly (number | undefined)[]) {
    this.#isExtended = form === "extended";
    this.chunkType = this.#isExtended ? ChunkType.BlockStatusExt : ChunkType.BlockStatus;
    this.prefixSize = this.#isExtended ? 8 : 4;
    this.extentSize = this.#isExtended ? 16 : 8;
    this.#exportSize = exportSize;
    this.#contextIds = contextIds;
  }

  /** Greatest length of a chunk's payload, in bytes. */
  get longest(): number {
    return this.prefixSize + MAX_EXTENTS * this.extentSize;
  }

  /**
   * Begins a chunk with its prefix at `at` and `left` bytes of extents.
   * @returns false when they are of a context that this request is not about.
   */
  begin(slot: Slot, request: Request, stage: Buffer, at: number, left: number): boolean {
    const id = stage.readUInt32BE(at);
    const wanted = this.#contextIds[request.context];
    if (id !== wanted && !this.#contextIds.includes(id)) {
      throw new ProtocolError(`block status came for context ${id}, which was not agreed`);
    }
    const isWhole = left > 0 && left % this.extentSize === 0;
    const isCounted = !this.#isExtended || stage.readUInt32BE(at + 4) * this.extentSize === left;
    if (!isWhole || !isCounted) throw new ProtocolError("block status has no extents, or parts of one");
    slot.statuses += 1;
    if (slot.statuses > this.#contextIds.length || (id === wanted && slot.hasStatus)) {
      throw new ProtocolError("block status was answered twice");
    }
    if (id !== wanted) return false;
    slot.hasStatus = true;
    this.#request = request;
    this.#at = request.offset;
    this.#listIsFull = false;
    return true;
  }

  /** Takes `count` extents that are staged at `start`. */
  take(stage: Buffer, start: number, count: number): void {
    const request = this.#request;
    const size = this.extentSize;
    for (let index = 0; index < count; index += 1) {
      const at = start + index * size;
      const length = this.#length(stage, at);
      if (length < 1 || length > this.#exportSize - this.#at) {
        throw new ProtocolError(
          `block status has an extent of ${length} bytes at ${this.#at} of an export of ${this.#exportSize}`,
        );
      }
      this.#at += length;
      if (request?.extents !== undefined && !request.settled && !this.#listIsFull) {
        // The list begins where the caller asked, which can be inside the first extents.
        const asked = Math.min(length, this.#at - request.offset - request.skip);
        const flags = stage.readUInt32BE(at + size - 4);
        this.#listIsFull = asked > 0 && !appendExtent(request.extents, request.context, asked, flags);
      }
    }
  }

  /** Ends the chunk. */
  end(): void {
    const request = this.#request;
    this.#request = undefined;
    if (request !== undefined && this.#at <= request.offset + request.skip) {
      throw new ProtocolError("block status ends before what was asked");
    }
  }

  #length(stage: Buffer, at: number): number {
    if (!this.#isExtended) return stage.readUInt32BE(at);
    // Beyond what an export can have it only has to stay beyond.
    return stage.readUInt32BE(at) * 2 ** 32 + stage.readUInt32BE(at + 4);
  }
}
