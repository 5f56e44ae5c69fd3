import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";

import { requirePeer, run } from "@blockmirror/peers";

/** A qemu-nbd that serves one image to any number of clients, until it is stopped. */
export class QemuNbd {
  /** Path of its socket; the export has the empty name. */
  readonly socketPath: string;
  /** Of the process, for a look at its memory. */
  readonly pid: number;
  #isStopped = false;

  private constructor(socketPath: string, pid: number) {
    this.socketPath = socketPath;
    this.pid = pid;
  }

  /** Starts it on an image; its socket and pid file are put into `directory`. */
  static async start(image: string, directory: string, format: "raw" | "qcow2" = "raw"): Promise<QemuNbd> {
    const socketPath = join(directory, "nbd.sock");
    const pidFile = join(directory, "nbd.pid");
    await rm(socketPath, { force: true });
    const daemon = ["--fork", "--persistent", "--shared=0", `--pid-file=${pidFile}`, "-k", socketPath];
    // The shell's redirections: the daemon must not keep the pipes that `run` waits for.
    await run("/bin/sh", [
      "-c",
      '"$0" "$@" >/dev/null </dev/null 2>&1',
      requirePeer("qemu-nbd"),
      ...daemon,
      "-f",
      format,
      "--discard=unmap",
      image,
    ]);
    return new QemuNbd(socketPath, Number(await readFile(pidFile, "utf8")));
  }

  /** Ends it. May be called again. */
  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    process.kill(this.pid, "SIGTERM");
  }
}
