/** Where a QMP server listens: a Unix socket, or a TCP port. */
export type QmpAddress = { readonly path: string } | { readonly host: string; readonly port: number };

/**
 * Reads an address as people write it: a path (`/run/qmp.sock`, `./qmp.sock`), `unix:PATH`, `tcp:HOST:PORT` or
 * `HOST:PORT`; an IPv6 address stands in brackets.
 *
 * @throws TypeError for a port that is none and for an empty text.
 */
export function parseQmpAddress(text: string): QmpAddress {
  if (text.startsWith("unix:")) return unixAddress(text.slice("unix:".length));
  const hasScheme = text.startsWith("tcp:");
  const match = /^(\[[^\]]+\]|[^:/]+):([0-9]+)$/.exec(hasScheme ? text.slice("tcp:".length) : text);
  if (match === null) {
    if (hasScheme) throw new TypeError(`'${text}' is not an address: expected tcp:HOST:PORT`);
    return unixAddress(text);
  }
  const [, host = "", port = ""] = match;
  const number = Number(port);
  if (number < 1 || number > 65_535) throw new TypeError(`'${text}' is not an address: no such port`);
  return { host: host.replace(/^\[|\]$/g, ""), port: number };
}

function unixAddress(path: string): QmpAddress {
  if (path === "") throw new TypeError("The path of a QMP socket is empty");
  return { path };
}

/** The address as people write it. */
export function formatQmpAddress(address: QmpAddress): string {
  if ("path" in address) return address.path;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `${host}:${address.port}`;
}
