import {
  isPromise,
  iovLength,
  iovSlice,
  type BlockEdge,
  type DirtyBitmap,
  type IoVec,
  type MaybePromise,
} from "@blockmirror/block-driver";
import type { CopyEngine } from "./copy-engine.ts";
import type { ChangeSource, WriteFollower } from "./mirror-filter.ts";
import type { CopyMode } from "./options.ts";
import type { ZeroMap } from "./zero-map.ts";

/** What following the guests needs. */
export interface GuestWritesInit {
  readonly source: BlockEdge;
  readonly target: BlockEdge;
  readonly size: number;
  readonly granularity: number;
  readonly dirty: DirtyBitmap;
  readonly zeroMap: ZeroMap;
  readonly engine: CopyEngine;
  /**
   * Write nothing less than whole chunks to the target: it names a backing image that is not open, and would take what lies
   * beside a smaller write for zeroes.
   */
  readonly wholeChunksOnly: boolean;
  /** Whether the job still wants writes on the target: it has neither failed nor been thrown away. */
  readonly follows: () => boolean;
  /** Told about every failure on the target, after the range has become dirty again. */
  readonly onError: (error: unknown) => void;
  /** Told that the target is being written to. */
  readonly onWrite: () => void;
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
  #synced = false;
  /** Requests under way that will mark what they have written. */
  #marking = 0;
  readonly #turns: { readonly start: number; readonly end: number; readonly done: Promise<void> }[] = [];

  /** Requests that wait for the target, or for a copy to it. */
  readonly #waiting = new Set<() => void>();

  constructor(init: GuestWritesInit) {
    this.#init = init;
  }

  /** The job has failed or was given up: guests wait for its target no longer. `follows` says so from now on. */
  giveUp(): void {
    for (const goOn of this.#waiting) goOn();
  }

  /** Every settled write is on the target, and every further one will be before it settles. */
  get activelySynced(): boolean {
    return this.#synced;
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
      target.write(start, iovSlice(from, start - offset, end - start)),
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
    return this.mode === "write-blocking" && this.#init.follows();
  }

  readonly #zeroTarget = async (start: number, end: number): Promise<void> => {
    const { target } = this.#init;
    await target.writeZeroes(start, end - start, { unmap: true });
  };

  /** Marked when it has settled, whether it succeeded or not: a failed write may have written a part. */
  #marked(offset: number, length: number, change: ChangeSource): MaybePromise<void> {
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

  #mark(offset: number, length: number): void {
    const { dirty, size } = this.#init;
    this.#synced = false;
    const inside = Math.min(length, size - offset);
    if (inside > 0) dirty.mark(offset, inside);
  }

  async #both(
    offset: number,
    length: number,
    change: ChangeSource,
    changeTarget: (start: number, end: number) => MaybePromise<void>,
  ): Promise<void> {
    const { engine, granularity, size } = this.#init;
    const end = offset + length;
    const start = Math.floor(offset / granularity) * granularity;
    const stop = Math.min(size, Math.ceil(end / granularity) * granularity);
    // Whole chunks inside the write; none when it covers no chunk in full.
    const inner = Math.ceil(offset / granularity) * granularity;
    const innerEnd = end >= size ? size : Math.floor(end / granularity) * granularity;
    const inside = Math.max(0, innerEnd - inner);
    const release = await this.#enter(start, stop);
    try {
      if (inside > 0) engine.guestBegins(inner, inside);
      try {
        await change();
      } catch (error) {
        this.#mark(offset, length);
        throw error;
      }
      // What was asked about the source before is out of date, though nothing became dirty.
      this.#init.dirty.generation += 1;
      if (!this.#init.follows()) {
        this.#mark(offset, length);
        return;
      }
      await this.#toTarget(offset, end, inner, inside, changeTarget);
    } finally {
      release();
    }
  }

  async #toTarget(
    offset: number,
    end: number,
    inner: number,
    inside: number,
    changeTarget: (start: number, end: number) => MaybePromise<void>,
  ): Promise<void> {
    const { engine, zeroMap, wholeChunksOnly, onError, onWrite } = this.#init;
    let from = offset;
    let to = end;
    if (wholeChunksOnly) {
      from = inside > 0 ? inner : end;
      to = inside > 0 ? inner + inside : end;
      if (from > offset) this.#mark(offset, from - offset);
      if (end > to) this.#mark(to, end - to);
    }
    if (to <= from) return;
    // Forgotten when the write starts: a failed one may have written a part.
    zeroMap.forget(from, to - from);
    onWrite();
    try {
      if (!(await this.#unlessGivenUp(Promise.resolve(changeTarget(from, to))))) {
        this.#mark(from, to - from);
        return;
      }
    } catch (error) {
      this.#mark(from, to - from);
      engine.guestFailed(from, to - from);
      onError(error);
      return;
    }
    engine.guestSucceeded(to - from, inner, inside);
  }

  /** Waits for what the target does; false when the job was given up first: a target that hangs must not keep guests. */
  #unlessGivenUp(work: Promise<void>): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const goOn = (): void => {
        this.#waiting.delete(goOn);
        resolve(false);
      };
      this.#waiting.add(goOn);
      work.then(
        () => {
          this.#waiting.delete(goOn);
          resolve(true);
        },
        (error: unknown) => {
          this.#waiting.delete(goOn);
          reject(error);
        },
      );
      if (!this.#init.follows()) goOn();
    });
  }

  /**
   * Waits until nobody else changes or copies the chunks `[start, stop)`: first for guests that came before, then for
   * operations that run. Whoever waits is waited for by nobody earlier, so no two wait for each other.
   */
  async #enter(start: number, stop: number): Promise<() => void> {
    const { inFlight } = this.#init.engine;
    const turn = inFlight.enterGuest(start, stop - start);
    const earlier = this.#turns.filter((other) => other.start < stop && start < other.end);
    const leave: (() => void)[] = [];
    const done = new Promise<void>((resolve) => {
      leave.push(resolve);
    });
    const mine = { start, end: stop, done };
    this.#turns.push(mine);
    for (const other of earlier) await other.done;
    await this.#unlessGivenUp(this.#init.engine.waitForRange(start, stop - start));
    return () => {
      this.#turns.splice(this.#turns.indexOf(mine), 1);
      inFlight.leaveGuest(turn);
      for (const resolve of leave) resolve();
      this.#init.onLeave();
    };
  }
}
