import { join } from "node:path";

/**
 * Directory for logs and screen dumps: `$XDG_STATE_HOME/blockmirror`, or `~/.local/state/blockmirror`. Not created.
 * @param home - home directory, usually `os.homedir()`.
 */
export function stateDirectory(env: Readonly<Record<string, string | undefined>>, home: string): string {
  const base = env["XDG_STATE_HOME"];
  // The XDG rules tell programs to ignore relative paths here.
  return join(base?.startsWith("/") ? base : join(home, ".local", "state"), "blockmirror");
}
