import {
  Throttle,
  type ThrottleDirection,
  type ThrottleLimits,
  type ThrottleOptions,
} from "@blockmirror/ratelimit";
import { BlockError } from "../../errors.ts";
import { TurnQueue } from "./turn-queue.ts";

/** Settings of a {@link ThrottleGroup}. */
export interface ThrottleGroupOptions extends ThrottleOptions {
  /** For messages. */
  readonly name: string;
}

/** A request that waits until its group lets it go. */
interface WaitingRequest {
  readonly direction: ThrottleDirection;
  readonly bytes: number;
  /** Lets it go on. */
  readonly admit: () => void;
}

const DIRECTIONS: readonly ThrottleDirection[] = ["read", "write"];

/**
 * Limits that `throttle` nodes share. Requests wait per direction; when there is room, the next member whose turn it is
 * gets one request through, and reads and writes take turns where both wait for the same limit: nobody starves.
 */
export class ThrottleGroup {
  readonly name: string;
  readonly #throttle: Throttle;
  readonly #members = new Set<ThrottleMember>();
  readonly #queues: Readonly<Record<ThrottleDirection, TurnQueue<ThrottleMember, WaitingRequest>>> = {
    read: new TurnQueue(),
    write: new TurnQueue(),
  };
  /** Whose turn it is when both directions have room. */
  #turn: ThrottleDirection = "read";
  #cancelTimer: (() => void) | undefined;

  /** @throws RangeError when the limits are none. */
  constructor({ name, ...options }: ThrottleGroupOptions) {
    this.name = name;
    this.#throttle = new Throttle(options);
  }

  get limits(): ThrottleLimits {
    return this.#throttle.limits;
  }

  /** Nodes that are throttled by this group. */
  get memberCount(): number {
    return this.#members.size;
  }

  /**
   * Changes limits at once, for requests that wait as well; those left out stay.
   * @throws RangeError when the limits that result are none; nothing changes then.
   */
  setLimits(change: Partial<ThrottleLimits>): void {
    this.#throttle.setLimits(change);
    this.#admitWaiting();
  }

  /** Adds a member; it stays one until it leaves. */
  join(): ThrottleMember {
    const member = new ThrottleMember(this);
    this.#members.add(member);
    return member;
  }

  /** A member's part: see {@link ThrottleMember.admit}. */
  admit(member: ThrottleMember, direction: ThrottleDirection, bytes: number): boolean {
    const isFree = this.#isIdle && this.#throttle.delay(direction) === 0;
    if (!isFree && !member.isReleased) return false;
    this.#throttle.charge(direction, bytes);
    return true;
  }

  /** A member's part: has a request wait. */
  enqueue(member: ThrottleMember, request: WaitingRequest): void {
    this.#queues[request.direction].push(member, request);
    this.#admitWaiting();
  }

  /** A member's part: a request does not wait any more. */
  forget(member: ThrottleMember, request: WaitingRequest): void {
    this.#queues[request.direction].remove(member, request);
    this.#admitWaiting();
  }

  /** A member's part: lets all its requests go, whatever the limits say. They are charged. */
  release(member: ThrottleMember): void {
    for (const request of this.#takeAll(member)) this.#admitNow(request);
    this.#admitWaiting();
  }

  /** A member's part: it uses another group from now on, and its requests wait there. */
  move(member: ThrottleMember, to: ThrottleGroup): void {
    this.#members.delete(member);
    to.#members.add(member);
    for (const request of this.#takeAll(member)) to.#queues[request.direction].push(member, request);
    this.#admitWaiting();
    to.#admitWaiting();
  }

  /** A member's part: it is one no more. */
  remove(member: ThrottleMember): void {
    this.release(member);
    this.#members.delete(member);
  }

  get #isIdle(): boolean {
    return this.#queues.read.isEmpty && this.#queues.write.isEmpty;
  }

  #takeAll(member: ThrottleMember): readonly WaitingRequest[] {
    return DIRECTIONS.flatMap((direction) => this.#queues[direction].removeAll(member));
  }

  #admitNow({ direction, bytes, admit }: WaitingRequest): void {
    this.#throttle.charge(direction, bytes);
    admit();
  }

  /** Lets go what may go by now, and sleeps until the next may. */
  #admitWaiting(): void {
    for (let next = this.#next(); next !== undefined; next = this.#next()) this.#admitNow(next);
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    if (this.#isIdle) return;
    const waiting = DIRECTIONS.filter((direction) => !this.#queues[direction].isEmpty);
    const delayMs = Math.min(...waiting.map((direction) => this.#throttle.delay(direction)));
    this.#cancelTimer = this.#throttle.clock.schedule(delayMs, () => this.#admitWaiting());
  }

  #next(): WaitingRequest | undefined {
    const other = this.#turn === "read" ? "write" : "read";
    for (const direction of [this.#turn, other] as const) {
      if (this.#queues[direction].isEmpty || this.#throttle.delay(direction) > 0) continue;
      this.#turn = direction === "read" ? "write" : "read";
      return this.#queues[direction].shift();
    }
    return undefined;
  }
}

/** One node's side of a {@link ThrottleGroup}; made by its `join`. */
export class ThrottleMember {
  #group: ThrottleGroup;
  #isReleased = false;

  /** @internal Use {@link ThrottleGroup.join}. */
  constructor(group: ThrottleGroup) {
    this.#group = group;
  }

  get group(): ThrottleGroup {
    return this.#group;
  }

  /** While it is released, no request of this member's waits. */
  get isReleased(): boolean {
    return this.#isReleased;
  }

  /**
   * Asks for one request to go.
   * @returns undefined when it may go now; otherwise settles when it may.
   * @throws BlockError (rejection) `ECANCELED` when the signal is aborted before.
   */
  admit(
    direction: ThrottleDirection,
    bytes: number,
    signal: AbortSignal | undefined,
  ): Promise<void> | undefined {
    if (this.#group.admit(this, direction, bytes)) return undefined;
    return new Promise((resolve, reject) => {
      const cancel = (): void => {
        // Asked only now: the member may have come to another group meanwhile.
        this.#group.forget(this, request);
        reject(
          new BlockError(
            "ECANCELED",
            `a ${direction} that waited in throttle group '${this.#group.name}' was cancelled`,
          ),
        );
      };
      const request: WaitingRequest = {
        direction,
        bytes,
        admit: () => {
          signal?.removeEventListener("abort", cancel);
          resolve();
        },
      };
      signal?.addEventListener("abort", cancel, { once: true });
      this.#group.enqueue(this, request);
    });
  }

  /** Lets all requests go, those that wait and those that come, until it is called with false. */
  setReleased(isReleased: boolean): void {
    this.#isReleased = isReleased;
    if (isReleased) this.#group.release(this);
  }

  /** Uses another group from now on; requests that wait go on waiting there. */
  moveTo(group: ThrottleGroup): void {
    if (group === this.#group) return;
    const from = this.#group;
    this.#group = group;
    from.move(this, group);
  }

  /** Leaves the group; what waits may go. Harmless when repeated. */
  leave(): void {
    this.#group.remove(this);
  }
}
