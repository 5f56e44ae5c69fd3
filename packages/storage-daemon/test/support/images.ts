import { writeFile } from "node:fs/promises";
import type { JsonObject } from "@blockmirror/qmp";

import type { Side } from "./sides.ts";

export const MIB = 1024 * 1024;

/** Writes an image of `size` bytes whose content follows from `seed`; 0 makes it a hole. */
export async function makeImage(side: Side, name: string, size: number, seed: number): Promise<void> {
  const content = Buffer.alloc(size);
  if (seed !== 0) for (let at = 0; at < size; at += 512) content.writeUInt32LE(at + seed, at);
  await writeFile(side.path(name), content);
}

/** Options of a raw node on a file in the side's directory. */
export function rawNode(side: Side, nodeName: string, file: string, more: JsonObject = {}): JsonObject {
  return {
    driver: "raw",
    "node-name": nodeName,
    file: { driver: "file", filename: side.path(file) },
    ...more,
  };
}

/** Two images and their nodes, `src` and `dst`. */
export async function addPair(side: Side, size: number = 4 * MIB): Promise<void> {
  await makeImage(side, "src.raw", size, 7);
  await makeImage(side, "dst.raw", size, 0);
  await side.run("blockdev-add", rawNode(side, "src", "src.raw"));
  await side.run("blockdev-add", rawNode(side, "dst", "dst.raw"));
}
