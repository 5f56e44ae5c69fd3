import {
  PassThroughDevice,
  type BlockChild,
  type BlockDevice,
  type Borrower,
  type DeviceInfo,
  type IoVec,
  type MaybePromise,
} from "@blockmirror/block-driver";

/** What a device makes of a copy: the bytes it takes, at most `length`; or it throws. `count` begins at 1. */
export type CopyPolicy = (count: number, length: number) => number;

/** A filter that lends what is below it, and takes copies as told, each in its own time. */
export class LendingDevice extends PassThroughDevice {
  /** Copies asked for so far. */
  copies = 0;
  readonly #policy: CopyPolicy;
  readonly #pause: () => Promise<void>;
  #seen: DeviceInfo | undefined;
  #lendingInfo: DeviceInfo | undefined;

  constructor(child: BlockChild, policy: CopyPolicy, pause: () => Promise<void>) {
    super("lending", child);
    this.#policy = policy;
    this.#pause = pause;
  }

  override get info(): DeviceInfo {
    const { info } = this.child;
    if (this.#lendingInfo === undefined || this.#seen !== info) {
      this.#seen = info;
      const { identity: _identity, ...rest } = info;
      this.#lendingInfo = { ...rest, can: { ...info.can, lend: true, copyRange: true } };
    }
    return this.#lendingInfo;
  }

  override read(offset: number, into: IoVec): Promise<void> {
    return this.#slowly(() => super.read(offset, into));
  }

  override write(offset: number, from: IoVec): Promise<void> {
    return this.#slowly(() => super.write(offset, from));
  }

  override writeZeroes(offset: number, length: number): Promise<void> {
    return this.#slowly(() => super.writeZeroes(offset, length));
  }

  override discard(offset: number, length: number): Promise<void> {
    return this.#slowly(() => super.discard(offset, length));
  }

  async lend(offset: number, length: number, borrow: Borrower): Promise<number> {
    await this.#pause();
    return borrow(this, offset, length);
  }

  async copyRange(
    offset: number,
    storage: BlockDevice,
    sourceOffset: number,
    length: number,
  ): Promise<number> {
    this.copies += 1;
    const bytes = Buffer.alloc(this.#policy(this.copies, length));
    await storage.read(sourceOffset, [bytes]);
    await this.#slowly(() => this.child.write(offset, [bytes]));
    return bytes.length;
  }

  async #slowly(run: () => MaybePromise<void>): Promise<void> {
    await this.#pause();
    await run();
    await this.#pause();
  }
}
