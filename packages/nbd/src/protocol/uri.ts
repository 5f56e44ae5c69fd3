import { DEFAULT_PORT, MAX_STRING } from "./constants.ts";
import { isOldName, parseOldName } from "./old-name.ts";
import type { NbdAddress } from "./address.ts";

/** What an NBD URI says (the NBD project's URI document). */
export interface NbdUri {
  readonly address: NbdAddress;
  /** Name of the export; empty is the server's default. */
  readonly exportName: string;
  /** `nbds`: with TLS. */
  readonly tls: boolean;
  /** `tls-certificates`: a directory of certificates. */
  readonly tlsCertificates?: string;
  /** `tls-hostname`: the name that the server's certificate must have. */
  readonly tlsHostname?: string;
  /** `tls-psk-file`: a file of pre-shared keys. */
  readonly tlsPskFile?: string;
  /** The user before the host, whose key of the file it is. */
  readonly username?: string;
}

const SCHEMES: ReadonlyMap<string, { readonly tls: boolean; readonly unix: boolean }> = new Map([
  ["nbd:", { tls: false, unix: false }],
  ["nbds:", { tls: true, unix: false }],
  ["nbd+unix:", { tls: false, unix: true }],
  ["nbds+unix:", { tls: true, unix: true }],
]);

/** Whether the text is meant to be an NBD URI, or an export as QEMU's users wrote it before. */
export function isNbdUri(text: string): boolean {
  return /^nbds?(?:\+unix)?:\/\//i.test(text) || isOldName(text);
}

/**
 * Takes an NBD URI apart: `nbd://host:port/export`, `nbd+unix:///export?socket=path`, or `nbds` for TLS; also what QEMU's
 * users wrote before: `nbd:host:port:exportname=export`, `nbd:unix:path:exportname=export`.
 * @throws SyntaxError saying what is wrong with it.
 */
export function parseNbdUri(text: string): NbdUri {
  const refuse = (problem: string): never => {
    throw new SyntaxError(`'${text}' is no NBD URI: ${problem}`);
  };
  if (isOldName(text)) {
    const old = parseOldName(text);
    return typeof old === "string"
      ? refuse(old)
      : { ...old, exportName: nameOf(old.exportName, refuse), tls: false };
  }
  // `URL` knows no user without a host, which is how it stands before the path of a Unix socket.
  const [, before = "", user] = USER.exec(text) ?? [];
  const rest = user === undefined ? text : `${before}${text.slice(before.length + user.length + 1)}`;
  const url = URL.canParse(rest)
    ? new URL(rest)
    : refuse("use nbd://host:port/export or nbd+unix:///export?socket=path");
  const scheme =
    SCHEMES.get(url.protocol) ?? refuse(`its scheme is not one of nbd, nbds, nbd+unix, nbds+unix`);
  if (url.hash !== "") refuse("it has a fragment; write a '#' of the export's name as %23");
  const parameters = queryOf(url, refuse);
  const take = (name: string): string | undefined => {
    const value = parameters.get(name);
    parameters.delete(name);
    return value;
  };
  const socket = take("socket");
  const tlsCertificates = take("tls-certificates");
  const tlsHostname = take("tls-hostname");
  const tlsPskFile = take("tls-psk-file");
  const [unknown] = parameters.keys();
  if (unknown !== undefined) refuse(`it has an unknown parameter '${unknown}'`);
  const forCertificates = tlsCertificates ?? tlsHostname;
  if (!scheme.tls && (forCertificates ?? tlsPskFile) !== undefined) refuse("TLS needs the scheme nbds");
  if (forCertificates !== undefined && tlsPskFile !== undefined)
    refuse("it has pre-shared keys and certificates; TLS takes one of them");
  const username = user === undefined ? undefined : userName(user, refuse);
  const address = scheme.unix ? unixAddress(url, socket, refuse) : tcpAddress(url, socket, refuse);
  return {
    address,
    exportName: exportName(text, refuse),
    tls: scheme.tls,
    ...(tlsCertificates !== undefined && { tlsCertificates }),
    ...(tlsHostname !== undefined && { tlsHostname }),
    ...(tlsPskFile !== undefined && { tlsPskFile }),
    ...(username !== undefined && { username }),
  };
}

/** A scheme, and a user after it. */
const USER = /^\s*([a-z+]+:\/\/)([^/?#@]*)@/i;

function userName(encoded: string, refuse: Refuse): string {
  let name = "";
  try {
    name = decodeURIComponent(encoded);
  } catch {
    return refuse("the name of its user is not well encoded");
  }
  return /^[^:\0]+$/.test(name) ? name : refuse("the name of its user is empty, or has a colon or a NUL");
}

type Refuse = (problem: string) => never;

function unixAddress(url: URL, socket: string | undefined, refuse: Refuse): NbdAddress {
  if (url.host !== "") return refuse("a Unix socket has no host: write nbd+unix:///export?socket=path");
  if (socket === undefined || socket === "" || socket.includes("\0"))
    return refuse("it names no socket: add ?socket=path");
  return { path: socket };
}

function tcpAddress(url: URL, socket: string | undefined, refuse: Refuse): NbdAddress {
  if (socket !== undefined) return refuse("a socket needs the scheme nbd+unix or nbds+unix");
  const host = decodeURIComponent(url.hostname).replace(/^\[(.*)\]$/, "$1");
  if (host === "") return refuse("it names no host");
  const port = url.port === "" ? DEFAULT_PORT : Number(url.port);
  return port === 0 ? refuse("port 0 is no port") : { host, port };
}

/** The query, percent-decoded only: a plus is a plus here, as in file names. */
function queryOf(url: URL, refuse: Refuse): Map<string, string> {
  const parts = url.search.slice(1).split("&");
  try {
    return new Map(
      parts
        .filter((part) => part !== "")
        .map((part) => {
          const at = part.includes("=") ? part.indexOf("=") : part.length;
          return [decodeURIComponent(part.slice(0, at)), decodeURIComponent(part.slice(at + 1))];
        }),
    );
  } catch {
    return refuse("its query is not well encoded");
  }
}

/** The path after its first slash, in a text that is known to be a URI. */
const PATH = /^[^:]+:\/\/[^/?#]*\/([^?#]*)/;

/** The path without its first slash, decoded. A name is no path: `..` in it means nothing, so `URL` must not resolve it. */
function exportName(text: string, refuse: Refuse): string {
  let name: string;
  try {
    name = decodeURIComponent((PATH.exec(text.trim())?.[1] ?? "").replaceAll(/[\t\n\r]/g, ""));
  } catch {
    return refuse("the name of its export is not well encoded");
  }
  return nameOf(name, refuse);
}

function nameOf(name: string, refuse: Refuse): string {
  if (name.includes("\0")) return refuse("the name of its export has a NUL");
  return Buffer.byteLength(name) > MAX_STRING
    ? refuse(`the name of its export has more than ${MAX_STRING} bytes`)
    : name;
}

/** Writes an NBD URI; `parseNbdUri` of it says the same again. */
export function formatNbdUri(uri: NbdUri): string {
  const { address, exportName, tls } = uri;
  const query: string[] = [];
  if ("path" in address) query.push(`socket=${encodePath(address.path)}`);
  if (uri.tlsCertificates !== undefined) query.push(`tls-certificates=${encodePath(uri.tlsCertificates)}`);
  if (uri.tlsHostname !== undefined) query.push(`tls-hostname=${encodePath(uri.tlsHostname)}`);
  if (uri.tlsPskFile !== undefined) query.push(`tls-psk-file=${encodePath(uri.tlsPskFile)}`);
  const user = uri.username === undefined ? "" : `${encodeURIComponent(uri.username)}@`;
  const scheme = `${tls ? "nbds" : "nbd"}${"path" in address ? "+unix" : ""}`;
  const where = "path" in address ? "" : formatHost(address.host, address.port);
  return `${scheme}://${user}${where}/${encodePath(exportName)}${query.length === 0 ? "" : `?${query.join("&")}`}`;
}

function formatHost(host: string, port: number): string {
  const name = host.includes(":") ? `[${host}]` : host;
  return port === DEFAULT_PORT ? name : `${name}:${port}`;
}

/** Slashes stay readable; everything that could end a name is encoded. */
function encodePath(name: string): string {
  return encodeURIComponent(name).replaceAll("%2F", "/");
}
