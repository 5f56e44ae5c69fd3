import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { configDirectory } from "../terminal/config-directory.ts";
import type { KeyOverrides } from "../ui/key-bindings.ts";
import { KeyFileError, parseKeyFile } from "../ui/key-file.ts";
import { UsageError } from "./exit-status.ts";

/** The user's own keys, and where they are (or would be) written. */
export interface OwnKeys {
  readonly path: string;
  /** Undefined: there is no such file. */
  readonly overrides: KeyOverrides | undefined;
}

/**
 * Reads `keys.json` in the configuration directory, if it is there.
 * @throws UsageError naming the file and what is wrong with it.
 */
export function readOwnKeys(env: NodeJS.ProcessEnv): OwnKeys {
  const path = join(configDirectory(env, homedir()), "keys.json");
  try {
    return { path, overrides: parseKeyFile(readFileSync(path, "utf8")) };
  } catch (error) {
    if (error instanceof KeyFileError) throw new UsageError(`${path}: ${error.message}`);
    if (!(error instanceof Error) || !("code" in error)) throw error;
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return { path, overrides: undefined };
    throw new UsageError(`${path} cannot be read: ${error.message}`);
  }
}
