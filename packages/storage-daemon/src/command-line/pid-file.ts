import type * as NodeFs from "node:fs";

// Not imported: a module of this has all of its members made at once, which most daemons would start for nothing.
const fs = (): typeof NodeFs => process.getBuiltinModule("node:fs");

/** The file that tells the process id of a daemon, and that it runs. */
export class PidFile {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /**
   * Writes this process's id. A file that a dead process left is replaced.
   *
   * @throws Error when another process lives that wrote it, or it cannot be written.
   */
  static write(path: string): PidFile {
    const owner = ownerOf(path);
    if (owner !== undefined) {
      throw new Error(`cannot write pid file '${path}': process ${owner} runs with it`);
    }
    fs().rmSync(path, { force: true });
    // Exclusively: of two daemons that start at once, one shall fail.
    fs().writeFileSync(path, `${process.pid}\n`, { flag: "wx", mode: 0o644 });
    return new PidFile(path);
  }

  /** Removes the file, if it is still this process's. */
  remove(): void {
    if (ownerOf(this.path) === process.pid) fs().rmSync(this.path, { force: true });
  }
}

/** The living process that the file names, or undefined. */
function ownerOf(path: string): number | undefined {
  let text: string;
  try {
    text = fs().readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
  const pid = Number(text.trim());
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
  try {
    process.kill(pid, 0);
    return pid;
  } catch (error) {
    // A process that may not be signalled lives all the same.
    return error instanceof Error && "code" in error && error.code === "EPERM" ? pid : undefined;
  }
}
