import type * as NodeFs from "node:fs";

// Not imported: a module of this has all of its members made at once, which a daemon's start would wait for.
const fs = (): typeof NodeFs => process.getBuiltinModule("node:fs");

/** Which file it is, whatever its name. */
export interface FileIdentity {
  readonly dev: number;
  readonly ino: number;
  /** Numbers of removed files are given to new ones; this tells them apart. */
  readonly mtimeMs: number;
}

/** What is at a path now, symbolic links not followed; undefined when there is nothing. */
export function identityAt(path: string): FileIdentity | undefined {
  return fs().lstatSync(path, { throwIfNoEntry: false });
}

/** Whether both are the same file, one of which exists still. */
export function isSame(one: FileIdentity | undefined, other: FileIdentity | undefined): boolean {
  return one !== undefined && one.dev === other?.dev && one.ino === other.ino;
}

/** Moves what is at a path out of the way. @returns where it is now, or undefined when there is nothing any more. */
export function moveAside(path: string): string | undefined {
  const aside = `${path}.${process.pid}-aside`;
  try {
    fs().renameSync(path, aside);
    return aside;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** Undoes {@link moveAside}, unless somebody has taken the place. */
export function moveBack(aside: string, path: string): void {
  if (identityAt(path) === undefined) fs().renameSync(aside, path);
  else fs().rmSync(aside, { force: true });
}

/** Removes what was moved aside. */
export function removeAside(aside: string): void {
  fs().rmSync(aside, { force: true });
}
