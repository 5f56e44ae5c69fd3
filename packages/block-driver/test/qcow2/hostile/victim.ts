import { readFileSync } from "node:fs";
import type { BlockErrorCode } from "../../../src/index.ts";
import { createImage } from "../support/create.ts";
import { withImage } from "../support/open.ts";
import { peek64 } from "../support/poke.ts";

const KIB = 1024;
export const MIB: number = 1024 * KIB;
/** Size of every victim's disk. */
export const DISK_BYTES: number = 4 * MIB;
/** The guest offset that pokes aim at, and what is stored there. */
export const AIM = { offset: 0, value: 0x11 } as const;
/** A guest offset that no poke of a mapping concerns, and what is stored there. */
export const BYSTANDER = { offset: 1024 * KIB, value: 0x22 } as const;

/** Where things are in a victim. */
export interface Places {
  readonly file: string;
  readonly clusterSize: number;
  readonly refcountTable: number;
  readonly refcountBlock: number;
  readonly l1: number;
  readonly l2: number;
  /** The entries of {@link AIM} and {@link BYSTANDER}. */
  readonly aimEntry: number;
  readonly bystanderEntry: number;
  readonly data: number;
}

const OFFSET_MASK = 0x00ff_ffff_ffff_fe00n;

/** Makes a valid image with two clusters of data. */
export async function makeVictim(
  file: string,
  create: Readonly<Record<string, unknown>> = {},
  open: Readonly<Record<string, unknown>> = {},
): Promise<Places> {
  await createImage(file, DISK_BYTES, create);
  await withImage(
    file,
    async ({ edge }) => {
      await edge.write(AIM.offset, [Buffer.alloc(64 * KIB, AIM.value)]);
      await edge.write(BYSTANDER.offset, [Buffer.alloc(64 * KIB, BYSTANDER.value)]);
    },
    open,
  );
  return placesOf(file);
}

function placesOf(file: string): Places {
  const header = readFileSync(file).subarray(0, 112);
  const clusterSize = 2 ** header.readUInt32BE(20);
  const isExtended = header.readUInt32BE(4) === 3 && (header.readUInt8(79) & 16) !== 0;
  const entryBytes = isExtended ? 16 : 8;
  const refcountTable = Number(header.readBigUInt64BE(48));
  const l1 = Number(header.readBigUInt64BE(40));
  const l2 = Number(peek64(file, l1) & OFFSET_MASK);
  return {
    file,
    clusterSize,
    refcountTable,
    refcountBlock: Number(peek64(file, refcountTable) & OFFSET_MASK),
    l1,
    l2,
    aimEntry: l2,
    bystanderEntry: l2 + entryBytes * (BYSTANDER.offset / clusterSize),
    data: Number(peek64(file, l2) & OFFSET_MASK),
  };
}

/** A way of opening ends well, or with that code. */
export type Outcome = "ok" | BlockErrorCode;
