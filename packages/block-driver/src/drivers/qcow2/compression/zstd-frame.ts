import { viewOf } from "../format/u64.ts";

const FRAME_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
const SKIPPABLE_MASK = 0xfffffff0;

/** Bytes of the dictionary id by the low two bits of the frame header descriptor. */
const DICTIONARY_ID_BYTES = [0, 1, 2, 4];
/** Bytes of the content size by the high two bits; the first is 1 when the frame is a single segment. */
const CONTENT_SIZE_BYTES = [0, 2, 4, 8];

/** One frame at the start of a buffer. */
export interface ZstdFrame {
  /** Bytes of the whole frame. */
  readonly length: number;
  /** Holds no content: to be stepped over. */
  readonly skippable: boolean;
  /** Bytes it decodes to, when it says so in up to four bytes. */
  readonly contentSize?: number;
}

/**
 * Finds where the zstd frame at byte `at` ends, by its block headers (RFC 8878, "Frames" and "Blocks"). A decoder that is
 * given more than a frame takes what follows for the next one, and behind a compressed cluster follows another cluster.
 * Undefined when it is no frame, or not all there.
 */
export function zstdFrameAt(bytes: Uint8Array, at: number): ZstdFrame | undefined {
  const view = viewOf(bytes);
  if (at + 8 > bytes.length) return undefined;
  const magic = view.getUint32(at, true);
  if ((magic & SKIPPABLE_MASK) >>> 0 === SKIPPABLE_MAGIC) {
    const length = 8 + view.getUint32(at + 4, true);
    return at + length > bytes.length ? undefined : { length, skippable: true };
  }
  if (magic !== FRAME_MAGIC) return undefined;
  const descriptor = bytes[at + 4] ?? 0;
  const singleSegment = (descriptor & 0x20) !== 0;
  const sizeCode = descriptor >>> 6;
  const sizeBytes = sizeCode === 0 && singleSegment ? 1 : (CONTENT_SIZE_BYTES[sizeCode] ?? 0);
  const checksumBytes = (descriptor & 0x04) === 0 ? 0 : 4;
  const sizeAt = at + 5 + (singleSegment ? 0 : 1) + (DICTIONARY_ID_BYTES[descriptor & 3] ?? 0);
  let next = sizeAt + sizeBytes;
  for (;;) {
    if (next + 3 > bytes.length) return undefined;
    const header = view.getUint16(next, true) + (bytes[next + 2] ?? 0) * 0x1_0000;
    const isLast = (header & 1) !== 0;
    // A block of one repeated byte is stored as that byte.
    const isRepeat = ((header >>> 1) & 3) === 1;
    next += 3 + (isRepeat ? 1 : header >>> 3);
    if (isLast) break;
  }
  const length = next + checksumBytes - at;
  if (at + length > bytes.length) return undefined;
  const contentSize = contentSizeAt(view, sizeAt, sizeBytes);
  return { length, skippable: false, ...(contentSize !== undefined && { contentSize }) };
}

/** The field "Frame_Content_Size"; a size of two bytes is stored less 256. */
function contentSizeAt(view: DataView, at: number, sizeBytes: number): number | undefined {
  switch (sizeBytes) {
    case 1:
      return view.getUint8(at);
    case 2:
      return 256 + view.getUint16(at, true);
    case 4:
      return view.getUint32(at, true);
    default:
      return undefined;
  }
}
