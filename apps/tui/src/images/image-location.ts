import path from "node:path";
import type { DeviceSpec } from "@blockmirror/block-driver";
import type { ImageFormat } from "./image-format.ts";
import { isNbdUri } from "./is-nbd-uri.ts";

/** How an image is used. */
export interface ImageUse extends ServerTrust {
  /** A dirty bitmap that will be loaded: a server has to be asked for it from the beginning. */
  readonly bitmap?: string | undefined;
}

/** How an export that is reached over NBD is used. */
interface ServerTrust {
  /** What a lost server means for writes it answered and had not flushed. Default `fail`. */
  readonly unflushedWrites?: "fail" | "trust" | undefined;
}

/** Options of the node that holds an image's bytes: a file's, or those of an export that is reached over NBD. */
export function containerSpec(location: string, { unflushedWrites }: ServerTrust = {}): DeviceSpec {
  return isNbdUri(location)
    ? { driver: "nbd", uri: location, ...(unflushedWrites !== undefined && { unflushedWrites }) }
    : { driver: "file", filename: path.resolve(location) };
}

/** Options of the node for an image that the user named by a path or an NBD address. */
export function imageSpec(
  location: string,
  format: ImageFormat,
  readOnly: boolean,
  { bitmap, ...trust }: ImageUse = {},
): DeviceSpec {
  // A server's bitmaps are at the node that reaches it, not at one above.
  if (bitmap !== undefined && format === "raw" && isNbdUri(location)) {
    return { ...containerSpec(location, trust), readOnly, bitmaps: [bitmap] };
  }
  return { driver: format, readOnly, file: containerSpec(location, trust) };
}

/** The same place, told so that it can be found from any directory. */
export function absoluteLocation(location: string): string {
  return isNbdUri(location) ? location : path.resolve(location);
}
