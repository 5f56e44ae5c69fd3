import { lstatSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import path from "node:path";
import { RequestError } from "../engine/request-error.ts";
import { makeOwnDirectory } from "./own-directory.ts";

/** Where sockets of running programs live: `$XDG_RUNTIME_DIR/blockmirror`, else a directory of the user's own in /tmp. */
export function runtimeDirectory(env: NodeJS.ProcessEnv): string {
  return given(env) ?? path.join(tmpdir(), `blockmirror-${userInfo().uid}`);
}

/**
 * Makes it, unless it is there.
 * @throws RequestError when it is in /tmp, where everybody can make one, and not the user's alone: whoever owns it could put a
 * socket of theirs in the place of ours, and programs would write their disk there; or when it cannot be made.
 */
export function makeRuntimeDirectory(env: NodeJS.ProcessEnv): string {
  const directory = runtimeDirectory(env);
  makeOwnDirectory(directory, "XDG_RUNTIME_DIR");
  if (isOthers(env)) {
    throw new RequestError(
      `${directory} is not a directory of yours alone; remove it, or set XDG_RUNTIME_DIR to one that is`,
    );
  }
  return directory;
}

/** Whether the directory is one that somebody else has made, or may write to. False while there is none. */
export function isOthers(env: NodeJS.ProcessEnv): boolean {
  // What the user names is the user's business.
  if (given(env) !== undefined || process.getuid === undefined) return false;
  const found = lstatSync(runtimeDirectory(env), { throwIfNoEntry: false });
  if (found === undefined) return false;
  return !found.isDirectory() || found.uid !== process.getuid() || (found.mode & 0o022) !== 0;
}

function given({ XDG_RUNTIME_DIR: base }: NodeJS.ProcessEnv): string | undefined {
  return base === undefined || base === "" ? undefined : path.join(base, "blockmirror");
}
