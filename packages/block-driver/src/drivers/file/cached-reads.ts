import fs from "node:fs";
import type { IoVec } from "../../contract/io.ts";
import type { FileOps } from "./file-ops.ts";
import { TurnBudget } from "./turn-budget.ts";

/** Largest read, in bytes, that is copied on the main thread: some 30 microseconds of it. */
const LARGEST = 256 * 1024;
/** Of reads that nobody waits for alone: larger ones are shared out to threads, each with a processor of its own. */
const LARGEST_OF_MANY = 32 * 1024;
/** Bytes of reads in one turn of the event loop; what is more goes to the thread pool, which works at the same time. */
const BYTES_PER_TURN = 1024 * 1024;

/** Errors are for the thread pool to meet again, and to tell. */
function readNow(fd: number, into: Uint8Array, position: number): number {
  try {
    return fs.readSync(fd, into, 0, into.byteLength, position);
  } catch {
    return 0;
  }
}

const BUDGET: TurnBudget = new TurnBudget(BYTES_PER_TURN);

/**
 * Reads of what the host has in memory, made on the main thread: the copy takes microseconds, a trip through the thread pool
 * several times as long (decision 0009). They never wait for storage: the kernel is asked for what it has (`RWF_NOWAIT`).
 */
export class CachedReads {
  readonly #read: NonNullable<FileOps["readCached"]>;
  readonly #fd: number;
  #works = true;

  private constructor(read: NonNullable<FileOps["readCached"]>, fd: number) {
    this.#read = read;
    this.#fd = fd;
  }

  /** Of a file that is nowhere but in memory: it can be read as any other time. */
  static ofMemory(fd: number): CachedReads {
    return new CachedReads(readNow, fd);
  }

  /** Undefined where it cannot be done. */
  static of(ops: FileOps | undefined, fd: number): CachedReads | undefined {
    return ops?.readCached === undefined ? undefined : new CachedReads(ops.readCached, fd);
  }

  /** Reads what there is of the range, from its start; returns how many bytes that are. The rest is for the thread pool. */
  read(offset: number, into: IoVec, length: number, isOneOfMany: boolean): number {
    const [piece] = into;
    if (!this.#works || into.length !== 1 || piece === undefined) return 0;
    if (length > (isOneOfMany ? LARGEST_OF_MANY : LARGEST) || !BUDGET.spend(length)) return 0;
    const read = this.#read(this.#fd, piece, offset);
    // There asking costs something, and never gives anything.
    if (read === undefined) this.#works = false;
    // Errors are for the thread pool to meet again, and to tell.
    return Math.max(0, read ?? 0);
  }
}
