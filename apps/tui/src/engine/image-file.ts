import { constants } from "node:fs";
import { access, lstat, stat } from "node:fs/promises";
import path from "node:path";
import { BlockError, type BlockChild, type BlockGraph } from "@blockmirror/block-driver";
import { containerSpec } from "../images/image-location.ts";
import { PROBE_BYTES, probeFormat, type ImageFormat } from "../images/image-format.ts";
import { isNbdUri } from "../images/is-nbd-uri.ts";

/** What is known about a path before anything is opened for use. */
export type ImageFile =
  | { readonly state: "missing" }
  | { readonly state: "unusable"; readonly reason: string }
  | {
      readonly state: "image";
      /** The same for every name of the same file. */
      readonly identity: string;
      readonly kind: "file" | "block device" | "export";
      /** Given by the user, or told by its first bytes. */
      readonly format: ImageFormat;
      /** Bytes that a guest sees. */
      readonly size: number;
      readonly writable: boolean;
    };

/** What is known of an image that this program has open. */
export interface OpenImage {
  readonly format: ImageFormat;
  readonly size: number;
}

/**
 * Looks at a path without changing anything and without following what an image might name. The size is asked through
 * `graph`, whose drivers know block devices and images; what is known of one that is `open` already is taken from there.
 */
export async function inspectImage(
  filename: string,
  graph: BlockGraph,
  wanted?: ImageFormat,
  open?: OpenImage,
): Promise<ImageFile> {
  if (isNbdUri(filename)) return inspectExport(filename, graph, wanted);
  let stats;
  try {
    stats = await stat(filename);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return { state: "missing" };
    return { state: "unusable", reason: `${filename} cannot be looked at: ${reasonOf(error)}` };
  }
  if (stats.isDirectory())
    return { state: "unusable", reason: `${filename} is a directory; name an image file` };
  if (!stats.isFile() && !stats.isBlockDevice()) {
    return { state: "unusable", reason: `${filename} is neither a file nor a block device` };
  }
  try {
    await access(filename, constants.R_OK);
  } catch {
    return { state: "unusable", reason: `${filename} is not readable; check its permissions` };
  }
  const device = stats.isBlockDevice();
  let told;
  try {
    told = open ?? (await lookInside(filename, graph, wanted));
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    // The graph's advice is for programs: to use the node that is open.
    const reason =
      error.code === "EBUSY"
        ? `${filename} is in use by a job or an export of this program; name another image, or end that first`
        : `${filename} cannot be used as an image: ${error.message}`;
    return { state: "unusable", reason };
  }
  return {
    state: "image",
    identity: device ? `block:${stats.rdev}` : `file:${stats.dev}:${stats.ino}`,
    kind: device ? "block device" : "file",
    format: told.format,
    size: told.size,
    writable: await isWritable(filename),
  };
}

/** An export is asked by connecting to it: it says its size, and whether it can be written. */
async function inspectExport(
  uri: string,
  graph: BlockGraph,
  wanted: ImageFormat | undefined,
): Promise<ImageFile> {
  try {
    const told = await lookInside(uri, graph, wanted);
    return { state: "image", identity: `export:${uri}`, kind: "export", ...told, writable: true };
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    // Whoever could not connect has named the address.
    const name = error.message.includes(uri) ? "" : `${uri} `;
    return { state: "unusable", reason: `${name}cannot be used: ${error.message}` };
  }
}

/** Why a file cannot be created at a path; undefined when nothing speaks against it. */
export async function whyNotCreatable(filename: string): Promise<string | undefined> {
  const directory = path.dirname(path.resolve(filename));
  try {
    const stats = await stat(directory);
    if (!stats.isDirectory()) return `${directory} is not a directory`;
    await access(directory, constants.W_OK | constants.X_OK);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return `directory ${directory} does not exist; create it first`;
    return `directory ${directory} is not writable; check its permissions`;
  }
  // Nothing was found at the path, so what is there can only lead nowhere.
  return (await exists(filename)) ? `it is a symbolic link to a file that does not exist` : undefined;
}

async function exists(filename: string): Promise<boolean> {
  try {
    await lstat(filename);
    return true;
  } catch {
    return false;
  }
}

/** Format and size of an image, from its metadata alone. */
async function lookInside(
  filename: string,
  graph: BlockGraph,
  wanted: ImageFormat | undefined,
): Promise<{ readonly format: ImageFormat; readonly size: number }> {
  const node = await graph.open({
    ...containerSpec(filename),
    readOnly: true,
    // Others may be using the file; looking does not disturb them.
    ...(!isNbdUri(filename) && { locking: "off" }),
  });
  const file = graph.attach(node, {
    name: "inspection",
    uses: ["read"],
    shares: ["read", "write", "resize"],
  });
  try {
    const format = wanted ?? (await probe(file, graph));
    const driver = graph.registry.get(format);
    const info = driver.inspect === undefined ? file.info : await driver.inspect(file);
    return { format, size: info.size };
  } finally {
    await graph.detach(file);
    await graph.close(node);
  }
}

async function probe(file: BlockChild, { registry }: BlockGraph): Promise<ImageFormat> {
  const { size } = file.info;
  const head = new Uint8Array(Math.min(PROBE_BYTES, size));
  await file.read(0, [head]);
  return probeFormat(
    registry.names().map((name) => registry.get(name)),
    head,
    size,
  );
}

async function isWritable(filename: string): Promise<boolean> {
  try {
    await access(filename, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: "a directory on its path may not be entered; check its permissions",
  ELOOP: "its symbolic links lead in a circle; name the file itself",
  ENAMETOOLONG: "the name is too long",
  ENOTDIR: "a part of its path is not a directory; check the path",
};

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return ("code" in error ? REASONS[String(error.code)] : undefined) ?? error.message;
}
