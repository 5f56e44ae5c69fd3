import { isPromise, type BlockEdge } from "@blockmirror/block-driver";
import type { Silence } from "./silence.ts";

/** Flushes a target when something was written to it since the last time. */
export class TargetFlush {
  readonly #target: BlockEdge;
  readonly #silence: Silence;
  readonly #onBegin: () => void;
  readonly #onError: (error: unknown) => void;
  #needed = true;
  #latest: Promise<boolean> = Promise.resolve(true);

  /** `onBegin` is told of each flush, `onError` of each failure. */
  constructor(target: BlockEdge, silence: Silence, onBegin: () => void, onError: (error: unknown) => void) {
    this.#target = target;
    this.#silence = silence;
    this.#onBegin = onBegin;
    this.#onError = onError;
  }

  /** The target is being written to. */
  noteWrite(): void {
    this.#needed = true;
  }

  /** Resolves when all that was written before is durable; to false after a failure, and the next call tries again. */
  run(): Promise<boolean> {
    if (this.#needed) {
      this.#needed = false;
      this.#latest = this.#flush(this.#latest);
    }
    return this.#latest;
  }

  /** Resolves when no flush is under way, whether somebody waited for it or not. */
  async settled(): Promise<void> {
    await this.#latest;
  }

  /**
   * One at a time: the one before may still be running, though nobody waits for it any more, and a storage that tells of a
   * lost write only once may tell that one.
   */
  async #flush(before: Promise<boolean>): Promise<boolean> {
    await before;
    this.#onBegin();
    this.#silence.begin("write");
    try {
      const result = this.#target.flush();
      if (isPromise(result)) await result;
      return true;
    } catch (error) {
      this.#needed = true;
      this.#onError(error);
      return false;
    } finally {
      this.#silence.end("write");
    }
  }
}
