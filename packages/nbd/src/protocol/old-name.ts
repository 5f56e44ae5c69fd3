import type { NbdAddress } from "./address.ts";

/** Between the address and the name, which may have colons of its own. */
const EXPORT_NAME = ":exportname=";

/** What an old name says. */
export interface OldName {
  readonly address: NbdAddress;
  readonly exportName: string;
}

/** Whether the text is meant to be an old name: `nbd:` and no slash, with which a URI would go on. */
export function isOldName(text: string): boolean {
  return /^nbd:[^/]/.test(text);
}

/**
 * Takes apart what QEMU's users wrote before there were NBD URIs, and those who migrate storage still do:
 * `nbd:HOST:PORT[:exportname=NAME]` or `nbd:unix:PATH[:exportname=NAME]` (qemu(1), "NBD"). Nothing in it is encoded.
 *
 * @returns what is wrong with it, if anything is.
 */
export function parseOldName(text: string): OldName | string {
  const at = text.indexOf(EXPORT_NAME);
  const where = text.slice("nbd:".length, at < 0 ? undefined : at);
  const exportName = at < 0 ? "" : text.slice(at + EXPORT_NAME.length);
  if (at >= 0 && exportName === "")
    return "it names no export; leave :exportname= out for the server's default";
  if (where.startsWith("unix:")) {
    const path = where.slice("unix:".length);
    return path === "" || path.includes("\0") ? "it names no socket" : { address: { path }, exportName };
  }
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(where) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === undefined) return "use nbd:host:port or nbd:unix:path, and :exportname= behind it";
  if (port < 1 || port > 65_535) return `port ${port} is no port`;
  return { address: { host, port }, exportName };
}
