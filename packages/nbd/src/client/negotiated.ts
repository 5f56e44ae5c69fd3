import { TransmissionFlag } from "../protocol/constants.ts";

/** How the server frames its replies. */
export type ReplyForm = "simple" | "structured" | "extended";

/** What client and server agreed on, and what the server said of the export. */
export interface NegotiatedExport {
  /** Bytes of the export. */
  readonly size: number;
  /** Transmission flags. */
  readonly flags: number;
  readonly form: ReplyForm;
  /** The server's ids of the metadata contexts that it was asked for; undefined for those it has not. */
  readonly contextIds: readonly (number | undefined)[];
  /** Smallest unit of a request, in bytes. */
  readonly minimumBlock: number;
  /** Unit that the server likes. */
  readonly preferredBlock: number;
  /** Most data bytes of one read or write. */
  readonly maximumPayload: number;
}

/** Whether the server may be sent flushes. */
export function canFlush({ flags }: NegotiatedExport): boolean {
  return (flags & TransmissionFlag.SendFlush) !== 0;
}

/** Whether a flush on one connection covers the writes answered on all. */
export function allowsSeveralConnections({ flags }: NegotiatedExport): boolean {
  return (flags & TransmissionFlag.CanMultiConnection) !== 0;
}
