import { BlockError, loadDirtyBitmap, type BlockNode } from "@blockmirror/block-driver";
import { RequestError } from "./request-error.ts";

/**
 * Sees to it that the source has the dirty bitmap that a mirror starts from: an image that is open for writing has its own
 * attached, of others a copy of the stored one is.
 * @param image the source in the user's words.
 * @throws RequestError when there is none of that name, or none to rely on.
 */
export async function provideBitmap(source: BlockNode, name: string, image: string): Promise<void> {
  const attached = [...source.dirtyBitmaps].flatMap((bitmap) => bitmap.name ?? []);
  if (attached.includes(name)) return;
  try {
    await loadDirtyBitmap(source, name);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    if (error.code !== "ENOENT") {
      throw new RequestError(
        `dirty bitmap '${name}' of ${image} cannot be used: ${error.message}; mirror the whole image, with sync full`,
      );
    }
    const stored = source.device.bitmaps?.list().map((bitmap) => bitmap.name) ?? [];
    const names = [...new Set([...attached, ...stored])];
    throw new RequestError(
      `source ${image} has no dirty bitmap '${name}'; it has ${names.length === 0 ? "none" : names.join(", ")}`,
    );
  }
}
