import { release } from "node:os";
import { openCLibrary, type AsyncFunction } from "../../native/c-library.ts";
import type { FileOps, RangeCopy } from "./file-ops.ts";
import { KernelBatches } from "./kernel-batches.ts";
import { systemError, systemErrorCode } from "./system-error.ts";

/** Linux ABI constants, from the kernel's user-space headers. */
const SEEK_SET = 0;
const SEEK_END = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const FALLOC_FL_KEEP_SIZE = 0x01;
const FALLOC_FL_PUNCH_HOLE = 0x02;
const FALLOC_FL_ZERO_RANGE = 0x10;
const SYNC_FILE_RANGE_WRITE = 2;
const RWF_NOWAIT = 8;
const EOPNOTSUPP = 95;
const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;

/** Calls in flight at a time: the binding keeps the stacks of eight, and maps and unmaps memory for each one beyond. */
const MAX_CALLS = 8;

/**
 * Binds the C library.
 * @throws when the system, the architecture or the optional `koffi` package is missing.
 */
export async function openNativeOps(): Promise<FileOps> {
  const library = await openCLibrary();
  const { functions: libc, addressOf, errno } = library;
  const lseek: (fd: number, offset: number, whence: number) => number = libc.func(
    "int64_t lseek(int, int64_t, int)",
  );
  const fcntl: (fd: number, command: number, type: "void *", lock: ArrayBufferView) => number =
    libc.func("int fcntl(int, int, ...)");
  const preadv2: (
    fd: number,
    vector: ArrayBufferView,
    count: number,
    offset: number,
    flags: number,
  ) => number = libc.func("int64_t preadv2(int, void *, int, int64_t, int)");
  const fallocate: AsyncFunction = libc.func("int fallocate(int, int, int64_t, int64_t)");
  const copyFileRange: AsyncFunction = libc.func(
    "int64_t copy_file_range(int, void *, int, void *, size_t, unsigned int)",
  );
  const sendfile: AsyncFunction = libc.func("int64_t sendfile(int, int, void *, size_t)");
  const syncFileRange: AsyncFunction = libc.func("int sync_file_range(int, int64_t, int64_t, unsigned int)");
  const pool = new CallPool(errno);
  const batches = KernelBatches.open(library);

  const seek = (fd: number, offset: number, whence: number): number | undefined => {
    for (;;) {
      const found = lseek(fd, offset, whence);
      if (found >= 0) return found;
      const error = systemError("lseek", errno());
      if (error.code === "ENXIO") return undefined;
      if (error.code !== "EINTR") throw error;
    }
  };
  const lockCall = (fd: number, command: number, byte: number, type: number): number => {
    const lock = new FlockBuffer(byte, type);
    while (fcntl(fd, command, "void *", lock.bytes) < 0) {
      const error = systemError("fcntl", errno());
      if (error.code !== "EINTR") throw error;
    }
    return lock.type;
  };
  const changeSpace = async (mode: number, fd: number, offset: number, length: number): Promise<void> => {
    await pool.run(fallocate, "fallocate", fd, mode, offset, length);
  };

  // `struct iovec`: address and length, filled in anew for each call, since it is used up when the call returns.
  const vector = new BigUint64Array(2);

  return {
    readCached(fd, into, position) {
      vector[0] = addressOf(into);
      vector[1] = BigInt(into.byteLength);
      const read = preadv2(fd, vector, 1, position, RWF_NOWAIT);
      return read < 0 && errno() === EOPNOTSUPP ? undefined : read;
    },
    ...(batches !== undefined && {
      transferPieces: (kind, fd, pieces) =>
        batches.transfer(kind, fd, pieces, (fn, ...args) => pool.run(fn, "io_submit", ...args)),
    }),
    nextData: (fd, offset) => seek(fd, offset, SEEK_DATA),
    nextHole: (fd, offset) => seek(fd, offset, SEEK_HOLE),
    end: (fd) => seek(fd, 0, SEEK_END) ?? 0,
    punchHole: (fd, offset, length) =>
      changeSpace(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, fd, offset, length),
    zeroRange: (fd, offset, length) =>
      changeSpace(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, fd, offset, length),
    allocate: (fd, offset, length) => changeSpace(0, fd, offset, length),
    ...(copiesReliably(release()) && {
      copyRange: ({ sourceFd, sourceOffset, targetFd, targetOffset, length }: RangeCopy) =>
        pool.run(
          copyFileRange,
          "copy_file_range",
          sourceFd,
          integers(sourceOffset),
          targetFd,
          integers(targetOffset),
          length,
          0,
        ),
      sendRange: (targetFd: number, sourceFd: number, sourceOffset: number, length: number) =>
        pool.run(sendfile, "sendfile", targetFd, sourceFd, integers(sourceOffset), length),
    }),
    seekTo(fd, offset) {
      seek(fd, offset, SEEK_SET);
    },
    async startWriteback(fd, offset, length) {
      await pool.run(syncFileRange, "sync_file_range", fd, offset, length, SYNC_FILE_RANGE_WRITE);
    },
    setLock(fd, byte, action) {
      lockCall(fd, F_OFD_SETLK, byte, action === "shared" ? F_RDLCK : F_UNLCK);
    },
    isLockedByOther: (fd, byte) => lockCall(fd, F_OFD_GETLK, byte, F_WRLCK) !== F_UNLCK,
  };
}

/**
 * Copies inside the kernel were reworked several times; 5.19 is where `copy_file_range` was given its rules of today
 * (man page, "NOTES": before, it could report success without having copied, between file systems).
 */
function copiesReliably(kernelRelease: string): boolean {
  const [major = 0, minor = 0] = kernelRelease.split(".").map((part) => Number.parseInt(part, 10));
  return major > 5 || (major === 5 && minor >= 19);
}

/** 64-bit integers in memory that the garbage collector does not move. */
function integers(...values: readonly number[]): BigInt64Array {
  const memory = new BigInt64Array(new ArrayBuffer(values.length * 8));
  values.forEach((value, index) => (memory[index] = BigInt(value)));
  return memory;
}

/** `struct flock` of a 64-bit Linux: type, origin, (padding), start, length, owner. */
class FlockBuffer {
  readonly bytes: Uint8Array;
  readonly #words: Int16Array;

  constructor(byte: number, type: number) {
    const memory = new ArrayBuffer(32);
    this.bytes = new Uint8Array(memory);
    this.#words = new Int16Array(memory, 0, 2);
    this.#words[0] = type;
    const range = new BigInt64Array(memory, 8, 2);
    range[0] = BigInt(byte);
    range[1] = 1n;
  }

  get type(): number {
    return this.#words[0] ?? F_UNLCK;
  }
}

/** What a C function is called with. */
type CallArgument = number | ArrayBufferView | null;

/** Runs C functions on the thread pool, a bounded number at a time. */
class CallPool {
  readonly #errno: () => number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(errno: () => number) {
    this.#errno = errno;
  }

  /** Calls until it is not interrupted; rejects with the system error of a negative result. */
  async run(fn: AsyncFunction, name: string, ...args: readonly CallArgument[]): Promise<number> {
    if (this.#running >= MAX_CALLS) await new Promise<void>((resume) => this.#waiting.push(resume));
    else this.#running += 1;
    try {
      for (;;) {
        try {
          return await this.#call(fn, name, args);
        } catch (error) {
          if (systemErrorCode(error) !== "EINTR") throw error;
        }
      }
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }

  #call(fn: AsyncFunction, name: string, args: readonly CallArgument[]): Promise<number> {
    return new Promise((resolve, reject) => {
      fn.async(...args, (error, result) => {
        // The binding carries errno over from the thread that made the call, until the next call from this thread.
        const errno = this.#errno();
        // Naming the arguments keeps their memory alive as long as the call may use it.
        if (error !== null && error !== undefined) reject(argumentError(name, args, error));
        else if (result < 0) reject(systemError(name, errno));
        else resolve(result);
      });
    });
  }
}

function argumentError(name: string, args: readonly unknown[], cause: unknown): Error {
  return new Error(`${name} could not be called with ${args.length} arguments`, { cause });
}
