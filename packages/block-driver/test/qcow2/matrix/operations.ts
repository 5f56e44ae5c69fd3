import type { Random } from "../../../src/conformance/random.ts";
import { roundDown, roundUp } from "../../../src/io/requests.ts";
import type { BlockEdge } from "../../../src/index.ts";

type Kind = "write" | "zero" | "unmap" | "discard";

/** A change of a disk that qemu-io and this package can both make. */
export interface Operation {
  readonly kind: Kind;
  readonly offset: number;
  readonly length: number;
  /** Of each byte, for a write. */
  readonly value: number;
}

/** What the disk is, as far as operations depend on it. */
export interface Disk {
  readonly size: number;
  readonly clusterSize: number;
  /** Whether clusters can be given up: in version 2 the backing file would show. */
  readonly canDiscard: boolean;
}

const SPELLING: Readonly<Record<Exclude<Kind, "write">, string>> = {
  zero: "write -z",
  unmap: "write -z -u",
  discard: "discard",
};

/** Chooses `count` operations, aligned to `unit` bytes. A disk of no bytes has none. */
export function chooseOperations(
  random: Random,
  { size, canDiscard }: Disk,
  unit: number,
  count: number,
): readonly Operation[] {
  if (size === 0) return [];
  const kinds = [
    "write",
    "write",
    "write",
    "zero",
    "unmap",
    ...(canDiscard ? (["discard"] as const) : []),
  ] as const;
  return Array.from({ length: count }, () => {
    const most = Math.min(size, random.below(4) === 0 ? 1_500_000 : 90_000);
    const length = roundUp(1 + random.below(most), unit);
    const offset = roundDown(random.below(size - Math.min(size, length) + 1), unit);
    return {
      kind: random.pick(kinds),
      offset,
      length: Math.min(length, size - offset),
      value: 1 + random.below(255),
    };
  });
}

/** In the words of qemu-io. */
export function qemuCommand({ kind, offset, length, value }: Operation): string {
  return kind === "write" ? `write -P ${value} ${offset} ${length}` : `${SPELLING[kind]} ${offset} ${length}`;
}

/** Through this package. */
export async function runOperation(
  edge: BlockEdge,
  { kind, offset, length, value }: Operation,
): Promise<void> {
  if (kind === "write") await edge.write(offset, [Buffer.alloc(length, value)]);
  else if (kind === "discard") await edge.discard(offset, length);
  else await edge.writeZeroes(offset, length, { unmap: kind === "unmap" });
}

/** To what the disk must read as. Whole clusters are discarded; the end of the disk counts as the end of one. */
export function applyOperation(model: Buffer, { clusterSize }: Disk, operation: Operation): void {
  const { kind, offset, length, value } = operation;
  const end = offset + length;
  if (kind !== "discard") {
    model.fill(kind === "write" ? value : 0, offset, end);
    return;
  }
  const start = roundUp(offset, clusterSize);
  const stop = end === model.length ? end : roundDown(end, clusterSize);
  if (start < stop) model.fill(0, start, stop);
}
