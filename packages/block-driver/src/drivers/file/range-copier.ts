import { systemErrorCode } from "./system-error.ts";
import type { FileOps, RangeCopy } from "./file-ops.ts";

/** Failures that copying through buffers would meet as well; anything else only means "not like this". */
const REAL_FAILURES: ReadonlySet<string> = new Set(["EIO", "ENOSPC", "EDQUOT", "EFBIG", "ENOMEM"]);
/** Not this range (alignment, overlap), though others may do. */
const NOT_THIS_RANGE = "EINVAL";

/** What is known not to work from one source to this target. */
interface PairMemory {
  clones: boolean;
  copies: boolean;
}

/**
 * Copies ranges between files inside the kernel: by sharing the space where the file system can, else by
 * `copy_file_range`. What a pair of files cannot is tried once.
 */
export class RangeCopier<Source extends object> {
  readonly #ops: FileOps;
  readonly #pairs = new WeakMap<Source, PairMemory>();

  constructor(ops: FileOps) {
    this.#ops = ops;
  }

  /** Returns the bytes copied from the start of the range; 0 when the pair cannot. Rejects with system errors. */
  async copy(source: Source, range: RangeCopy): Promise<number> {
    const memory = this.#pairs.get(source) ?? { clones: this.#ops.cloneRange !== undefined, copies: true };
    this.#pairs.set(source, memory);
    if (memory.clones && (await this.#clone(range, memory))) return range.length;
    return memory.copies ? this.#copy(range, memory) : 0;
  }

  async #clone(range: RangeCopy, memory: PairMemory): Promise<boolean> {
    try {
      await this.#ops.cloneRange?.(range);
      return true;
    } catch (error) {
      memory.clones = judge(error);
      return false;
    }
  }

  async #copy(range: RangeCopy, memory: PairMemory): Promise<number> {
    let done = 0;
    while (done < range.length) {
      let copied: number;
      try {
        copied = await this.#ops.copyRange({
          ...range,
          sourceOffset: range.sourceOffset + done,
          targetOffset: range.targetOffset + done,
          length: range.length - done,
        });
      } catch (error) {
        memory.copies = judge(error);
        return done;
      }
      // The source ends here: reading the rest tells the caller so in plain words.
      if (copied === 0) return done;
      done += copied;
    }
    return done;
  }
}

/** Whether to try again with another range; throws what is a failure of the storage. */
function judge(error: unknown): boolean {
  const code = systemErrorCode(error);
  if (code === undefined || REAL_FAILURES.has(code)) throw error;
  return code === NOT_THIS_RANGE;
}
