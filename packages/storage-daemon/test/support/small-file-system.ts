import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "@blockmirror/peers";

/** A file system in memory that is really full when it is full. */
export class SmallFileSystem implements AsyncDisposable {
  /** Where it is mounted. */
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /**
   * Mounts one of so many MiB; undefined, with a word on stderr, where this user cannot mount.
   * @throws Error instead when `BLOCKMIRROR_REQUIRE_PEERS=1`.
   */
  static async mount(mebibytes: number): Promise<SmallFileSystem | undefined> {
    const directory = mkdtempSync(join(tmpdir(), "blockmirror-full-"));
    try {
      await run("mount", ["-t", "tmpfs", "-o", `size=${mebibytes}m`, "blockmirror-test", directory]);
      return new SmallFileSystem(directory);
    } catch (error) {
      rmSync(directory, { recursive: true });
      if (process.env["BLOCKMIRROR_REQUIRE_PEERS"] === "1") throw error;
      process.stderr.write(`skipped: a full file system needs a user who may mount one; run as root\n`);
      return undefined;
    }
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  /** Takes so many MiB of it away. */
  takeAway(mebibytes: number): void {
    writeFileSync(this.path("ballast"), Buffer.alloc(mebibytes * 1024 * 1024, 1));
  }

  /** Gives back what was taken away. */
  giveBack(): void {
    rmSync(this.path("ballast"));
  }

  /** Unmounts it; who has files open there keeps them. */
  async [Symbol.asyncDispose](): Promise<void> {
    await run("umount", ["--lazy", this.directory]);
    rmSync(this.directory, { recursive: true });
  }
}
