import { open, type FileHandle } from "node:fs/promises";

/** Size of the demo's disk in bytes. */
export const DEMO_SIZE: number = 512 * 1024 * 1024;
const MIB = 1024 * 1024;

/** The parts of the disk that hold data, in MiB; the rest is a hole. */
const DATA: readonly (readonly [start: number, length: number])[] = [
  [0, 48],
  [96, 32],
  [200, 64],
  [384, 40],
];

/**
 * Writes the same sparse disk into every file, so that one of them can serve as the reference. Ends early, with the disk
 * half made, when `signal` is aborted.
 */
export async function makeDemoImages(
  filenames: readonly string[],
  random: () => number,
  signal?: AbortSignal,
): Promise<void> {
  const files = await Promise.all(filenames.map((name) => open(name, "wx")));
  try {
    for (const file of files) await file.truncate(DEMO_SIZE);
    const block = Buffer.alloc(MIB);
    for (const [start, length] of DATA) {
      for (let index = start; index < start + length; index += 1) {
        if (signal?.aborted === true) return;
        fillBlock(block, random);
        await writeAll(files, block, index * MIB);
      }
    }
  } finally {
    for (const file of files) await file.close();
  }
}

async function writeAll(files: readonly FileHandle[], block: Buffer, offset: number): Promise<void> {
  await Promise.all(files.map((file) => file.write(block, 0, block.byteLength, offset)));
}

/** Bytes that differ from block to block and are cheap to make. */
export function fillBlock(block: Buffer, random: () => number): void {
  const words = new Uint32Array(block.buffer, block.byteOffset, Math.floor(block.byteLength / 4));
  let word = Math.floor(random() * 2 ** 32) >>> 0;
  for (let index = 0; index < words.length; index += 1) {
    word = (Math.imul(word, 1664525) + 1013904223) >>> 0;
    words[index] = word;
  }
}

/** A small deterministic generator of numbers in [0, 1): mulberry32. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
