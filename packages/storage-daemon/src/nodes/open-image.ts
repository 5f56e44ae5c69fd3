import { stat } from "node:fs/promises";
import type { BlockGraph } from "@blockmirror/block-driver";
import { commandError } from "@blockmirror/qmp";

/** Identity of the file as nodes tell it, or undefined when there is none. */
async function identityOf(filename: string): Promise<string | undefined> {
  try {
    const { dev, ino } = await stat(filename);
    return `file:${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

/** Whether something has that name. */
export async function fileExists(filename: string): Promise<boolean> {
  return (await identityOf(filename)) !== undefined;
}

/**
 * Creating an image over one that is open would destroy it: a mirror's own source, perhaps. Locks would say so too, but
 * not everywhere.
 *
 * @throws QmpError of class `GenericError`.
 */
export async function refuseOpenImage(graph: BlockGraph, filename: string): Promise<void> {
  const identity = await identityOf(filename);
  if (identity === undefined) return;
  for (const node of graph.nodes()) {
    if (node.isOpen && node.info.identity === identity) {
      throw commandError(`'${filename}' is open as node '${node.name}' and cannot be created anew`);
    }
  }
}
