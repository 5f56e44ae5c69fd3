import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

import { PROGRAM } from "./mirror-process.ts";

/** A `blockmirror serve` of one image on a Unix socket, as an operator would start it. */
export class ServeProcess {
  readonly socketPath: string;
  /** Of the process, for a look at its memory. */
  readonly pid: number;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, pid: number, socketPath: string) {
    this.#child = child;
    this.pid = pid;
    this.socketPath = socketPath;
  }

  /** Starts it; resolves when it has said where it listens. */
  static async start(
    image: string,
    directory: string,
    format: "raw" | "qcow2" = "raw",
  ): Promise<ServeProcess> {
    const socketPath = join(directory, "ours.sock");
    const child = spawn(
      process.execPath,
      [
        PROGRAM,
        "serve",
        image,
        "--listen",
        `nbd+unix:///?socket=${socketPath}`,
        "--format",
        format,
        "--output",
        "plain",
      ],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    const said = once(child.stdout, "data");
    const ended = once(child, "exit").then(([status]) => {
      throw new Error(`blockmirror serve ended with status ${status} before it listened`);
    });
    await Promise.race([said, ended]);
    // From now on its end is what `stop` brings about.
    ended.catch(() => {});
    child.stdout.resume();
    if (child.pid === undefined) throw new Error("blockmirror serve was not started");
    return new ServeProcess(child, child.pid, socketPath);
  }

  /** Stops it and waits for its end. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.kill("SIGINT");
    await once(this.#child, "exit");
  }
}
