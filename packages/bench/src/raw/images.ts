import { randomFillSync } from "node:crypto";
import { open, stat, type FileHandle } from "node:fs/promises";

import { run } from "@blockmirror/peers";

const MiB = 2 ** 20;

async function withFile<Value>(
  path: string,
  flags: string,
  body: (file: FileHandle) => Promise<Value>,
): Promise<Value> {
  const file = await open(path, flags);
  try {
    return await body(file);
  } finally {
    await file.close();
  }
}

/** A file of `length` bytes without a hole, of which no two blocks are equal. */
export function writeFullImage(path: string, length: number): Promise<void> {
  return withFile(path, "w", async (file) => {
    const block = randomFillSync(new Uint8Array(MiB));
    const counters = new DataView(block.buffer);
    for (let offset = 0; offset < length; offset += MiB) {
      for (let page = 0; page < MiB; page += 4096) counters.setFloat64(page, offset + page);
      await file.write(block, 0, Math.min(MiB, length - offset), offset);
    }
    await file.datasync();
  });
}

/** A file of `size` bytes with `extents` runs of 1 MiB of data, evenly spread, and holes between. */
export function writeSparseImage(path: string, size: number, extents: number): Promise<void> {
  return withFile(path, "w", async (file) => {
    await file.truncate(size);
    const block = randomFillSync(new Uint8Array(MiB));
    const strideBytes = Math.floor(size / extents / MiB) * MiB;
    for (let index = 0; index < extents; index++) await file.write(block, 0, MiB, index * strideBytes);
    await file.datasync();
  });
}

/** An empty file of `size` bytes, all hole, replacing what was there. */
export function writeEmptyImage(path: string, size: number): Promise<void> {
  return withFile(path, "w", (file) => file.truncate(size));
}

/** Writes what the kernel still holds back for a file, so that it does not fall on the next who is measured. */
export function settle(path: string): Promise<void> {
  return withFile(path, "r+", (file) => file.datasync());
}

/** Bytes the file takes on its file system. */
export async function allocatedBytes(path: string): Promise<number> {
  const { blocks } = await stat(path);
  return blocks * 512;
}

/**
 * Compares two images of data and holes.
 *
 * @throws PeerError when they differ.
 */
export async function assertIdentical(source: string, target: string): Promise<void> {
  await run("qemu-img", ["compare", "-q", "-f", "raw", "-F", "raw", source, target], { timeoutMs: 600_000 });
}
