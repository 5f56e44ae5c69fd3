import { open } from "node:fs/promises";

const STEP = 4 * 1024 * 1024;

/** The first byte in which two files differ, or undefined when they are equal. Sizes that differ are a difference. */
export async function firstDifference(left: string, right: string): Promise<number | undefined> {
  const a = await open(left, "r");
  const b = await open(right, "r");
  try {
    const bufferA = Buffer.alloc(STEP);
    const bufferB = Buffer.alloc(STEP);
    for (let offset = 0; ;) {
      const readA = (await a.read(bufferA, 0, STEP, offset)).bytesRead;
      const readB = (await b.read(bufferB, 0, STEP, offset)).bytesRead;
      const length = Math.min(readA, readB);
      if (bufferA.compare(bufferB, 0, length, 0, length) !== 0) {
        for (let index = 0; index < length; index += 1)
          if (bufferA[index] !== bufferB[index]) return offset + index;
      }
      if (length === 0) return readA === readB ? undefined : offset;
      offset += length;
    }
  } finally {
    await a.close();
    await b.close();
  }
}
