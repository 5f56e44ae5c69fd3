import { TransmissionFlag } from "../protocol/constants.ts";
import type { NegotiatedExport } from "./negotiated.ts";

/** What a server may lose between two connections only at the price of answers that were given already. */
const KEPT_FLAGS =
  TransmissionFlag.SendFlush |
  TransmissionFlag.SendFua |
  TransmissionFlag.SendTrim |
  TransmissionFlag.SendWriteZeroes |
  TransmissionFlag.SendFastZero;

/**
 * Why a new connection cannot take the place of the first one; undefined when it can. The device has told its users its
 * size, limits and capabilities, and they rely on them.
 */
export function incompatibility(
  first: NegotiatedExport,
  now: NegotiatedExport,
  isReadOnly: boolean,
): string | undefined {
  if (now.size !== first.size) return `the export has ${now.size} bytes now, it had ${first.size}`;
  const lost = first.flags & ~now.flags & KEPT_FLAGS;
  if (!isReadOnly && (now.flags & TransmissionFlag.ReadOnly) !== 0) return "the export is read-only now";
  if (!isReadOnly && lost !== 0)
    return `the server lacks features it had before (flags 0x${lost.toString(16)})`;
  if (first.contextIds.some((id, index) => id !== undefined && now.contextIds[index] === undefined))
    return "the server has no block status any more, or not of all bitmaps";
  if (now.minimumBlock > first.minimumBlock) return `the smallest block is ${now.minimumBlock} bytes now`;
  if (now.maximumPayload < first.maximumPayload)
    return `the largest request is ${now.maximumPayload} bytes now`;
  return undefined;
}
