import {
  PassThroughDevice,
  type BlockChild,
  type ExtentList,
  type IoVec,
  type MaybePromise,
  type StatusOptions,
} from "@blockmirror/block-driver";

/** Waits as long as half of a request takes on a slow device. */
export type Pause = () => Promise<void>;

/**
 * A filter that takes its time: some before the request reaches the device below, some before it settles. So a write has
 * landed for a while before anybody is told, and a read, or what is said of holes, is old before it is answered.
 */
export class SlowDevice extends PassThroughDevice {
  protected readonly pause: Pause;

  constructor(child: BlockChild, pause: Pause) {
    super("slow", child);
    this.pause = pause;
  }

  override read(offset: number, into: IoVec): Promise<void> {
    return this.slowly(() => super.read(offset, into));
  }

  override write(offset: number, from: IoVec): Promise<void> {
    return this.slowly(() => super.write(offset, from));
  }

  override writeZeroes(offset: number, length: number): Promise<void> {
    return this.slowly(() => super.writeZeroes(offset, length));
  }

  override discard(offset: number, length: number): Promise<void> {
    return this.slowly(() => super.discard(offset, length));
  }

  override status(
    offset: number,
    length: number,
    extents: ExtentList,
    options?: StatusOptions,
  ): Promise<void> {
    return this.slowly(() => super.status(offset, length, extents, options));
  }

  /** Runs something between two halves of a request's time. */
  protected async slowly(run: () => MaybePromise<void>): Promise<void> {
    await this.pause();
    await run();
    await this.pause();
  }
}
