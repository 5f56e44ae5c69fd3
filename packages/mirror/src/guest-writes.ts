import { isPromise, iovLength, iovSlice, type IoVec, type MaybePromise } from "@blockmirror/block-driver";
import { ChunkTurns } from "./chunk-turns.ts";
import type { GuestReach } from "./guest-reach.ts";
import type { ChangeSource, WriteFollower } from "./mirror-filter.ts";
import type { CopyMode } from "./options.ts";
import { SharedWrite, type SharedWriteInit } from "./shared-write.ts";
import type { Silence } from "./silence.ts";

/** What following the guests needs. */
export interface GuestWritesInit extends Omit<SharedWriteInit, "mark" | "turns" | "onTarget"> {
  /** Counts where guests write. */
  readonly reach: GuestReach;
  /** Told what the target is asked for, and of its answers. */
  readonly silence: Silence;
  /** Told that chunks which a guest had for itself can be copied again. */
  readonly onLeave: () => void;
}

/**
 * What happens to the writes of guests while a mirror runs (modern semantics of the mirror filter). In background mode they
 * go to the source and are marked dirty when they settle. In write-blocking mode they go to the source and then to the
 * target, alone in their chunks; a target that fails never fails the guest: the range becomes dirty instead.
 */
export class GuestWrites implements WriteFollower {
  /** Decided for each request when it begins. */
  mode: Exclude<CopyMode, "auto"> = "background";
  readonly #init: GuestWritesInit;
  readonly #turns: ChunkTurns;
  readonly #shared: SharedWriteInit;
  /** Writes to the target that are under way, whether somebody waits for them or not. */
  readonly #onTarget = new Set<Promise<void>>();
  #isScanned = false;
  #synced = false;
  /** Requests under way that will mark what they have written. */
  #marking = 0;

  constructor(init: GuestWritesInit) {
    this.#init = init;
    this.#turns = new ChunkTurns(init);
    this.#shared = {
      ...init,
      turns: this.#turns,
      mark: (offset, length) => this.#mark(offset, length),
      onTarget: (change) => {
        const settled = (): void => {
          this.#onTarget.delete(change);
          init.silence.end("write");
        };
        this.#onTarget.add(change);
        init.silence.begin("write");
        change.then(settled, settled);
      },
    };
  }

  /** The job has failed or was given up: guests wait for its target no longer. `follows` says so from now on. */
  giveUp(): void {
    this.#turns.giveUp();
  }

  /**
   * The job knows what target and source hold. Before, nothing is written to the target: what is said of a hole there may
   * be old when it arrives, and a write that filled it meanwhile would be taken for zeroes.
   */
  scanned(): void {
    this.#isScanned = true;
  }

  /** Resolves when the writes to the target that are under way now have settled. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#onTarget);
  }

  /** Every settled write is on the target, and every further one will be before it settles. */
  get activelySynced(): boolean {
    return this.#synced && this.mode === "write-blocking";
  }

  /** Source and target are equal at this instant but for requests under way. */
  noteClean(): void {
    this.#synced = this.mode === "write-blocking" && this.#marking === 0;
  }

  write(offset: number, from: IoVec, change: ChangeSource): MaybePromise<void> {
    const length = iovLength(from);
    if (!this.#reachesTarget()) return this.#marked(offset, length, change);
    const { target } = this.#init;
    return this.#both(offset, length, change, (start, end) =>
      target.write(start, end - start === length ? from : iovSlice(from, start - offset, end - start)),
    );
  }

  writeZeroes(offset: number, length: number, change: ChangeSource): MaybePromise<void> {
    if (!this.#reachesTarget()) return this.#marked(offset, length, change);
    return this.#both(offset, length, change, this.#zeroTarget);
  }

  /** A discard that leaves unknown content cannot be repeated on the target; what is there now is copied. */
  discard(offset: number, length: number, change: ChangeSource): MaybePromise<void> {
    return this.#marked(offset, length, change);
  }

  #reachesTarget(): boolean {
    return this.mode === "write-blocking" && this.#isScanned && this.#init.follows();
  }

  readonly #zeroTarget = (start: number, end: number): MaybePromise<void> =>
    this.#init.target.writeZeroes(start, end - start, { unmap: true });

  /** Marked when it has settled, whether it succeeded or not: a failed write may have written a part. */
  #marked(offset: number, length: number, change: ChangeSource): MaybePromise<void> {
    this.#touch(offset, length);
    this.#marking += 1;
    const mark = (): void => {
      this.#marking -= 1;
      this.#mark(offset, length);
    };
    let changed: MaybePromise<void>;
    try {
      changed = change();
    } catch (error) {
      mark();
      throw error;
    }
    if (isPromise(changed)) {
      return changed.then(mark, (error: unknown) => {
        mark();
        throw error;
      });
    }
    mark();
    return undefined;
  }

  #touch(offset: number, length: number): void {
    const { reach, size } = this.#init;
    const inside = Math.min(length, size - offset);
    if (inside > 0) reach.touch(offset, inside);
  }

  #mark(offset: number, length: number): void {
    const { dirty, size } = this.#init;
    this.#synced = false;
    const inside = Math.min(length, size - offset);
    if (inside > 0) dirty.mark(offset, inside);
  }

  #both(
    offset: number,
    length: number,
    change: ChangeSource,
    changeTarget: (start: number, end: number) => MaybePromise<void>,
  ): MaybePromise<void> {
    // The copy comes there yet, and brings what is written before. Later it would never have the last word.
    if (this.#isStillToBeCopied(offset, length)) return this.#marked(offset, length, change);
    this.#touch(offset, length);
    return new SharedWrite(this.#shared, offset, length, change, changeTarget).run();
  }

  /** Nothing of the range has been copied or brought to the target so far, and all of it will be. */
  #isStillToBeCopied(offset: number, length: number): boolean {
    const { dirty, engine } = this.#init;
    return engine.copied.nextDirty(offset, length) < 0 && dirty.bits.nextZero(offset, length) < 0;
  }
}
