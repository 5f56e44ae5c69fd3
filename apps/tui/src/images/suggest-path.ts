import type { Dirent } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import path from "node:path";
import type { PathPurpose } from "../job-source/job-source.ts";
import { printable } from "../format/printable.ts";
import { isNbdUri } from "./is-nbd-uri.ts";

/**
 * How a path that is being typed may go on: what the first name that begins so has behind `typed`, a directory's with a slash
 * at its end.
 *
 * @param purpose for a new image's place only directories are named.
 * @returns `undefined` where nothing begins so, or the directory cannot be read.
 */
export async function suggestPath(typed: string, purpose: PathPurpose): Promise<string | undefined> {
  if (typed === "" || isNbdUri(typed)) return undefined;
  const nameAt = typed.lastIndexOf("/") + 1;
  const directory = typed.slice(0, nameAt) || ".";
  const begun = typed.slice(nameAt);
  for (const entry of await entriesBeginning(directory, begun)) {
    const isDirectory = await leadsToDirectory(directory, entry);
    if (!isDirectory && purpose === "place") continue;
    const rest = entry.name.slice(begun.length) + (isDirectory ? "/" : "");
    if (rest !== "") return rest;
  }
  return undefined;
}

async function entriesBeginning(directory: string, begun: string): Promise<Dirent[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch((): Dirent[] => []);
  const fitting = entries.filter(({ name }) => {
    // As in a shell: what is hidden has to be asked for. What cannot be typed is not proposed either.
    const isHidden = name.startsWith(".") && !begun.startsWith(".");
    return name.startsWith(begun) && !isHidden && printable(name) === name;
  });
  return fitting.toSorted((one, other) => (one.name < other.name ? -1 : 1));
}

async function leadsToDirectory(directory: string, entry: Dirent): Promise<boolean> {
  if (!entry.isSymbolicLink()) return entry.isDirectory();
  return stat(path.join(directory, entry.name)).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
}
