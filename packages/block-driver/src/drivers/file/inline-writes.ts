import fs from "node:fs";
import { iovLength, type IoVec } from "../../contract/io.ts";
import { DirtyRoom } from "./dirty-room.ts";
import { TurnBudget } from "./turn-budget.ts";

/** Largest write, in bytes, that is copied on the main thread. */
const LARGEST = 64 * 1024;
/** Of writes that nobody waits for alone: larger ones are shared out to threads, each with a processor of its own. */
const LARGEST_OF_MANY = 16 * 1024;
/** Bytes of writes in one turn of the event loop: about a millisecond of it. */
const BYTES_PER_TURN = 256 * 1024;
/** A write of whole pages replaces them; any other may have to wait until the rest of a page has been read. */
const PAGE = 4096;
/** A write that takes longer than this was held up. */
const SLOW_MS = 10;
/** So long every write goes through the thread pool after one was held up; twice as long each time, up to the most. */
const MIN_REST_MS = 250;
const MAX_REST_MS = 30_000;
/** A file that was quick for so long starts again with the shortest rest. */
const CALM_MS = 5000;

/** What writing at once needs to know of the host; all of it is there to be replaced in tests. */
export interface InlineHost {
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  /** Writes now; returns how many bytes it took. May throw. */
  readonly write: (fd: number, from: IoVec, position: number) => number;
  readonly room: Pick<DirtyRoom, "hasRoom">;
  readonly budget: Pick<TurnBudget, "spend">;
}

const HOST: InlineHost = {
  now: () => performance.now(),
  write: (fd, from, position) => fs.writevSync(fd, from, position),
  room: new DirtyRoom(),
  budget: new TurnBudget(BYTES_PER_TURN),
};

/**
 * Small writes into a file's pages in memory, made on the main thread: the copy takes microseconds, a trip through the thread
 * pool several times as long (decision 0009).
 *
 * They never wait for storage as far as that can be told beforehand: whole pages of a local file, while the kernel has room for
 * more dirty pages. If one is held up nevertheless, the file rests and its writes go through the thread pool.
 */
export class InlineWrites {
  readonly #fd: number;
  readonly #host: InlineHost;
  #restUntilMs = 0;
  #restMs = MIN_REST_MS;

  constructor(fd: number, host: InlineHost = HOST) {
    this.#fd = fd;
    this.#host = host;
  }

  /**
   * Writes if that is done at once. False leaves the write to the thread pool, errors included: it repeats what was written, and
   * says what is wrong.
   */
  write(offset: number, from: IoVec, isOneOfMany = false): boolean {
    const length = iovLength(from);
    if (length > (isOneOfMany ? LARGEST_OF_MANY : LARGEST) || length % PAGE !== 0 || offset % PAGE !== 0)
      return false;
    const { now, write, room, budget } = this.#host;
    const startMs = now();
    if (startMs < this.#restUntilMs || !room.hasRoom(startMs) || !budget.spend(length)) return false;
    let written = 0;
    try {
      written = write(this.#fd, from, offset);
    } catch {
      return false;
    } finally {
      const endMs = now();
      if (endMs - startMs > SLOW_MS) this.#rest(startMs, endMs);
    }
    return written === length;
  }

  #rest(startMs: number, endMs: number): void {
    const relapsed = this.#restUntilMs > 0 && startMs - this.#restUntilMs < CALM_MS;
    this.#restMs = relapsed ? Math.min(MAX_REST_MS, this.#restMs * 2) : MIN_REST_MS;
    this.#restUntilMs = endMs + this.#restMs;
  }
}
