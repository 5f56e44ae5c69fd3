import { tmpdir, userInfo } from "node:os";
import path from "node:path";

/** Where sockets of running programs live: `$XDG_RUNTIME_DIR/blockmirror`, else a directory of the user's own in /tmp. */
export function runtimeDirectory(env: NodeJS.ProcessEnv): string {
  const base = env["XDG_RUNTIME_DIR"];
  if (base !== undefined && base !== "") return path.join(base, "blockmirror");
  return path.join(tmpdir(), `blockmirror-${userInfo().uid}`);
}
