/** Memory of one slab: many small replies, or a single large one. */
const SLAB_SIZE: number = 256 * 1024;

/** Largest reply that shares a slab with others; beyond it a reply gets memory of its own. */
const MAX_SHARED: number = 32 * 1024;

/**
 * Large replies get room for a power of two of at least this, and for their header, so that their memory fits the next one:
 * reads are of round sizes, and would take twice what they need if the header counted.
 */
const MIN_LARGE: number = 64 * 1024;

/** Most bytes of a header in front of data. */
const HEADER_ROOM = 64;

/** Largest buffer that is kept for reuse. */
const MAX_KEPT: number = 2 * 1024 * 1024 + HEADER_ROOM;

/** Bytes of free memory kept for reuse, over all connections. */
const MAX_FREE: number = 32 * 1024 * 1024;

/** A piece of memory that replies are made in. It goes back to the pool when nobody needs any of it. */
export interface Slab {
  readonly memory: Buffer;
  /** Bytes handed out. */
  used: number;
  /** Replies in it that are being made or have not left yet, and one for whoever fills it. */
  users: number;
}

/** The free slabs of a server, by size. */
export class SlabPool {
  readonly #free = new Map<number, Slab[]>();
  #freeBytes = 0;

  /** A slab with room for `length` bytes and one user. */
  take(length: number): Slab {
    let size = SLAB_SIZE;
    if (length > MAX_SHARED) {
      size = MIN_LARGE;
      while (size + HEADER_ROOM < length) size *= 2;
      size += HEADER_ROOM;
      if (size > MAX_KEPT) size = length;
    }
    const slab = this.#free.get(size)?.pop();
    if (slab === undefined) return { memory: Buffer.allocUnsafeSlow(size), used: 0, users: 1 };
    this.#freeBytes -= size;
    slab.used = 0;
    slab.users = 1;
    return slab;
  }

  /** One user less. */
  release(slab: Slab): void {
    slab.users -= 1;
    if (slab.users > 0) return;
    const size = slab.memory.byteLength;
    if (size > MAX_KEPT || this.#freeBytes + size > MAX_FREE) return;
    this.#freeBytes += size;
    const free = this.#free.get(size);
    if (free === undefined) this.#free.set(size, [slab]);
    else free.push(slab);
  }
}

/**
 * Memory for the replies of one connection. Small replies lie one behind the other, header and data together, so that a
 * whole batch of them is a single contiguous write.
 */
export class ReplyArena {
  /** Where the last reservation begins in its slab. */
  start = 0;
  readonly #pool: SlabPool;
  #current: Slab | undefined;

  constructor(pool: SlabPool) {
    this.#pool = pool;
  }

  /** Reserves `length` bytes from {@link start} of the slab returned. The caller releases the slab to the pool. */
  reserve(length: number): Slab {
    if (length > MAX_SHARED) {
      this.start = 0;
      return this.#pool.take(length);
    }
    let slab = this.#current;
    if (slab === undefined || slab.used + length > slab.memory.byteLength) {
      this.seal();
      slab = this.#pool.take(length);
      this.#current = slab;
    }
    this.start = slab.used;
    slab.used += length;
    slab.users += 1;
    return slab;
  }

  /** Lets go of the slab that is being filled, so that an idle connection holds none. */
  seal(): void {
    const slab = this.#current;
    this.#current = undefined;
    if (slab !== undefined) this.#pool.release(slab);
  }
}
