import { constants } from "node:fs";
import { access, lstat, open, stat } from "node:fs/promises";
import path from "node:path";
import type { BlockGraph } from "@blockmirror/block-driver";

/** What is known about a path before anything is opened for use. */
export type ImageFile =
  | { readonly state: "missing" }
  | { readonly state: "unusable"; readonly reason: string }
  | {
      readonly state: "image";
      /** The same for every name of the same file. */
      readonly identity: string;
      readonly kind: "file" | "block device";
      /** Bytes. */
      readonly size: number;
      readonly writable: boolean;
      /** The format its first bytes announce, if they do. */
      readonly magic: "qcow2" | undefined;
    };

/**
 * Looks at a path without changing anything and without following what an image might name. The size is asked through
 * `graph`, whose file driver knows block devices.
 */
export async function inspectImage(filename: string, graph: BlockGraph): Promise<ImageFile> {
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
  return {
    state: "image",
    identity: device ? `block:${stats.rdev}` : `file:${stats.dev}:${stats.ino}`,
    kind: device ? "block device" : "file",
    size: device ? await sizeOf(filename, graph) : stats.size,
    writable: await isWritable(filename),
    magic: await magicOf(filename),
  };
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

async function sizeOf(filename: string, graph: BlockGraph): Promise<number> {
  const node = await graph.open({ driver: "file", filename, readOnly: true, locking: "off" });
  try {
    return node.size;
  } finally {
    await graph.close(node);
  }
}

async function isWritable(filename: string): Promise<boolean> {
  try {
    await access(filename, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

const QCOW2_MAGIC = Buffer.from([0x51, 0x46, 0x49, 0xfb]);

async function magicOf(filename: string): Promise<"qcow2" | undefined> {
  const handle = await open(filename, "r");
  try {
    const head = Buffer.alloc(QCOW2_MAGIC.byteLength);
    const { bytesRead } = await handle.read(head, 0, head.byteLength, 0);
    return bytesRead === head.byteLength && head.equals(QCOW2_MAGIC) ? "qcow2" : undefined;
  } finally {
    await handle.close();
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
