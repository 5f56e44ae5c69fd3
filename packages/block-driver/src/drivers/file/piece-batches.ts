import { iovLength, type IoVec } from "../../contract/io.ts";
import type { FileDeviceInit } from "./describe-device.ts";
import { MAX_PIECES, type FileOps, type FilePiece } from "./file-ops.ts";
import { NODE_CALLS, readFully, writeFully, type FileCalls, type Settle } from "./positional-io.ts";

/** Threads that batches of one file leave to everybody else. */
const THREADS_LEFT = 2;
/** Threads of the runtime unless the environment says otherwise. */
const USUAL_THREADS = 4;
/** Bytes in one batch: two processors share what a mirror reads at once. */
const BATCH_BYTES = 1024 * 1024;
/** Larger requests, and those of more parts, are worth a thread of their own. */
const LARGEST = 256 * 1024;
const MOST_PARTS = 8;

/** One request of a batch. */
interface Member {
  readonly offset: number;
  readonly vector: IoVec;
  readonly settle: Settle;
}

/**
 * Gathers requests of one file that come in one turn and are waited for together, and makes them on one thread. A wake-up of a
 * thread, and of this one again, costs more than moving 64 KiB does.
 */
export class PieceBatches {
  readonly #transfer: NonNullable<FileOps["transferPieces"]>;
  readonly #kind: "read" | "write";
  readonly #fd: number;
  readonly #calls: FileCalls;
  readonly #most: number;
  #gathered: Member[] = [];
  #running = 0;

  private constructor(
    transfer: NonNullable<FileOps["transferPieces"]>,
    kind: "read" | "write",
    { file, calls }: FileDeviceInit,
  ) {
    this.#transfer = transfer;
    this.#kind = kind;
    this.#fd = file.fd;
    this.#calls = calls;
    const threads = Number(process.env["UV_THREADPOOL_SIZE"]) || USUAL_THREADS;
    this.#most = Math.max(1, threads - THREADS_LEFT);
  }

  /** Undefined where it cannot be done. Calls that a program brought along are all to be made, one by one. */
  static of(kind: "read" | "write", init: FileDeviceInit): PieceBatches | undefined {
    const transfer = init.ops?.transferPieces;
    return transfer === undefined || init.calls !== NODE_CALLS
      ? undefined
      : new PieceBatches(transfer, kind, init);
  }

  /** Makes a request: with others when this turn has ended, or at once if it is too large for that. */
  add(offset: number, vector: IoVec, settle: Settle): void {
    if (vector.length > MOST_PARTS || iovLength(vector) > LARGEST) {
      this.#single(offset, vector, settle);
      return;
    }
    this.#gathered.push({ offset, vector, settle });
    // After all promises that the last batch has settled: whoever waited for one of its requests makes another.
    if (this.#gathered.length === 1) process.nextTick(() => this.#start());
  }

  /** In the ordinary way, which also finds out what is wrong. */
  #single(offset: number, vector: IoVec, settle: Settle): void {
    const transfer = this.#kind === "read" ? readFully : writeFully;
    try {
      transfer(this.#calls, this.#fd, offset, vector, settle);
    } catch (error) {
      settle(error);
    }
  }

  #start(): void {
    while (this.#gathered.length > 0 && this.#running < this.#most) {
      const members = this.#next();
      const [only] = members;
      if (members.length === 1 && only !== undefined) this.#single(only.offset, only.vector, only.settle);
      else void this.#run(members);
    }
  }

  #next(): readonly Member[] {
    let bytes = 0;
    let pieces = 0;
    let count = 0;
    for (const { vector } of this.#gathered) {
      bytes += iovLength(vector);
      pieces += vector.length;
      if (count > 0 && (bytes > BATCH_BYTES || pieces > MAX_PIECES)) break;
      count += 1;
    }
    return this.#gathered.splice(0, count);
  }

  async #run(members: readonly Member[]): Promise<void> {
    const pieces: FilePiece[] = [];
    for (const { offset, vector } of members) {
      let position = offset;
      for (const memory of vector) {
        pieces.push({ position, memory });
        position += memory.byteLength;
      }
    }
    this.#running += 1;
    const moved = await this.#transfer(this.#kind, this.#fd, pieces).catch(() => NONE);
    this.#running -= 1;
    let first = 0;
    for (const { offset, vector, settle } of members) {
      const isWhole = vector.every((_, index) => moved.has(first + index));
      first += vector.length;
      if (isWhole) settle(undefined);
      else this.#single(offset, vector, settle);
    }
    this.#start();
  }
}

const NONE: ReadonlySet<number> = new Set();
