import { readdir, stat } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import { isOthers, runtimeDirectory } from "../terminal/runtime-directory.ts";

/** Where jobs started with `--detach` have their sockets; nowhere if others could have put theirs there. */
export function ownPatterns(env: NodeJS.ProcessEnv): readonly string[] {
  return isOthers(env) ? [] : [path.join(runtimeDirectory(env), "*.qmp")];
}

/** Where well-known programs put the QMP sockets of their machines and daemons. */
export function wellKnownPatterns(env: NodeJS.ProcessEnv): readonly string[] {
  const config = env["XDG_CONFIG_HOME"] ?? path.join(homedir(), ".config");
  return [
    ...ownPatterns(env),
    // libvirt, for the system and for a user. libvirt itself uses these: such a monitor usually shows as busy.
    "/var/lib/libvirt/qemu/domain-*/monitor.sock",
    path.join(config, "libvirt/qemu/lib/domain-*/monitor.sock"),
    // Proxmox VE.
    "/run/qemu-server/*.qmp",
  ];
}

/**
 * The sockets that a pattern names, in order. `*` and `?` stand for parts of one name; a pattern without them is an
 * address and stands for itself, whether or not it is there.
 */
export async function expandPattern(pattern: string): Promise<readonly string[]> {
  if (!/[*?]/u.test(pattern)) return [pattern];
  const absolute = path.resolve(pattern);
  let found: readonly string[] = ["/"];
  for (const part of absolute.split("/").filter((each) => each !== "")) {
    const next = await Promise.all(found.map((directory) => matches(directory, part)));
    found = next.flat();
  }
  const sockets = await Promise.all(found.map(async (file) => ((await isSocket(file)) ? [file] : [])));
  return sockets.flat();
}

async function matches(directory: string, part: string): Promise<readonly string[]> {
  if (!/[*?]/u.test(part)) return [path.join(directory, part)];
  const names = await readdir(directory).catch(() => []);
  const pattern = new RegExp(
    `^${part
      .replaceAll(/[.+^${}()|[\]\\]/gu, String.raw`\$&`)
      .replaceAll("*", ".*")
      .replaceAll("?", ".")}$`,
    "u",
  );
  return names
    .filter((name) => pattern.test(name) && (!name.startsWith(".") || part.startsWith(".")))
    .sort()
    .map((name) => path.join(directory, name));
}

async function isSocket(file: string): Promise<boolean> {
  const found = await stat(file).catch(() => undefined);
  return found?.isSocket() === true;
}
