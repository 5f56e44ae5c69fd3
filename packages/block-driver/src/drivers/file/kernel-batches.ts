import type * as Koffi from "koffi";
import type { AsyncFunction, CLibrary } from "../../native/c-library.ts";
import { MAX_PIECES, type FilePiece } from "./file-ops.ts";

/** Linux ABI, from the kernel's user-space headers: the numbers of the system calls on x86-64 and everywhere else. */
const CALLS = {
  x64: { setup: 206, getEvents: 208, submit: 209 },
  generic: { setup: 0, getEvents: 4, submit: 2 },
};
const IOCB_CMD = { read: 0, write: 1 } as const;
/** Sizes in 32-bit words, and where the members of `struct iocb` and `struct io_event` are. */
const IOCB = { words: 16, data: 0, opcode: 4, fd: 5, address: 6, length: 8, position: 10 } as const;
const EVENT = { words: 8, data: 0, result: 4, resultHigh: 5 } as const;
const HIGH = 2 ** 32;
/** A `struct timespec`: do not wait. */
const NO_TIME: BigUint64Array<ArrayBuffer> = new BigUint64Array(2);

/** What a call takes. */
type Argument = number | ArrayBufferView | null;
/** Runs a call on a thread. */
type Runner = (fn: AsyncFunction, ...args: readonly Argument[]) => Promise<number>;

/** System calls by their number; whoever calls knows what each one takes. */
interface AioCalls {
  readonly setup: (number: number, events: number, context: ArrayBufferView) => number;
  readonly submit: AsyncFunction;
  readonly getEvents: AsyncFunction & ((...args: readonly Argument[]) => number);
}

/** Numbers of the system calls. */
interface CallNumbers {
  readonly setup: number;
  readonly getEvents: number;
  readonly submit: number;
}

/**
 * Reads or writes many pieces of a file in one call of one thread.
 *
 * Linux carries out requests for files that go through its page cache while they are submitted (`io_submit(2)`), one after the
 * other. So one call on a thread does what would take a call and two wake-ups for each piece.
 */
export class KernelBatches {
  readonly #calls: AioCalls;
  readonly #addressOf: CLibrary["addressOf"];
  readonly #numbers: CallNumbers;
  readonly #idle: Batch[] = [];
  readonly #bases = new WeakMap<ArrayBufferLike, number>();

  private constructor(library: CLibrary, numbers: CallNumbers) {
    const { functions: libc } = library;
    this.#calls = bind(libc);
    this.#addressOf = library.addressOf;
    this.#numbers = numbers;
  }

  /** Undefined where the kernel does not let programs do this. */
  static open(library: CLibrary): KernelBatches | undefined {
    const batches = new KernelBatches(library, process.arch === "x64" ? CALLS.x64 : CALLS.generic);
    const first = batches.#make();
    if (first === undefined) return undefined;
    batches.#idle.push(first);
    return batches;
  }

  /**
   * Moves at most {@link MAX_PIECES} pieces. Resolves with the numbers of those that were moved in full; what became of the
   * others is for an ordinary request to find out.
   */
  async transfer(
    kind: keyof typeof IOCB_CMD,
    fd: number,
    pieces: readonly FilePiece[],
    run: Runner,
  ): Promise<ReadonlySet<number>> {
    const batch = this.#idle.pop() ?? this.#make();
    const moved = new Set<number>();
    if (batch === undefined) return moved;
    pieces.forEach(({ position, memory }, index) => {
      batch.set(index, IOCB_CMD[kind], fd, this.#address(memory), memory.byteLength, position);
    });
    const { context, pointers, events } = batch;
    const { submit, getEvents } = this.#numbers;
    const count = await run(this.#calls.submit, submit, context, pieces.length, pointers).catch(() => 0);
    // They have ended when the call returns, or else are waited for: until then their memory is the kernel's.
    let ended = this.#calls.getEvents(getEvents, context, 0, count, events, NO_TIME);
    batch.collect(ended, pieces, moved);
    // A wait that a signal ends (-1) has brought none.
    for (let left = count - Math.max(0, ended); left > 0; left -= Math.max(0, ended)) {
      ended = await run(this.#calls.getEvents, getEvents, context, left, left, events, null);
      batch.collect(ended, pieces, moved);
    }
    this.#idle.push(batch);
    return moved;
  }

  #make(): Batch | undefined {
    const context = new BigUint64Array(1);
    if (this.#calls.setup(this.#numbers.setup, MAX_PIECES, context) < 0) return undefined;
    return new Batch(Number(context[0]), this.#addressOf);
  }

  #address(memory: Uint8Array): number {
    const { buffer } = memory;
    let base = this.#bases.get(buffer);
    if (base === undefined) {
      base = Number(this.#addressOf(new Uint8Array(buffer)));
      this.#bases.set(buffer, base);
    }
    return base + memory.byteOffset;
  }
}

function bind(libc: Koffi.LibraryHandle): AioCalls {
  return {
    setup: libc.func("int64_t syscall(int64_t, int64_t, void *)"),
    submit: libc.func("int64_t syscall(int64_t, int64_t, int64_t, void *)"),
    getEvents: libc.func("int64_t syscall(int64_t, int64_t, int64_t, int64_t, void *, void *)"),
  };
}

/** The memory of one batch, and the context of the kernel that it goes through. */
class Batch {
  readonly context: number;
  readonly pointers: BigUint64Array<ArrayBuffer>;
  readonly events: Uint32Array<ArrayBuffer> = new Uint32Array(MAX_PIECES * EVENT.words);
  readonly #blocks: Uint32Array<ArrayBuffer> = new Uint32Array(MAX_PIECES * IOCB.words);

  constructor(context: number, addressOf: CLibrary["addressOf"]) {
    this.context = context;
    const blocks = addressOf(new Uint8Array(this.#blocks.buffer));
    const bytes = BigInt(IOCB.words * Uint32Array.BYTES_PER_ELEMENT);
    this.pointers = BigUint64Array.from({ length: MAX_PIECES }, (_, index) => blocks + BigInt(index) * bytes);
  }

  set(index: number, opcode: number, fd: number, address: number, length: number, position: number): void {
    const at = index * IOCB.words;
    this.#blocks[at + IOCB.data] = index;
    this.#blocks[at + IOCB.opcode] = opcode;
    this.#blocks[at + IOCB.fd] = fd;
    this.#setWide(at + IOCB.address, address);
    this.#setWide(at + IOCB.length, length);
    this.#setWide(at + IOCB.position, position);
  }

  /** Adds the numbers of the pieces that the first `count` events tell were moved in full. */
  collect(count: number, pieces: readonly FilePiece[], moved: Set<number>): void {
    for (let at = 0; at < count * EVENT.words; at += EVENT.words) {
      const index = this.events[at + EVENT.data] ?? 0;
      // Errors are negative: they look like more than any piece has.
      const bytes = (this.events[at + EVENT.result] ?? 0) + (this.events[at + EVENT.resultHigh] ?? 0) * HIGH;
      if (bytes === pieces[index]?.memory.byteLength) moved.add(index);
    }
  }

  #setWide(at: number, value: number): void {
    this.#blocks[at] = value % HIGH;
    this.#blocks[at + 1] = Math.floor(value / HIGH);
  }
}
