import { readFile } from "node:fs/promises";
import net from "node:net";
import { userInfo } from "node:os";
import path from "node:path";
import type { ConnectionOptions } from "node:tls";
import { BlockError, toBlockError } from "@blockmirror/block-driver";
import { parsePskKeys, PSK_CIPHERS, type PskKeys } from "../protocol/psk.ts";
import type { NbdAddress } from "../protocol/address.ts";
import type { NbdTlsFiles } from "./nbd-options.ts";

/**
 * Reads the files of a connection with TLS, once, and returns what every connection is made with. The server's
 * certificate is always checked, or that it has the key.
 *
 * @throws BlockError `ENOENT`, `EACCES` or `EINVAL` naming the file.
 */
export async function loadCredentials(
  files: NbdTlsFiles,
  address: NbdAddress,
  node: string,
): Promise<() => ConnectionOptions> {
  if (files.pskFile !== undefined) {
    const shared = await loadKey(files.pskFile, files.username, node);
    return () => shared;
  }
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
    rejectUnauthorized: true,
    ...(files.passphrase !== undefined && { passphrase: files.passphrase }),
    ...(ca !== undefined && { ca }),
    ...(certificate !== undefined && { cert: certificate }),
    ...(certificate !== undefined && key !== undefined && { key }),
  };
  return () => options;
}

async function loadKey(file: string, username: string | undefined, node: string): Promise<ConnectionOptions> {
  const refuse = (text: string, cause?: unknown): never => {
    throw new BlockError("EINVAL", `the file of keys ${file} of ${node}: ${text}`, {
      node,
      operation: "open",
      cause,
    });
  };
  const text = (await load(file, node, true))?.toString() ?? "";
  let keys: PskKeys;
  try {
    keys = parsePskKeys(text);
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error), error);
  }
  const [only] = keys.size === 1 ? keys.keys() : [];
  const identity = username ?? only ?? userInfo().username;
  const psk = keys.get(identity) ?? refuse(`there is no key of the user '${identity}' in it`);
  return {
    ciphers: PSK_CIPHERS,
    minVersion: "TLSv1.2",
    rejectUnauthorized: true,
    pskCallback: () => ({ identity, psk }),
    // A server can ignore the key that it is offered and show a certificate instead, of any authority the system trusts.
    checkServerIdentity: (_host, certificate) =>
      Object.keys(certificate).length === 0
        ? undefined
        : new Error("the server showed a certificate instead of proving that it has the key"),
  };
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
