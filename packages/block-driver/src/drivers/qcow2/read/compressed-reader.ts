import { iovCopy, iovLength, isPromise, type IoVec } from "../../../contract/io.ts";
import { BlockError } from "../../../errors.ts";
import { ScratchMemory } from "../../../io/scratch-memory.ts";
import { decoderFor, NO_ZSTD } from "../compression/choose-decoder.ts";
import type { ClusterDecoder } from "../compression/cluster-decoder.ts";
import { decodeCompressed, type CompressedRange } from "../format/l2-entry.ts";
import type { Image } from "../image.ts";
import { readHost } from "../metadata/host-read.ts";
import type { L2Slice } from "../metadata/l2-slice.ts";
import { DecodedClusters } from "./decoded-clusters.ts";
import type { ReadCounters } from "./read-counters.ts";

/** Host bytes read at once for neighbouring clusters. */
const SPAN_BYTES = 2 * 1024 * 1024;
/** Clusters are stored back to back; a gap up to this is read through. */
const GAP_BYTES = 64 * 1024;
const CLUSTERS_KEPT = 16;
/** Clusters decoded by one call, and the bytes they may decode to: enough to share its price, few enough to share the work. */
const GROUP_CLUSTERS = 16;
const GROUP_BYTES = 1024 * 1024;

/** Memory for what is read, shared by all images. */
const scratch = new ScratchMemory();

/** A part of one compressed cluster that somebody wants. */
export interface CompressedPart {
  readonly stored: CompressedRange;
  /** Guest offset of the part, for messages. */
  readonly guestOffset: number;
  /** Where the part begins within the decoded cluster. */
  readonly from: number;
  readonly into: IoVec;
}

/** Where the compressed cluster at guest byte `offset` is stored; undefined when its descriptor makes no sense. */
export function storedAt(image: Image, slice: L2Slice, offset: number): CompressedRange | undefined {
  const { geometry } = image;
  const stride = geometry.l2EntryBytes / 4;
  const at = stride * Math.floor((offset - slice.guestOffset) / geometry.clusterSize);
  const range: CompressedRange = { offset: 0, length: 0, sectorStart: 0 };
  const sane = decodeCompressed(slice.words[at] ?? 0, slice.words[at + 1] ?? 0, geometry, range);
  return sane ? range : undefined;
}

/**
 * Reads compressed clusters. Neighbours in the file are read together, and all that were read are decoded side by side, in
 * groups, on the runtime's thread pool.
 */
export class CompressedReader {
  readonly #image: Image;
  readonly #counters: ReadCounters;
  #decoder: Promise<ClusterDecoder | undefined> | undefined;
  readonly #kept = new DecodedClusters(CLUSTERS_KEPT);

  constructor(image: Image, counters: ReadCounters) {
    this.#image = image;
    this.#counters = counters;
  }

  /** Reads the parts, which are in guest order. */
  async read(parts: readonly CompressedPart[]): Promise<void> {
    const spans: Promise<void>[] = [];
    for (let first = 0; first < parts.length;) {
      const end = endOfSpan(parts, first);
      spans.push(this.#readSpan(parts.slice(first, end)));
      first = end;
    }
    await settleAll(spans);
  }

  async #readSpan(parts: readonly CompressedPart[]): Promise<void> {
    const [first] = parts;
    const last = parts.at(-1);
    if (first === undefined || last === undefined) return;
    if (parts.length === 1) {
      const cluster = await this.#kept.get(first.stored.offset, () => this.#readAlone(first));
      copyPart(cluster, first);
      return;
    }
    const start = first.stored.offset;
    const length = last.stored.offset + last.stored.length - start;
    const memory = scratch.take(length);
    const span = memory.subarray(0, length);
    await this.#readStored(start, span);
    try {
      const { clusterSize } = this.#image.geometry;
      const groupLength = Math.max(1, Math.min(GROUP_CLUSTERS, Math.floor(GROUP_BYTES / clusterSize)));
      const groups: Promise<void>[] = [];
      for (let from = 0; from < parts.length; from += groupLength) {
        groups.push(this.#decodeGroup(parts.slice(from, from + groupLength), span, start));
      }
      await settleAll(groups);
    } finally {
      scratch.give(memory);
    }
  }

  /** Decodes the parts, whose clusters are in `span`, which begins at host byte `start`. */
  async #decodeGroup(parts: readonly CompressedPart[], span: Uint8Array, start: number): Promise<void> {
    const inputOf = ({ stored }: CompressedPart): Uint8Array =>
      span.subarray(stored.offset - start, stored.offset - start + stored.length);
    const alone = new Set(parts);
    const decoder = await this.#loadDecoder();
    await decoder?.many?.(parts.map(inputOf), this.#image.geometry.clusterSize, (cluster, index) => {
      const part = parts[index];
      if (part === undefined) return;
      alone.delete(part);
      this.#counters.compressedClusters += 1;
      copyPart(cluster, part);
    });
    await settleAll(Array.from(alone, (part) => this.#decodeInto(inputOf(part), part)));
  }

  /** Decodes where the part is wanted if that is a whole cluster in one piece, otherwise beside it. */
  async #decodeInto(input: Uint8Array, part: CompressedPart): Promise<void> {
    const { clusterSize } = this.#image.geometry;
    const [only] = part.into;
    if (part.into.length === 1 && only?.length === clusterSize) {
      await this.#decode(input, part, only);
      return;
    }
    const cluster = Buffer.allocUnsafeSlow(clusterSize);
    await this.#decode(input, part, cluster);
    copyPart(cluster, part);
  }

  async #readAlone(part: CompressedPart): Promise<Uint8Array> {
    const input = Buffer.allocUnsafeSlow(part.stored.length);
    await this.#readStored(part.stored.offset, input);
    const cluster = Buffer.allocUnsafeSlow(this.#image.geometry.clusterSize);
    await this.#decode(input, part, cluster);
    return cluster;
  }

  /** Found by the first who needs it: most images have no compressed clusters. */
  #loadDecoder(): Promise<ClusterDecoder | undefined> {
    this.#decoder ??= decoderFor(this.#image.header.compressionType);
    return this.#decoder;
  }

  async #readStored(offset: number, bytes: Uint8Array): Promise<void> {
    this.#counters.compressedReads += 1;
    this.#counters.compressedBytes += bytes.length;
    const read = readHost(this.#image.file, offset, [bytes]);
    if (isPromise(read)) await read;
  }

  async #decode(
    input: Uint8Array,
    { guestOffset, stored }: CompressedPart,
    cluster: Uint8Array,
  ): Promise<void> {
    const { label } = this.#image;
    const decoder = await this.#loadDecoder();
    if (decoder === undefined) {
      throw new BlockError("ENOTSUP", `${label}: ${NO_ZSTD}`, {
        node: label,
        operation: "read",
        offset: guestOffset,
      });
    }
    this.#counters.compressedClusters += 1;
    try {
      await decoder.one(input, cluster);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new BlockError(
        "EIO",
        `${label}: the compressed cluster at guest offset ${guestOffset} (host offset 0x${stored.offset.toString(16)}) cannot be decoded: ${why}`,
        { node: label, operation: "read", offset: guestOffset, cause: error },
      );
    }
  }
}

/** Index behind the last part that is worth reading together with part `first`. */
function endOfSpan(parts: readonly CompressedPart[], first: number): number {
  const start = parts[first]?.stored.offset ?? 0;
  let reached = start + (parts[first]?.stored.length ?? 0);
  let index = first + 1;
  for (let part = parts[index]; part !== undefined; index += 1, part = parts[index]) {
    const { offset, length } = part.stored;
    const previous = parts[index - 1]?.stored.offset ?? 0;
    if (offset < previous || offset > reached + GAP_BYTES || offset + length - start > SPAN_BYTES) break;
    reached = Math.max(reached, offset + length);
    if (offset + length < reached) break;
  }
  return index;
}

function copyPart(cluster: Uint8Array, { from, into }: CompressedPart): void {
  iovCopy([cluster.subarray(from, from + iovLength(into))], into);
}

/** Waits for all, then fails with the first failure: no part may still be writing into the caller's buffers. */
async function settleAll(parts: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(parts);
  for (const result of results) if (result.status === "rejected") throw result.reason;
}
