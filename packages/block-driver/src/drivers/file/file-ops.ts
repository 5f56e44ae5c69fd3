/** Pieces that one call moves at most. */
export const MAX_PIECES = 32;

/**
 * What the host can do with a file beyond what Node offers. Everything takes a raw descriptor and byte offsets, and
 * fails with a Node-style system error. A host without this (no `koffi`, another system, `BLOCKMIRROR_NO_NATIVE=1`) has
 * no `FileOps` at all, and the driver does without: correct, only coarser.
 */
export interface FileOps {
  /**
   * First byte of data at or after `offset`; `undefined` when there is none before the end of the file, or when
   * `offset` is beyond it. Synchronous: it costs microseconds.
   */
  nextData(fd: number, offset: number): number | undefined;
  /** First byte of a hole at or after `offset`, the end of the file counting as one; `undefined` beyond the end. */
  nextHole(fd: number, offset: number): number | undefined;
  /** Size of the file or block device in bytes. */
  end(fd: number): number;
  /**
   * Fills `into` from `position` on with what the host holds in memory, synchronously, and never waits for storage. Returns
   * the bytes read; anything short of all, errors included, is for an ordinary read to find out. `undefined` when the file
   * system never answers like this. Absent where it cannot be called.
   */
  readCached?(fd: number, into: Uint8Array, position: number): number | undefined;
  /**
   * Reads or writes at most {@link MAX_PIECES} pieces one after the other, in one call of one thread. Resolves with the numbers of
   * those that were moved in full; what became of the others is for an ordinary request to find out. Absent where it cannot be done.
   */
  transferPieces?(
    kind: "read" | "write",
    fd: number,
    pieces: readonly FilePiece[],
  ): Promise<ReadonlySet<number>>;
  /** Gives the space back and makes the range read as zeroes; the size stays. */
  punchHole(fd: number, offset: number, length: number): Promise<void>;
  /** Makes the range read as zeroes and keeps the space; the size stays. */
  zeroRange(fd: number, offset: number, length: number): Promise<void>;
  /** Makes sure that the range has space; its content stays, new space reads as zeroes. The size may grow. */
  allocate(fd: number, offset: number, length: number): Promise<void>;
  /**
   * Copies inside the kernel, from file to file of one file system, or shares the space where that can; returns the bytes copied, 0 at the end of the source.
   * Absent where the kernel is too old to be trusted with it.
   */
  copyRange?(range: RangeCopy): Promise<number>;
  /**
   * Copies inside the kernel, between any two files, to `targetFd` from its own position on, which moves; returns as
   * {@link copyRange}. Absent where that is.
   */
  sendRange?(targetFd: number, sourceFd: number, sourceOffset: number, length: number): Promise<number>;
  /** Sets a descriptor's own position. */
  seekTo(fd: number, offset: number): void;
  /** Has the kernel begin to write the range out, without waiting for it. */
  startWriteback(fd: number, offset: number, length: number): Promise<void>;
  /** Takes (`shared`) or releases (`unlock`) an open-file-description lock on one byte. */
  setLock(fd: number, byte: number, action: "shared" | "unlock"): void;
  /** Whether another open file description holds any lock on one byte. */
  isLockedByOther(fd: number, byte: number): boolean;
}

/** A piece of a file, and the memory that it is read into or written from. */
export interface FilePiece {
  readonly position: number;
  readonly memory: Uint8Array;
}

/** A range to copy between two descriptors. */
export interface RangeCopy {
  readonly sourceFd: number;
  readonly sourceOffset: number;
  readonly targetFd: number;
  readonly targetOffset: number;
  readonly length: number;
}
