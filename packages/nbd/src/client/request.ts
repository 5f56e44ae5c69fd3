import { iovLength, type ExtentList, type IoVec } from "@blockmirror/block-driver";
import { Command, CommandFlag } from "../protocol/constants.ts";
import { ALLOCATION } from "./status-contexts.ts";

/** The operations of a device that become requests, as errors name them. */
export type Operation = "read" | "write" | "writeZeroes" | "discard" | "flush" | "status";

/** What makes a {@link Request}. */
export interface RequestInit {
  readonly operation: Operation;
  readonly command: number;
  /** Command flags. */
  readonly flags: number;
  readonly offset: number;
  readonly length: number;
  /** A write's data, or where a read's data goes. */
  readonly iov?: IoVec;
  /** Where a status answer goes. */
  readonly extents?: ExtentList;
  /** Bytes at the start of a status request that its caller did not ask about. */
  readonly skip?: number;
  /** Which of the connection's contexts a status request is about. Default: the allocation. */
  readonly context?: number;
}

/**
 * One request on its way: waiting for a connection, sent, or settled. It is sent again, as it is, when its connection is
 * lost and that is safe.
 */
export class Request {
  readonly operation: Operation;
  readonly command: number;
  readonly flags: number;
  readonly offset: number;
  readonly length: number;
  readonly iov: IoVec | undefined;
  readonly extents: ExtentList | undefined;
  readonly skip: number;
  readonly context: number;
  /** Settles once, with the answer or with what failed. */
  readonly promise: Promise<void>;
  /** Milliseconds of the session's clock when it was last sent. */
  sentAt = 0;
  /** How often it was sent. */
  attempts = 0;
  /** How often its connection was lost without having answered anything at all. */
  fruitless = 0;
  /** A write that overlaps it was sent after it and has been answered: it must not be sent again. */
  overtaken = false;
  /** What the next flush has to cover when this one, a flush, was called. */
  covers = 0;
  /** Called when the request settles. */
  onSettled: (() => void) | undefined;
  settled = false;
  #resolve: () => void = () => undefined;
  #reject: (error: unknown) => void = () => undefined;

  constructor(init: RequestInit) {
    this.operation = init.operation;
    this.command = init.command;
    this.flags = init.flags;
    this.offset = init.offset;
    this.length = init.length;
    this.iov = init.iov;
    this.extents = init.extents;
    this.skip = init.skip ?? 0;
    this.context = init.context ?? ALLOCATION;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** Bytes that travel: the data of a read or write. */
  get payload(): number {
    return this.command === Command.Read || this.command === Command.Write ? this.length : 0;
  }

  /** Whether it changes what the export holds. */
  get changes(): boolean {
    return (
      this.command === Command.Write || this.command === Command.WriteZeroes || this.command === Command.Trim
    );
  }

  /** Whether its effect can be lost, after its answer, until a flush. A lost trim loses nothing. */
  get needsFlush(): boolean {
    return this.changes && this.command !== Command.Trim && (this.flags & CommandFlag.Fua) === 0;
  }

  overlaps(other: Request): boolean {
    return this.offset < other.offset + other.length && other.offset < this.offset + this.length;
  }

  succeed(): void {
    this.#settle(() => this.#resolve());
  }

  fail(error: unknown): void {
    this.#settle(() => this.#reject(error));
  }

  #settle(settle: () => void): void {
    if (this.settled) return;
    this.settled = true;
    this.onSettled?.();
    settle();
  }
}

/** A read or write of a whole vector. */
export function transfer(
  operation: "read" | "write",
  flags: number,
  offset: number,
  iov: IoVec,
): RequestInit {
  const command = operation === "read" ? Command.Read : Command.Write;
  return { operation, command, flags, offset, length: iovLength(iov), iov };
}

/**
 * Most bytes of one zero request, trim or status question. The protocol has room for 4 GiB; smaller steps are answered in
 * time even by a server that writes the zeroes out.
 */
export const MAX_EFFECT: number = 1024 * 1024 * 1024;

/**
 * A question about a range of at least one byte. Questions need no alignment in the block layer, but some servers answer only
 * about whole blocks of `unit` bytes.
 */
export function question(
  offset: number,
  length: number,
  unit: number,
  extents: ExtentList,
  context: number,
): RequestInit {
  const skip = offset % unit;
  const whole = Math.ceil((skip + length) / unit) * unit;
  return {
    operation: "status",
    command: Command.BlockStatus,
    flags: 0,
    offset: offset - skip,
    length: Math.min(whole, MAX_EFFECT),
    extents,
    skip,
    context,
  };
}
