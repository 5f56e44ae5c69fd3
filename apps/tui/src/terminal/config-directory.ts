import { join } from "node:path";

/**
 * Directory for what the user sets: `$XDG_CONFIG_HOME/blockmirror`, or `~/.config/blockmirror`. Not created.
 * @param home - home directory, usually `os.homedir()`.
 */
export function configDirectory(env: Readonly<Record<string, string | undefined>>, home: string): string {
  const base = env["XDG_CONFIG_HOME"];
  // The XDG rules tell programs to ignore relative paths here.
  return join(base?.startsWith("/") ? base : join(home, ".config"), "blockmirror");
}
