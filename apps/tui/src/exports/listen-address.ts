import path from "node:path";
import { parseNbdUri, type ListenOptions } from "@blockmirror/nbd";
import { makeRuntimeDirectory } from "../terminal/runtime-directory.ts";

/** Where to listen, and what an address says beside. */
export interface ListenAddress {
  readonly listen: ListenOptions;
  /** The export's name in the address; empty when it has none. */
  readonly exportName: string;
  readonly tls: boolean;
}

/**
 * Takes an address to listen on apart: an NBD URI.
 * @throws SyntaxError saying what is wrong with it.
 */
export function parseListenAddress(uri: string): ListenAddress {
  const { address, exportName, tls } = parseNbdUri(uri);
  return { listen: address, exportName, tls };
}

/**
 * A socket in the user's runtime directory, which is made if need be; `name` is the file's, without ending.
 * @throws as {@link makeRuntimeDirectory}.
 */
export function defaultListenAddress(name: string, env: NodeJS.ProcessEnv): ListenAddress {
  return {
    listen: { path: path.join(makeRuntimeDirectory(env), `${name}.nbd`) },
    exportName: "",
    tls: false,
  };
}
