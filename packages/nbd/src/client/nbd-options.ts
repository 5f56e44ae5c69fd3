import { option, optionSchema, type OptionSchema } from "@blockmirror/block-driver";
import { DEFAULT_PORT, MAX_STRING } from "../protocol/constants.ts";
import type { NbdAddress } from "../protocol/address.ts";

/** What a connection with TLS is made with: certificates, files in PEM form; or a key that the server has too. */
export interface NbdTlsFiles {
  /**
   * A directory with `ca-cert.pem`, and for a server that wants to know its clients `client-cert.pem` and
   * `client-key.pem`: the names that QEMU and libnbd use.
   */
  readonly directory?: string;
  /** The authorities that the server's certificate is checked against. Default: those of the system. */
  readonly ca?: string;
  /** The client's certificate. */
  readonly certificate?: string;
  /** The key of the client's certificate. */
  readonly key?: string;
  /** What `key` is encrypted with. */
  readonly passphrase?: string;
  /** The name that the server's certificate must have. Default: the host, or `localhost` for a Unix socket. */
  readonly serverName?: string;
  /** A file of lines `user:hexkey`, instead of all certificates: the pre-shared keys of QEMU, libnbd and `psktool`. */
  readonly pskFile?: string;
  /** Whose key of `pskFile` it is. Default: the only one there is, or else the login name. */
  readonly username?: string;
}

/** Options of the `nbd` driver. Either `uri` or `server` is needed. */
export interface NbdOptions {
  /** `nbd://host:port/export`, `nbd+unix:///export?socket=path`, or the same with `nbds` for TLS. */
  readonly uri: string | undefined;
  /** A Unix socket, or a host and port. Default port 10809. */
  readonly server: NbdAddress | undefined;
  /** Name of the export. Default: that of the URI, or empty, the server's default. */
  readonly export: string | undefined;
  /** TLS: false, true, or its files. Default: as the URI says. */
  readonly tls: boolean | NbdTlsFiles | undefined;
  /** Names of the server's dirty bitmaps that `loadDirtyBitmap` of block-driver can load. Default: none. */
  readonly bitmaps: readonly string[];
  /** Most connections to a server that allows several, 1 to 16. Default 4. */
  readonly connections: number;
  /** How long requests wait for a lost server, in milliseconds; 0 fails them at once. Default 10 000. */
  readonly reconnectDelayMs: number;
  /** Limit of connecting and shaking hands, in milliseconds. Default 10 000. */
  readonly openTimeoutMs: number;
  /** How long a server may be silent with a request outstanding, in milliseconds. Default 60 000. */
  readonly requestTimeoutMs: number;
  /** The same while a flush is outstanding. Default 600 000. */
  readonly flushTimeoutMs: number;
  /**
   * What a lost server means for writes it answered but had not flushed. `fail`: they may be gone, the device refuses
   * requests from then on. `trust`: the server keeps what it answered, even when it is started again. Default `fail`.
   */
  readonly unflushedWrites: "fail" | "trust";
}

const MAX_TIME_MS = 2 ** 31 - 1;
/** Every answer about the allocation carries the bitmaps, too. */
const MAX_BITMAPS = 16;
const MAX_BITMAP_NAME = 1023;

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function onlyKnown(value: Readonly<Record<string, unknown>>, known: readonly string[]): void {
  const unknown = Object.keys(value).find((name) => !known.includes(name));
  if (unknown !== undefined)
    throw new Error(`has an unknown member '${unknown}'; it can have ${known.join(", ")}`);
}

function text(value: unknown, what: string): string {
  if (typeof value === "string" && value !== "" && !value.includes("\0")) return value;
  throw new Error(`needs a non-empty ${what}`);
}

function parseServer(value: unknown): NbdAddress | undefined {
  if (value === undefined) return undefined;
  if (!isRecord(value)) throw new Error("must be { path } or { host, port }");
  if ("path" in value) {
    onlyKnown(value, ["path"]);
    return { path: text(value["path"], "path") };
  }
  onlyKnown(value, ["host", "port"]);
  const port = value["port"] ?? DEFAULT_PORT;
  if (typeof port !== "number" || !Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new Error("needs a port from 1 to 65535");
  }
  return { host: text(value["host"], "host"), port };
}

function parseName(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "string" || value.includes("\0")) throw new Error("must be a string without NUL");
  if (Buffer.byteLength(value) > MAX_STRING) throw new Error(`has more than ${MAX_STRING} bytes`);
  return value;
}

const CERTIFICATE_MEMBERS = ["directory", "ca", "certificate", "key", "passphrase", "serverName"] as const;
const TLS_MEMBERS = [...CERTIFICATE_MEMBERS, "pskFile", "username"] as const;

function parseTls(value: unknown): boolean | NbdTlsFiles | undefined {
  if (value === undefined || typeof value === "boolean") return value;
  if (!isRecord(value)) throw new Error(`must be true, false, or an object with ${TLS_MEMBERS.join(", ")}`);
  onlyKnown(value, TLS_MEMBERS);
  const given = TLS_MEMBERS.filter((name) => value[name] !== undefined);
  const files: NbdTlsFiles = Object.fromEntries(given.map((name) => [name, text(value[name], name)]));
  if ((files.certificate === undefined) !== (files.key === undefined)) {
    throw new Error("needs both certificate and key, or neither");
  }
  return files;
}

/** @throws Error when certificates and pre-shared keys are mixed, or a user has no file with a key. */
export function checkTlsFiles(files: NbdTlsFiles): void {
  if (files.pskFile === undefined) {
    if (files.username !== undefined) throw new Error("has a username for TLS and no pskFile with its key");
    return;
  }
  const certificate = CERTIFICATE_MEMBERS.find((name) => files[name] !== undefined);
  if (certificate !== undefined) {
    throw new Error(
      `has a pskFile and certificates for TLS, which takes one of them: leave ${certificate} out`,
    );
  }
}

function parseBitmaps(value: unknown): readonly string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new Error("must be an array of names");
  if (value.length > MAX_BITMAPS) throw new Error(`has more than ${MAX_BITMAPS} names`);
  const names = value.map((name: unknown) => text(name, "name of each bitmap"));
  if (new Set(names).size < names.length) throw new Error("has a name twice");
  const long = names.find((name) => Buffer.byteLength(name) > MAX_BITMAP_NAME);
  if (long !== undefined) throw new Error(`has a name of more than ${MAX_BITMAP_NAME} bytes`);
  return names;
}

/** What the `nbd` driver accepts. */
export const NBD_OPTIONS: OptionSchema<NbdOptions> = optionSchema({
  uri: option.optionalString("nbd://host:port/export or nbd+unix:///export?socket=path; nbds for TLS"),
  server: option.json("{ path } of a Unix socket, or { host, port }", parseServer),
  export: option.json("name of the export; default: the server's default export", parseName),
  tls: option.json(`false, true, or an object with ${TLS_MEMBERS.join(", ")}`, parseTls),
  bitmaps: option.json("names of the server's dirty bitmaps that can be loaded", parseBitmaps),
  connections: option.integer("most connections to a server that allows several", 4, { min: 1, max: 16 }),
  reconnectDelayMs: option.integer("how long requests wait for a lost server", 10_000, { max: MAX_TIME_MS }),
  openTimeoutMs: option.integer("limit of connecting and shaking hands", 10_000, {
    min: 1,
    max: MAX_TIME_MS,
  }),
  requestTimeoutMs: option.integer("how long a server may be silent with a request outstanding", 60_000, {
    min: 1,
    max: MAX_TIME_MS,
  }),
  flushTimeoutMs: option.integer("the same while a flush is outstanding", 600_000, {
    min: 1,
    max: MAX_TIME_MS,
  }),
  unflushedWrites: option.choice(
    "what a lost server means for answered writes that were not flushed",
    ["fail", "trust"],
    "fail",
  ),
});
