import { BlockError, type BlockDevice, type OpenContext } from "@blockmirror/block-driver";
import type { NbdAddress } from "../protocol/address.ts";
import { parseNbdUri, type NbdUri } from "../protocol/uri.ts";
import { describeAddress } from "./address.ts";
import type { Endpoint } from "./connection.ts";
import { loadCredentials } from "./credentials.ts";
import { describeDevice } from "./describe-device.ts";
import { openFailure } from "./failures.ts";
import { openBitmaps } from "./nbd-bitmaps.ts";
import { NbdDevice } from "./nbd-device.ts";
import { checkTlsFiles, type NbdOptions, type NbdTlsFiles } from "./nbd-options.ts";
import { Session } from "./session.ts";
import { contextNames } from "./status-contexts.ts";
import type { NbdTimers } from "./timers.ts";

/** What the driver's `open` does: connects to the server and takes up the export. */
export async function openDevice(
  options: NbdOptions,
  context: OpenContext,
  timers: NbdTimers,
): Promise<BlockDevice> {
  const { nodeName, readOnly, signal } = context;
  const target = locate(options, nodeName);
  const { address, exportName, tls } = target;
  const label = describeTarget(target);
  const endpoint: Endpoint = {
    address,
    exportName,
    contexts: contextNames(options.bitmaps),
    tls: tls === undefined ? undefined : await loadCredentials(tls, address, nodeName),
  };
  let session: Session;
  try {
    session = await Session.open(
      {
        endpoint,
        label,
        readOnly,
        connections: options.connections,
        patience: {
          openMs: options.openTimeoutMs,
          reconnectMs: options.reconnectDelayMs,
          requestMs: options.requestTimeoutMs,
          flushMs: Math.max(options.requestTimeoutMs, options.flushTimeoutMs),
        },
        trustsServer: options.unflushedWrites === "trust",
        timers,
        report: (message) => context.report({ type: "warning", message }),
      },
      signal,
    );
  } catch (error) {
    if (signal?.aborted === true) {
      throw new BlockError("ECANCELED", `opening ${label} was cancelled`, {
        node: nodeName,
        operation: "open",
      });
    }
    throw openFailure(error, label);
  }
  try {
    const info = describeDevice(session.negotiated, {
      label,
      identity: `nbd:${describeAddress(address)}:${exportName}`,
      exportName,
      readOnly,
      isSecure: tls !== undefined,
    });
    return new NbdDevice(session, info, openBitmaps(session, info, options.bitmaps));
  } catch (error) {
    await session.close();
    throw error;
  }
}

interface Target {
  readonly address: NbdAddress;
  readonly exportName: string;
  /** Undefined: without TLS. */
  readonly tls: NbdTlsFiles | undefined;
}

/** Puts URI and options together; they must not contradict each other. */
function locate(options: NbdOptions, node: string): Target {
  const refuse = (text: string, cause?: unknown): never => {
    throw new BlockError("EINVAL", `node '${node}' (nbd): ${text}`, {
      node,
      operation: "open",
      ...(cause !== undefined && { cause }),
    });
  };
  const { uri, server } = options;
  const exportName = options.export;
  if (uri === undefined && server === undefined) return refuse("needs either 'uri' or 'server'");
  if (uri !== undefined && server !== undefined) return refuse("takes 'uri' or 'server', not both");
  try {
    const parsed = uri === undefined ? undefined : parseNbdUri(uri);
    const address = server ?? parsed?.address ?? refuse("has no address");
    const named = parsed?.exportName ?? "";
    if (exportName !== undefined && named !== "" && named !== exportName) {
      return refuse(`the URI names the export '${named}' and option 'export' names '${exportName}'`);
    }
    if (options.tls === false && parsed?.tls === true)
      return refuse("the URI asks for TLS and option 'tls' forbids it");
    const isSecure = parsed?.tls === true || (options.tls !== undefined && options.tls !== false);
    const files = tlsFiles(parsed, typeof options.tls === "object" ? options.tls : {});
    checkTlsFiles(files);
    return { address, exportName: exportName ?? named, tls: isSecure ? files : undefined };
  } catch (error) {
    if (error instanceof BlockError) throw error;
    return refuse(error instanceof Error ? error.message : String(error), error);
  }
}

/** What a URI says of TLS, and what the option does, which has the last word. */
function tlsFiles(uri: NbdUri | undefined, files: NbdTlsFiles): NbdTlsFiles {
  const pskFile = files.pskFile ?? uri?.tlsPskFile;
  return {
    ...(uri?.tlsCertificates !== undefined && { directory: uri.tlsCertificates }),
    ...(uri?.tlsHostname !== undefined && { serverName: uri.tlsHostname }),
    // Without a file of keys a user is nobody; other clients put up with one, too.
    ...(pskFile !== undefined && { pskFile, ...(uri?.username !== undefined && { username: uri.username }) }),
    ...files,
  };
}

/** The export as a URI, for messages. */
function describeTarget({ address, exportName, tls }: Target): string {
  const scheme = tls === undefined ? "nbd" : "nbds";
  const name = encodeURI(exportName);
  if ("path" in address) return `${scheme}+unix:///${name}?socket=${address.path}`;
  return `${scheme}://${describeAddress(address)}/${name}`;
}
