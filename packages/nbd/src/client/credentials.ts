import { readFile } from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import type { ConnectionOptions } from "node:tls";
import { BlockError, toBlockError } from "@blockmirror/block-driver";
import type { NbdAddress } from "../protocol/uri.ts";
import type { NbdTlsFiles } from "./nbd-options.ts";

/**
 * Reads the files of a connection with TLS, once, and returns what every connection is made with. The server's
 * certificate is always checked.
 *
 * @throws BlockError `ENOENT`, `EACCES` or `EINVAL` naming the file.
 */
export async function loadCredentials(
  files: NbdTlsFiles,
  address: NbdAddress,
  node: string,
): Promise<() => ConnectionOptions> {
  const { directory } = files;
  const inDirectory = (name: string): string | undefined =>
    directory === undefined ? undefined : path.join(directory, name);
  const ca = await load(files.ca ?? inDirectory("ca-cert.pem"), node, true);
  // A directory without a client certificate is for servers that do not ask for one.
  const isGiven = files.certificate !== undefined;
  const certificate = await load(files.certificate ?? inDirectory("client-cert.pem"), node, isGiven);
  const key = await load(
    files.key ?? inDirectory("client-key.pem"),
    node,
    isGiven || certificate !== undefined,
  );
  const options: ConnectionOptions = {
    ...identity(files, address),
    ...(ca !== undefined && { ca }),
    ...(certificate !== undefined && { cert: certificate }),
    ...(certificate !== undefined && key !== undefined && { key }),
  };
  return () => options;
}

/** Whose certificate the server has to show. An IP address is not sent as a server name (RFC 6066). */
function identity({ serverName }: NbdTlsFiles, address: NbdAddress): ConnectionOptions {
  const name = serverName ?? ("path" in address ? "localhost" : address.host);
  return net.isIP(name) === 0 ? { servername: name, host: name } : { host: name };
}

async function load(file: string | undefined, node: string, isNeeded: boolean): Promise<Buffer | undefined> {
  if (file === undefined) return undefined;
  try {
    return await readFile(file);
  } catch (error) {
    const failure = toBlockError(error, { node, operation: "open", cause: error });
    if (!isNeeded && failure.code === "ENOENT") return undefined;
    throw new BlockError(failure.code, `cannot read the TLS file ${file} of ${node}: ${failure.message}`, {
      node,
      operation: "open",
      cause: error,
    });
  }
}
