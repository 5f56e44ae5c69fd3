import { lstat, unlink } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import { BlockGraph, createDefaultRegistry } from "@blockmirror/block-driver";

/** What tells a file from any other, and from itself once it has more in it. */
export interface SeenFile {
  readonly device: number;
  readonly inode: number;
  readonly size: number;
  /** Space that it takes. Not the time of its last change: opening an image may touch that, to see what its file system can. */
  readonly blocks: number;
}

/** The file at a path; undefined when nothing is seen there from here, which says little of a peer's file systems. */
export async function seeFile(path: string): Promise<SeenFile | undefined> {
  try {
    const { dev, ino, size, blocks } = await lstat(path);
    return { device: dev, inode: ino, size, blocks };
  } catch {
    return undefined;
  }
}

/**
 * Removes a file that a peer has just made for a job that did not start. It stays when it is not the file that was
 * `seen`, when it was written since, and when anybody has it open as an image: whatever is not certainly ours is left.
 */
export async function removeUnused(path: string, seen: SeenFile): Promise<void> {
  const graph = new BlockGraph({ registry: createDefaultRegistry() });
  try {
    // The lock tells whether anybody uses it, and keeps others out meanwhile.
    const node = await graph.open({ driver: "file", filename: path });
    const claim = graph.attach(node, { name: "removal", uses: ["write"], shares: [] });
    const now = await seeFile(path);
    if (isDeepStrictEqual(now, seen)) await unlink(path);
    await graph.detach(claim);
  } catch {
    // In use, gone already, or not ours to remove: then it is no rubbish of this attempt.
  } finally {
    await graph.closeAll();
  }
}
