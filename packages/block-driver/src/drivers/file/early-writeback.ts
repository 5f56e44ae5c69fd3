import type { FileOps } from "./file-ops.ts";

/** Writes this large are somebody copying; smaller ones are left to the kernel, which knows when to write them out. */
const BULK_WRITE = 256 * 1024;
/** The kernel is asked to begin after this many bytes of bulk writes. */
const BATCH = 16 * 1024 * 1024;

/**
 * Has the kernel begin to write out bulk data while more is being written, so that the flush at the end finds most of it
 * on the disk: on its own the kernel waits for many seconds, and a copy would end with minutes of flushing.
 *
 * A hint, and nothing else: it neither waits nor makes anything durable, and it takes no errors away from the flush.
 */
export class EarlyWriteback {
  readonly #ops: Pick<FileOps, "startWriteback">;
  readonly #fd: number;
  #start = Number.POSITIVE_INFINITY;
  #end = 0;
  #bytes = 0;
  #running = false;

  constructor(ops: Pick<FileOps, "startWriteback">, fd: number) {
    this.#ops = ops;
    this.#fd = fd;
  }

  /** Notes a write that has settled. Returns true when it is time to {@link begin}. */
  note(offset: number, length: number): boolean {
    if (length < BULK_WRITE) return false;
    this.#start = Math.min(this.#start, offset);
    this.#end = Math.max(this.#end, offset + length);
    this.#bytes += length;
    return this.#bytes >= BATCH && !this.#running;
  }

  /** Has the kernel begin with what was noted. The descriptor stays open until this settles; it never rejects. */
  async begin(): Promise<void> {
    const offset = this.#start;
    const length = this.#end - offset;
    this.#start = Number.POSITIVE_INFINITY;
    this.#end = 0;
    this.#bytes = 0;
    this.#running = true;
    try {
      await this.#ops.startWriteback(this.#fd, offset, length);
    } catch {
      // What could not begin now is written by the flush, which also reports what is wrong.
    } finally {
      this.#running = false;
    }
  }
}
