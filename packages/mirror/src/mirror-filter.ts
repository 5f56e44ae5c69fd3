import {
  PassThroughDevice,
  type BlockChild,
  type IoOptions,
  type IoVec,
  type MaybePromise,
  type WriteOptions,
  type ZeroOptions,
} from "@blockmirror/block-driver";

/** Driver name of the filter node that a mirror puts above its source. */
export const MIRROR_FILTER_DRIVER = "mirror_top";
/** And that of a commit of a layer which others stand on. */
export const COMMIT_FILTER_DRIVER = "commit_top";

/** Carries a change out on the source. */
export type ChangeSource = () => MaybePromise<void>;

/** Who is told of every change that guests make, and has it carried out. */
export interface WriteFollower {
  write(offset: number, from: IoVec, change: ChangeSource): MaybePromise<void>;
  writeZeroes(offset: number, length: number, change: ChangeSource): MaybePromise<void>;
  discard(offset: number, length: number, change: ChangeSource): MaybePromise<void>;
}

/**
 * The device of the node above the source, through which every guest request passes. Reads and flushes go down as they
 * are; whatever changes the source goes through the job's follower, which is there before the first status query (mirror
 * rule S2.6).
 */
export class MirrorFilter extends PassThroughDevice {
  #follower: WriteFollower | undefined;
  #requests = 0;

  constructor(source: BlockChild, driver: string) {
    super(driver, source);
  }

  /** From now on `follower` carries changes out; called while guests are held. */
  follow(follower: WriteFollower): void {
    this.#follower = follower;
  }

  /** Requests for data that guests have made so far. */
  get requests(): number {
    return this.#requests;
  }

  override read(offset: number, into: IoVec, options?: IoOptions): MaybePromise<void> {
    this.#requests += 1;
    return super.read(offset, into, options);
  }

  override write(offset: number, from: IoVec, options?: WriteOptions): MaybePromise<void> {
    this.#requests += 1;
    const change: ChangeSource = () => super.write(offset, from, options);
    return this.#follower === undefined ? change() : this.#follower.write(offset, from, change);
  }

  override writeZeroes(offset: number, length: number, options?: ZeroOptions): MaybePromise<void> {
    this.#requests += 1;
    const change: ChangeSource = () => super.writeZeroes(offset, length, options);
    return this.#follower === undefined ? change() : this.#follower.writeZeroes(offset, length, change);
  }

  override discard(offset: number, length: number): MaybePromise<void> {
    this.#requests += 1;
    const change: ChangeSource = () => super.discard(offset, length);
    return this.#follower === undefined ? change() : this.#follower.discard(offset, length, change);
  }
}
