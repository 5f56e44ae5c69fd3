import { constants } from "node:fs";
import { type FileHandle, open, rm, stat } from "node:fs/promises";
import path from "node:path";
import {
  BlockGraph,
  createDefaultRegistry,
  type BlockEdge,
  type BlockNode,
  type DeviceSpec,
  type ParentInit,
} from "@blockmirror/block-driver";
import { isNbdUri } from "./is-nbd-uri.ts";
import { RequestError } from "../engine/request-error.ts";
import { PROBE_BYTES, probeFormat, type ImageFormat } from "./image-format.ts";
import { gateFor } from "./allowed-directories.ts";

/** How an image of the user's is opened. */
export interface OpenImageOptions {
  /** Default: what its first bytes announce. */
  readonly format?: ImageFormat;
  /** Put up with a program that is writing it. */
  readonly shared?: boolean;
  /** A dirty bitmap that will be loaded: a server has to be asked for it from the beginning. */
  readonly bitmap?: string;
}

/** The images of one command: opened by the user's names, closed together. */
export class ImageSession implements AsyncDisposable {
  readonly graph: BlockGraph;

  /** @param allowed directories in which backing files may lie, beside the image's own. */
  constructor(allowed: readonly string[] = []) {
    this.graph = new BlockGraph({ registry: createDefaultRegistry(), gate: gateFor(allowed) });
  }

  /** The format of a file of the user's, by its first bytes. What an export shows is a disk, and may be a guest's to write. */
  async formatOf(filename: string): Promise<ImageFormat> {
    if (isNbdUri(filename)) return "raw";
    // A FIFO would make the opening wait for a writer; the driver refuses it later.
    const handle = await openToProbe(filename);
    try {
      const stats = await handle.stat();
      if (!stats.isFile() && !stats.isBlockDevice()) return "raw";
      const head = new Uint8Array(PROBE_BYTES);
      const { bytesRead } = await handle.read(head, 0, head.length, 0);
      const { registry } = this.graph;
      const drivers = registry.names().map((name) => registry.get(name));
      return probeFormat(drivers, head.subarray(0, bytesRead), stats.size);
    } finally {
      await handle.close();
    }
  }

  /** Opens an image with its backing chain, or an export that is reached over NBD, read-only. */
  async openImage(filename: string, options: OpenImageOptions = {}): Promise<BlockNode> {
    if (isNbdUri(filename)) return this.#openExport(filename, options);
    const format = options.format ?? (await this.formatOf(filename));
    return this.graph.open({ driver: format, readOnly: true, file: fileSpec(filename, options) });
  }

  /** Opens the file or export that holds an image, not the image, and attaches to it. */
  async openContainer(
    filename: string,
    user: Pick<ParentInit, "name" | "uses">,
    options: Pick<OpenImageOptions, "shared"> = {},
  ): Promise<BlockEdge> {
    const readOnly = !user.uses.includes("write");
    const spec = isNbdUri(filename) ? await this.#exportSpec(filename) : fileSpec(filename, options);
    const node = await this.graph.open({ ...spec, readOnly });
    return this.graph.attach(node, { ...user, shares: readOnly ? ["read", "write", "resize"] : ["read"] });
  }

  async #openExport(uri: string, { format = "raw", bitmap }: OpenImageOptions): Promise<BlockNode> {
    const node = { ...(await this.#exportSpec(uri)), readOnly: true };
    if (format !== "raw") return this.graph.open({ driver: format, readOnly: true, file: node });
    return this.graph.open({ ...node, ...(bitmap !== undefined && { bitmaps: [bitmap] }) });
  }

  /** Most commands look at files: what reaches servers is loaded by those who need it. */
  async #exportSpec(uri: string): Promise<DeviceSpec> {
    const { registry } = this.graph;
    const { nbdDriver } = await import("@blockmirror/nbd");
    if (!registry.has(nbdDriver.name)) registry.register(nbdDriver);
    return { driver: nbdDriver.name, uri };
  }

  async close(): Promise<void> {
    await this.graph.closeAll();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

async function openToProbe(filename: string): Promise<FileHandle> {
  try {
    return await open(filename, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "ENOENT") throw new RequestError(`${filename} does not exist; check the path`);
    if (code === "EACCES") throw new RequestError(`${filename} is not readable; check its permissions`);
    throw error;
  }
}

function fileSpec(filename: string, { shared }: Pick<OpenImageOptions, "shared">): DeviceSpec {
  return {
    driver: "file",
    filename: path.resolve(filename),
    ...(shared === true && { locking: "off" }),
  };
}

/** Whether something has that name. */
export async function fileExists(filename: string): Promise<boolean> {
  try {
    await stat(filename);
    return true;
  } catch {
    return false;
  }
}

/** Removes a file that this command made. */
export async function removeFile(filename: string): Promise<void> {
  await rm(filename, { force: true });
}
