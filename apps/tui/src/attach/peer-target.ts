import { open } from "node:fs/promises";
import type { ImageFormat } from "../images/image-format.ts";
import { isNbdUri } from "../images/is-nbd-uri.ts";
import type { NewJobRequest } from "../job-source/job-source.ts";

/** Options of `blockdev-add` that open the target of a new job. */
export type TargetOptions = Readonly<Record<string, unknown>>;

/** What a target that was made for a job is. */
export interface MadeTarget {
  readonly format: ImageFormat;
  /** Node that it stands on; undefined: nothing. */
  readonly backing: string | undefined;
}

/**
 * The `blockdev-add` options for the target of a mirror on a peer: a file, raw or (by its magic, when it is there and can
 * be read from here, or as it was made) qcow2, or an NBD export. That zeroes may become holes, and are looked for, is in QMP
 * a property of the node and not of the job.
 * @throws Error when an NBD address cannot be expressed.
 */
export async function targetOptions(
  { targetPath: target, unmap = true, detectZeroes = false }: NewJobRequest,
  nodeName: string,
  made: MadeTarget | undefined,
): Promise<TargetOptions> {
  const discard = unmap ? "unmap" : "ignore";
  const zeroes = detectZeroes ? { "detect-zeroes": unmap ? "unmap" : "on" } : {};
  if (isNbdUri(target)) {
    const file = { driver: "nbd", ...(await nbdServer(target)), discard };
    return { driver: "raw", "node-name": nodeName, discard, ...zeroes, file };
  }
  return {
    driver: made?.format ?? ((await isQcow2(target)) ? "qcow2" : "raw"),
    "node-name": nodeName,
    discard,
    ...zeroes,
    file: { driver: "file", filename: target, discard },
    ...(made?.backing !== undefined && { backing: made.backing }),
  };
}

async function nbdServer(uri: string): Promise<Readonly<Record<string, unknown>>> {
  const { parseNbdUri } = await import("@blockmirror/nbd");
  const { address, exportName, tls } = parseNbdUri(uri);
  if (tls) {
    throw new Error("a peer needs a TLS credentials object for nbds; add the node by its monitor first");
  }
  const server =
    "path" in address
      ? { type: "unix", path: address.path }
      : { type: "inet", host: address.host, port: String(address.port) };
  return { server, export: exportName };
}

async function isQcow2(path: string): Promise<boolean> {
  try {
    await using file = await open(path, "r");
    const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0);
    return bytesRead === 4 && buffer.readUInt32BE(0) === 0x514649fb;
  } catch {
    // It may be on a file system only the peer sees; whether it can be opened is the peer's to say.
    return false;
  }
}
