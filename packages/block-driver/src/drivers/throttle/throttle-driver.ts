import type { ThrottleDirection } from "@blockmirror/ratelimit";
import type { BlockChild, BlockDevice, IoOptions, WriteOptions, ZeroOptions } from "../../contract/device.ts";
import { DRIVER_CONTRACT_VERSION, type BlockDriver } from "../../contract/driver.ts";
import { iovLength, type IoVec, type MaybePromise } from "../../contract/io.ts";
import { option, optionSchema, type ChildReference } from "../../contract/options.ts";
import { PassThroughDevice } from "../../io/pass-through.ts";
import { ThrottleGroup, type ThrottleMember } from "./throttle-group.ts";

/** Options of the `throttle` driver. */
export interface ThrottleDriverOptions {
  /** The node whose requests are limited. */
  readonly file: ChildReference;
  /** The limits, shared with every other node of the group. */
  readonly group: ThrottleGroup;
}

/**
 * A filter that holds requests back so that the limits of its group are kept. Reads count as such; writes, zeroed ranges
 * and discards count as writes of their length. Flushes, resizing and questions of status are not limited.
 *
 * A request waits before it begins and counts when it goes, whatever becomes of it. While the node is drained or closed,
 * nothing waits; what goes through then is charged, and those who come afterwards wait for it.
 */
export const throttleDriver: BlockDriver<ThrottleDriverOptions> = {
  name: "throttle",
  kind: "filter",
  contractVersion: DRIVER_CONTRACT_VERSION,
  options: optionSchema({
    file: option.child("the node whose requests are limited"),
    group: option.json("the group whose limits it is subject to", parseGroup),
  }),
  async open(options, context): Promise<BlockDevice> {
    const child = await context.openChild(options.file, "filtered");
    return new ThrottleDevice(child, options.group);
  },
};

function parseGroup(value: unknown): ThrottleGroup {
  if (value instanceof ThrottleGroup) return value;
  throw new Error("must be a ThrottleGroup");
}

/** The device of a `throttle` node. */
export class ThrottleDevice extends PassThroughDevice {
  readonly #member: ThrottleMember;

  /** Joins the group; closing leaves it. */
  constructor(child: BlockChild, group: ThrottleGroup) {
    super("throttle", child);
    this.#member = group.join();
  }

  /** The group whose limits it is subject to. */
  get group(): ThrottleGroup {
    return this.#member.group;
  }

  /** Makes it subject to another group from now on; requests that wait go on waiting there. */
  moveTo(group: ThrottleGroup): void {
    this.#member.moveTo(group);
  }

  override read(offset: number, into: IoVec, options?: IoOptions): MaybePromise<void> {
    const wait = this.#admit("read", iovLength(into), options);
    if (wait !== undefined) return wait.then(() => super.read(offset, into, options));
    return super.read(offset, into, options);
  }

  override write(offset: number, from: IoVec, options?: WriteOptions): MaybePromise<void> {
    const wait = this.#admit("write", iovLength(from), options);
    if (wait !== undefined) return wait.then(() => super.write(offset, from, options));
    return super.write(offset, from, options);
  }

  override writeZeroes(offset: number, length: number, options?: ZeroOptions): MaybePromise<void> {
    const wait = this.#admit("write", length, options);
    if (wait !== undefined) return wait.then(() => super.writeZeroes(offset, length, options));
    return super.writeZeroes(offset, length, options);
  }

  override discard(offset: number, length: number, options?: IoOptions): MaybePromise<void> {
    const wait = this.#admit("write", length, options);
    if (wait !== undefined) return wait.then(() => super.discard(offset, length, options));
    return super.discard(offset, length, options);
  }

  setDrained(isDrained: boolean): void {
    this.#member.setReleased(isDrained);
  }

  override close(): Promise<void> {
    this.#member.leave();
    return super.close();
  }

  #admit(
    direction: ThrottleDirection,
    bytes: number,
    options: IoOptions | undefined,
  ): Promise<void> | undefined {
    return this.#member.admit(direction, bytes, options?.signal);
  }
}
