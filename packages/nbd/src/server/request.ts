import type { Slab } from "./reply-arena.ts";

/** What a request goes through, in order. */
export const Stage = {
  /** Its header has arrived. */
  Announced: 0,
  /** Its payload is arriving. */
  Receiving: 1,
  /** Its payload is not wanted and is dropped as it arrives. */
  Skipping: 2,
  /** It is complete and waits to be started. */
  Complete: 3,
} as const;

/** One request of a client. Objects are reused: their two callbacks are made once. */
export class Request {
  command = 0;
  flags = 0;
  cookieHigh = 0;
  cookieLow = 0;
  offset = 0;
  /** The offset as it came: an extended reply repeats it exactly, even where it is beyond the numbers that are exact. */
  offsetHigh = 0;
  offsetLow = 0;
  /** Bytes it is about. */
  length = 0;
  /** Bytes of payload behind its header. */
  payload = 0;
  /** A {@link Stage}. */
  stage = 0;
  /** The error number it will be answered with, found before it was started. */
  refusal = 0;
  /** Bytes of memory it was admitted for. */
  charge = 0;
  startedMs = 0;
  /** What was received of its payload. */
  pieces: Buffer[] = [];
  received = 0;
  /** Small packets of the payload are gathered here. */
  gather: Buffer | undefined;
  gathered = 0;
  /** Where a read puts its data. */
  slab: Slab | undefined;
  slabStart = 0;
  readonly succeed: () => void;
  readonly fail: (error: unknown) => void;

  constructor(onDone: (request: Request) => void, onFailed: (request: Request, error: unknown) => void) {
    this.succeed = () => onDone(this);
    this.fail = (error) => onFailed(this, error);
  }

  /** Makes it ready for another use. */
  reset(): void {
    this.pieces = [];
    this.received = 0;
    this.gather = undefined;
    this.gathered = 0;
    this.slab = undefined;
    this.refusal = 0;
    this.charge = 0;
  }
}
