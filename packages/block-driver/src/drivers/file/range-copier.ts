import fs from "node:fs";
import { deferred, type Deferred } from "../../io/deferred.ts";
import type { FileOps, RangeCopy } from "./file-ops.ts";
import { closeDescriptor } from "./open-file.ts";
import { systemErrorCode } from "./system-error.ts";

/** Failures that copying through buffers would meet as well; anything else only means "not like this". */
const REAL_FAILURES: ReadonlySet<string> = new Set(["EIO", "ENOSPC", "EDQUOT", "EFBIG", "ENOMEM"]);
/** Not this range (alignment, overlap), though others may do. */
const NOT_THIS_RANGE = "EINVAL";
/**
 * Copies into one file at a time: changes of one file exclude each other in the kernel, so that more of them only wait, and
 * burn a processor while they do.
 */
const COPIES_AT_A_TIME = 2;

/** What is known not to work from one source to this target. */
interface PairMemory {
  copies: boolean;
  sends: boolean;
}

/**
 * Copies ranges from other files into one file, inside the kernel: by `copy_file_range`, which shares the space where the file
 * system can, else, between file systems, by `sendfile`. What a pair of files cannot is tried once.
 */
export class RangeCopier<Source extends object> {
  readonly #ops: FileOps;
  readonly #targetFd: number;
  readonly #pairs = new WeakMap<Source, PairMemory>();
  readonly #waiting: Deferred[] = [];
  /** Descriptors of the target with positions of their own, which `sendfile` writes at; at most one per copy at a time. */
  readonly #senders: number[] = [];
  #running = 0;

  constructor(ops: FileOps, targetFd: number) {
    this.#ops = ops;
    this.#targetFd = targetFd;
  }

  /** Returns the bytes copied from the start of the range; 0 when the pair cannot. Rejects with system errors. */
  async copy(source: Source, range: Omit<RangeCopy, "targetFd">): Promise<number> {
    const { copyRange, sendRange } = this.#ops;
    let memory = this.#pairs.get(source);
    if (memory === undefined) {
      memory = { copies: copyRange !== undefined, sends: sendRange !== undefined };
      this.#pairs.set(source, memory);
    }
    if (!memory.copies && !memory.sends) return 0;
    if (this.#running >= COPIES_AT_A_TIME) {
      const turn = deferred();
      this.#waiting.push(turn);
      await turn.promise;
    } else {
      this.#running += 1;
    }
    try {
      return await this.#attempt({ ...range, targetFd: this.#targetFd }, memory);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next.resolve();
    }
  }

  /** Gives up the descriptors. Nothing is being copied by then. */
  async close(): Promise<void> {
    for (const fd of this.#senders.splice(0)) await closeDescriptor(fd).catch(() => {});
  }

  async #attempt(range: RangeCopy, memory: PairMemory): Promise<number> {
    if (memory.copies) {
      const copied = await this.#copy(range, memory);
      if (copied > 0 || memory.copies) return copied;
    }
    return memory.sends ? this.#send(range, memory) : 0;
  }

  async #copy(range: RangeCopy, memory: PairMemory): Promise<number> {
    return repeat(range.length, async (done) => {
      try {
        return (
          (await this.#ops.copyRange?.({
            ...range,
            sourceOffset: range.sourceOffset + done,
            targetOffset: range.targetOffset + done,
            length: range.length - done,
          })) ?? 0
        );
      } catch (error) {
        memory.copies = judge(error);
        return 0;
      }
    });
  }

  async #send(range: RangeCopy, memory: PairMemory): Promise<number> {
    let fd: number;
    try {
      fd = this.#senders.pop() ?? fs.openSync(`/proc/self/fd/${range.targetFd}`, fs.constants.O_WRONLY);
    } catch {
      memory.sends = false;
      return 0;
    }
    try {
      this.#ops.seekTo(fd, range.targetOffset);
      return await repeat(range.length, async (done) => {
        try {
          const { sourceFd, sourceOffset, length } = range;
          return (await this.#ops.sendRange?.(fd, sourceFd, sourceOffset + done, length - done)) ?? 0;
        } catch (error) {
          memory.sends = judge(error);
          return 0;
        }
      });
    } finally {
      this.#senders.push(fd);
    }
  }
}

/** Goes on until everything is copied, or nothing more is: the source ends there, and reading it tells so in plain words. */
async function repeat(length: number, step: (done: number) => Promise<number>): Promise<number> {
  let done = 0;
  while (done < length) {
    const copied = await step(done);
    if (copied === 0) break;
    done += copied;
  }
  return done;
}

/** Whether to try again with another range; throws what is a failure of the storage. */
function judge(error: unknown): boolean {
  const code = systemErrorCode(error);
  if (code === undefined || REAL_FAILURES.has(code)) throw error;
  return code === NOT_THIS_RANGE;
}
