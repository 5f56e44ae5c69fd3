import type { BlockChild, BlockDevice, Borrower, DeviceInfo } from "@blockmirror/block-driver";
import { SlowDevice, type Pause } from "./slow-device.ts";

/** What a device makes of a copy: the bytes it takes, at most `length`; or it throws. `count` begins at 1. */
export type CopyPolicy = (count: number, length: number) => number;

/** A filter that lends what is below it, and takes copies as told, each in its own time. */
export class LendingDevice extends SlowDevice {
  /** Copies asked for so far. */
  copies = 0;
  readonly #policy: CopyPolicy;
  #seen: DeviceInfo | undefined;
  #lendingInfo: DeviceInfo | undefined;

  constructor(child: BlockChild, policy: CopyPolicy, pause: Pause) {
    super(child, pause);
    this.#policy = policy;
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

  async lend(offset: number, length: number, borrow: Borrower): Promise<number> {
    await this.pause();
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
    await this.slowly(() => this.child.write(offset, [bytes]));
    return bytes.length;
  }
}
