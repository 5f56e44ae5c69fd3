import type { Duplex } from "node:stream";
import type { Slab, SlabPool } from "./reply-arena.ts";

/** A contiguous part of a slab that is to be sent. */
interface Range {
  readonly slab: Slab;
  readonly start: number;
  end: number;
  /** Replies in it. */
  replies: number;
}

/**
 * Sends the replies of one connection: whatever becomes ready in one turn of the event loop leaves in one system call, in
 * ranges as long as possible. Bytes count as queued until the socket has taken them.
 */
export class ReplyWriter {
  readonly #socket: Duplex;
  readonly #pool: SlabPool;
  /** Called when the socket has taken replies: how many, and how many bytes they had. */
  readonly #onSent: (replies: number, bytes: number) => void;
  #ready: Range[] = [];
  #scheduled: NodeJS.Immediate | undefined;
  #closed = false;

  constructor(socket: Duplex, pool: SlabPool, onSent: (replies: number, bytes: number) => void) {
    this.#socket = socket;
    this.#pool = pool;
    this.#onSent = onSent;
  }

  /** Queues bytes of a slab, whose reservation becomes the writer's. `replies` is 1 when they end one, else 0. */
  push(slab: Slab, start: number, end: number, replies: 0 | 1): void {
    if (this.#closed) {
      this.#pool.release(slab);
      return;
    }
    const last = this.#ready.at(-1);
    if (last !== undefined && last.slab === slab && last.end === start) {
      last.end = end;
      last.replies += replies;
      // The range holds the slab already.
      this.#pool.release(slab);
    } else {
      this.#ready.push({ slab, start, end, replies });
    }
  }

  /** Sends what is ready at the end of this turn, with whatever else becomes ready until then. */
  schedule(): void {
    this.#scheduled ??= setImmediate(this.flush);
  }

  /** Sends what is ready. */
  readonly flush = (): void => {
    if (this.#scheduled !== undefined) {
      clearImmediate(this.#scheduled);
      this.#scheduled = undefined;
    }
    const ranges = this.#ready;
    if (ranges.length === 0) return;
    this.#ready = [];
    let bytes = 0;
    let replies = 0;
    for (const range of ranges) {
      bytes += range.end - range.start;
      replies += range.replies;
    }
    // The stream sends in order, so one callback, for the last range, speaks for them all.
    const sent = (): void => {
      for (const { slab } of ranges) this.#pool.release(slab);
      this.#onSent(replies, bytes);
    };
    const socket = this.#socket;
    socket.cork();
    for (let index = 0; index < ranges.length; index += 1) {
      const range = ranges[index];
      if (range === undefined) continue;
      const view = range.slab.memory.subarray(range.start, range.end);
      if (index === ranges.length - 1) socket.write(view, sent);
      else socket.write(view);
    }
    socket.uncork();
  };

  /** Drops what was not sent and sends nothing more. */
  close(): void {
    this.#closed = true;
    if (this.#scheduled !== undefined) clearImmediate(this.#scheduled);
    this.#scheduled = undefined;
    for (const { slab } of this.#ready) this.#pool.release(slab);
    this.#ready = [];
  }
}
