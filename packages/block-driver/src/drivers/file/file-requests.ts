import type { IoOptions } from "../../contract/device.ts";
import { BlockError } from "../../errors.ts";
import { deferred, type Deferred } from "../../io/deferred.ts";
import type { Settle } from "./positional-io.ts";

/**
 * The requests of one open file: who may still come in, who is in flight, and which changes the last flush covered.
 */
export class FileRequests {
  readonly #label: string;
  /** Makes an error of the device out of whatever a system call met. */
  readonly #error: (error: unknown, operation: string, offset: number, length: number) => BlockError;
  #inFlight = 0;
  #idle: Deferred | undefined;
  #fence: BlockError | undefined;
  #changes = 0;
  #flushedChanges = -1;
  #isClosing = false;

  constructor(
    label: string,
    error: (error: unknown, operation: string, offset: number, length: number) => BlockError,
  ) {
    this.#label = label;
    this.#error = error;
  }

  /** Why everything is refused, if it is. */
  get fence(): BlockError | undefined {
    return this.#fence;
  }

  /** Changes that have settled so far. */
  get changes(): number {
    return this.#changes;
  }

  /** Whether a flush would have nothing to do. */
  get isFlushed(): boolean {
    return this.#changes === this.#flushedChanges;
  }

  /** A change has settled, well or badly: a failed write may have written a part. */
  noteChange(): void {
    this.#changes += 1;
  }

  /** A good flush has made durable what was {@link changes} when it began. */
  noteFlush(covered: number): void {
    this.#flushedChanges = Math.max(this.#flushedChanges, covered);
  }

  /**
   * After a failed fsync the kernel may have dropped the dirty pages and report success the next time: what the file holds
   * is unknown from now on.
   */
  refuseFurther(cause: BlockError): void {
    this.#fence ??= new BlockError(
      "BLK_FENCED",
      `${this.#label} refuses requests since a flush failed (${cause.message}); what was written before may be lost: close it, check the storage, and open it again`,
      { node: this.#label, cause },
    );
  }

  /** @throws BlockError when a flush has failed, the file is closed, or the request was aborted before it began. */
  admit(operation: string, offset: number, length: number, options: IoOptions | undefined): void {
    if (this.#fence !== undefined) throw this.#fence;
    if (this.#isClosing) {
      throw new BlockError("ESHUTDOWN", `${operation} refused: ${this.#label} is closed`, {
        node: this.#label,
        operation,
        offset,
        length,
      });
    }
    if (options?.signal?.aborted === true) {
      throw new BlockError("ECANCELED", `${operation} on ${this.#label} was cancelled`, {
        node: this.#label,
        operation,
        offset,
        length,
      });
    }
  }

  /** One promise for a transfer, however many system calls it takes. */
  transfer(
    operation: string,
    offset: number,
    length: number,
    changes: boolean,
    start: (settle: Settle) => void,
  ): Promise<void> {
    this.#inFlight += 1;
    return new Promise((resolve, reject) => {
      const settle: Settle = (error) => {
        if (changes) this.#changes += 1;
        this.#leave();
        if (error === undefined) resolve();
        else reject(this.#error(error, operation, offset, length));
      };
      try {
        start(settle);
      } catch (error) {
        settle(error);
      }
    });
  }

  /** Counts something as in flight while it runs. */
  async track<T>(run: () => Promise<T>): Promise<T> {
    this.#inFlight += 1;
    try {
      return await run();
    } finally {
      this.#leave();
    }
  }

  /** Refuses what comes from now on, and settles when nothing is in flight. */
  async end(): Promise<void> {
    this.#isClosing = true;
    while (this.#inFlight > 0) {
      this.#idle ??= deferred();
      await this.#idle.promise;
    }
  }

  #leave(): void {
    this.#inFlight -= 1;
    if (this.#inFlight > 0 || this.#idle === undefined) return;
    const idle = this.#idle;
    this.#idle = undefined;
    idle.resolve();
  }
}
