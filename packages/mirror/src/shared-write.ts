import { isPromise, type BlockEdge, type DirtyBitmap, type MaybePromise } from "@blockmirror/block-driver";
import type { ChunkTurns, Turn } from "./chunk-turns.ts";
import type { CopyEngine } from "./copy-engine.ts";
import type { ChangeSource } from "./mirror-filter.ts";
import type { ZeroMap } from "./zero-map.ts";

/** What writes to both sides have in common. */
export interface SharedWriteInit {
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
  /** Whether a drained section holds the target. What cannot go there then is copied later: waiting might be for ever. */
  readonly isTargetDrained: () => boolean;
  /** Told about every failure on the target, after the range has become dirty again. */
  readonly onError: (error: unknown) => void;
  /** Told that the target is being written to. */
  readonly onWrite: () => void;
  /** Marks what reached the source only. */
  readonly mark: (offset: number, length: number) => void;
  readonly turns: ChunkTurns;
  /** Told of a write to the target that takes its time. */
  readonly onTarget: (change: Promise<void>) => void;
}

/**
 * One change by a guest that goes to the source and then to the target, alone in its chunks. A target that fails never fails
 * the guest: the range becomes dirty instead.
 *
 * Nothing else runs between two steps that both end at once, so only a step that has to be waited for takes a turn.
 */
export class SharedWrite {
  readonly #init: SharedWriteInit;
  readonly #offset: number;
  readonly #end: number;
  readonly #change: ChangeSource;
  readonly #changeTarget: (start: number, end: number) => MaybePromise<void>;
  /** The chunks that it touches. */
  readonly #start: number;
  readonly #stop: number;
  /** The whole chunks inside it; empty when it covers none in full. */
  readonly #inner: number;
  readonly #inside: number;
  #turn: Turn | undefined;

  constructor(
    init: SharedWriteInit,
    offset: number,
    length: number,
    change: ChangeSource,
    changeTarget: (start: number, end: number) => MaybePromise<void>,
  ) {
    const { granularity, size } = init;
    const end = offset + length;
    this.#init = init;
    this.#offset = offset;
    this.#end = end;
    this.#change = change;
    this.#changeTarget = changeTarget;
    this.#start = Math.floor(offset / granularity) * granularity;
    this.#stop = Math.min(size, Math.ceil(end / granularity) * granularity);
    this.#inner = Math.ceil(offset / granularity) * granularity;
    const innerEnd = end >= size ? size : Math.floor(end / granularity) * granularity;
    this.#inside = Math.max(0, innerEnd - this.#inner);
  }

  /** Carries it out. Fails as the source does, and never because of the target. */
  run(): MaybePromise<void> {
    const { turns } = this.#init;
    if (turns.isFree(this.#start, this.#stop)) return this.#changeSource();
    this.#turn = turns.take(this.#start, this.#stop);
    return turns.wait(this.#turn).then(() => this.#changeSource());
  }

  #changeSource(): MaybePromise<void> {
    if (this.#inside > 0) this.#init.engine.guestBegins(this.#inner, this.#inside);
    let changed: MaybePromise<void>;
    try {
      changed = this.#change();
    } catch (error) {
      return this.#sourceFailed(error);
    }
    if (!isPromise(changed)) return this.#sourceChanged();
    this.#takeTurn();
    return changed.then(
      () => this.#sourceChanged(),
      (error: unknown) => this.#sourceFailed(error),
    );
  }

  #sourceFailed(error: unknown): never {
    this.#init.mark(this.#offset, this.#end - this.#offset);
    this.#leave();
    throw error;
  }

  #sourceChanged(): MaybePromise<void> {
    const { dirty, follows, isTargetDrained, zeroMap, onWrite, mark } = this.#init;
    // What was asked about the source before is out of date, though nothing became dirty.
    dirty.generation += 1;
    if (!follows() || isTargetDrained()) {
      mark(this.#offset, this.#end - this.#offset);
      return this.#leave();
    }
    const { from, to } = this.#forTarget();
    if (to <= from) return this.#leave();
    // Forgotten when the write starts: a failed one may have written a part.
    zeroMap.forget(from, to - from);
    onWrite();
    let changed: MaybePromise<void>;
    try {
      changed = this.#changeTarget(from, to);
    } catch (error) {
      return this.#targetFailed(from, to, error);
    }
    if (!isPromise(changed)) return this.#targetChanged(from, to);
    this.#init.onTarget(changed);
    this.#takeTurn();
    return this.#init.turns.unlessGivenUp(changed).then(
      (done) => {
        if (done) return this.#targetChanged(from, to);
        mark(from, to - from);
        return this.#leave();
      },
      (error: unknown) => this.#targetFailed(from, to, error),
    );
  }

  /**
   * The part that the target gets. A chunk at either end that is dirty stays so whatever is written to a part of it, and is
   * copied later as a whole; with whole chunks only, an end that is clean becomes dirty.
   */
  #forTarget(): { readonly from: number; readonly to: number } {
    const { wholeChunksOnly, mark } = this.#init;
    const innerEnd = this.#inner + this.#inside;
    if (this.#inside === 0 && this.#stop - this.#start <= this.#init.granularity) {
      const leftOut = wholeChunksOnly || this.#isDirty(this.#start);
      if (wholeChunksOnly) mark(this.#offset, this.#end - this.#offset);
      return { from: this.#offset, to: leftOut ? this.#offset : this.#end };
    }
    const headEnd = Math.min(this.#inner, this.#end);
    const tailStart = Math.max(innerEnd, headEnd);
    const hasHead = headEnd > this.#offset;
    const hasTail = this.#end > tailStart;
    const leavesHead = hasHead && (wholeChunksOnly || this.#isDirty(this.#start));
    const leavesTail = hasTail && (wholeChunksOnly || this.#isDirty(tailStart));
    if (leavesHead && wholeChunksOnly) mark(this.#offset, headEnd - this.#offset);
    if (leavesTail && wholeChunksOnly) mark(tailStart, this.#end - tailStart);
    return { from: leavesHead ? headEnd : this.#offset, to: leavesTail ? tailStart : this.#end };
  }

  #isDirty(offset: number): boolean {
    return this.#init.dirty.bits.nextDirty(offset, 1) >= 0;
  }

  #targetChanged(from: number, to: number): void {
    this.#init.engine.guestSucceeded(to - from, this.#inner, this.#inside);
    this.#leave();
  }

  #targetFailed(from: number, to: number, error: unknown): void {
    this.#init.mark(from, to - from);
    this.#init.engine.guestFailed(from, to - from);
    this.#init.onError(error);
    this.#leave();
  }

  #takeTurn(): void {
    this.#turn ??= this.#init.turns.take(this.#start, this.#stop);
  }

  #leave(): void {
    if (this.#turn !== undefined) this.#init.turns.leave(this.#turn);
  }
}
