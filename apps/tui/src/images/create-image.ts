import path from "node:path";
import type { BlockGraph } from "@blockmirror/block-driver";
import { RequestError } from "../engine/request-error.ts";
import type { CreationOptions } from "./creation-options.ts";
import type { ImageFormat } from "./image-format.ts";
import { isNbdUri } from "./is-nbd-uri.ts";
import { fileExists, removeFile } from "./image-session.ts";

/** An image to make. */
export interface NewImage {
  readonly filename: string;
  readonly format: ImageFormat;
  /** Bytes. */
  readonly size: number;
  /** By the driver's names; `dataFileName` is a file that is made too. */
  readonly options: CreationOptions;
  /** Replace files that exist. */
  readonly overwrite: boolean;
}

/**
 * Makes an image with its files, and returns those that were not there before. They are removed again when it fails; a
 * file that was replaced is empty then.
 * @throws RequestError when a file is in the way.
 */
export async function createImage(
  graph: BlockGraph,
  image: NewImage,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const { filename, format, size, options, overwrite } = image;
  if (isNbdUri(filename)) {
    throw new RequestError(`${filename} is an NBD address; an export cannot be made, only a file`);
  }
  if (format === "raw") {
    const replaced = await fileExists(filename);
    await graph.create("file", { filename: path.resolve(filename), size, overwrite, ...options }, signal);
    return replaced ? [] : [filename];
  }
  const { dataFileName, ...rest } = options;
  const dataFile = typeof dataFileName === "string" ? dataFileName : undefined;
  const made: string[] = [];
  try {
    for (const name of dataFile === undefined ? [filename] : [dataFile, filename]) {
      await makeEmpty(graph, name, overwrite, made);
    }
    await graph.create(
      format,
      {
        ...rest,
        file: { driver: "file", filename: path.resolve(filename) },
        size,
        ...(dataFile !== undefined && {
          dataFile: { driver: "file", filename: path.resolve(dataFile) },
          dataFileName: recordedName(dataFile, filename),
        }),
      },
      signal,
    );
    return made;
  } catch (error) {
    for (const name of made) await removeFile(name);
    throw error;
  }
}

async function makeEmpty(
  graph: BlockGraph,
  filename: string,
  overwrite: boolean,
  made: string[],
): Promise<void> {
  const exists = await fileExists(filename);
  if (exists && !overwrite) {
    throw new RequestError(`${filename} exists; give --force to replace it, or name another`);
  }
  // What is there is emptied only when the options are known to be good.
  if (exists) return;
  await graph.create("file", { filename: path.resolve(filename), size: 0 });
  made.push(filename);
}

/**
 * The name of a data file as the image records it. Some programs take it from the image's directory and some from their
 * own, so a relative name is kept only where both are the same.
 */
function recordedName(dataFile: string, image: string): string {
  const fromImage = path.resolve(path.dirname(image), dataFile);
  return fromImage === path.resolve(dataFile) ? dataFile : path.resolve(dataFile);
}
