import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { requirePeer } from "./find.ts";
import { run } from "./run.ts";

/** An NBD server of somebody else, on a Unix socket in a directory of its own. It can be killed and started again. */
export class PeerServer {
  readonly directory: string;
  readonly socket: string;
  readonly #program: "qemu-nbd" | "nbdkit";
  readonly #arguments: (directory: string) => readonly string[];
  #pid = 0;

  /** @param makeArguments arguments after those that say where to listen; asked for again at each start. */
  constructor(
    program: "qemu-nbd" | "nbdkit",
    makeArguments: (directory: string) => readonly string[],
    directory: string = mkdtempSync(path.join(tmpdir(), "blockmirror-nbd-")),
  ) {
    this.directory = directory;
    this.socket = path.join(directory, "nbd.sock");
    this.#program = program;
    this.#arguments = makeArguments;
  }

  /** Address of its default export. */
  get uri(): string {
    return `nbd+unix:///?socket=${this.socket}`;
  }

  /** Starts it; it accepts connections when this resolves. */
  async start(): Promise<this> {
    const pidFile = path.join(this.directory, "nbd.pid");
    rmSync(this.socket, { force: true });
    rmSync(pidFile, { force: true });
    const common =
      this.#program === "qemu-nbd"
        ? ["--fork", "--persistent", "--shared=0", `--pid-file=${pidFile}`, "-k", this.socket]
        : ["-P", pidFile, "-U", this.socket];
    // Started by a shell that ends: the daemon keeps none of the pipes that `run` waits for.
    await run(
      "/bin/sh",
      [
        "-c",
        // nbdkit goes to the background before it has written its pid file.
        '"$0" "$@" >"$NBD_LOG" 2>&1 </dev/null || { cat "$NBD_LOG" >&2; exit 1; }; while [ ! -s "$NBD_PID" ]; do sleep 0.01; done',
        requirePeer(this.#program),
        ...common,
        ...this.#arguments(this.directory),
      ],
      { env: { NBD_LOG: path.join(this.directory, "server.log"), NBD_PID: pidFile } },
    );
    this.#pid = Number(readFileSync(pidFile, "utf8"));
    process.once("exit", this.#kill);
    return this;
  }

  /** Sends a signal; after `SIGKILL` and `SIGTERM` waits until the process is gone. */
  async signal(name: "SIGKILL" | "SIGTERM" | "SIGSTOP" | "SIGCONT"): Promise<void> {
    process.kill(this.#pid, name);
    if (name === "SIGKILL" || name === "SIGTERM") await this.hasEnded();
  }

  /** Resolves when the process is gone. */
  async hasEnded(): Promise<void> {
    // A dead process stays in the table until somebody reaps it.
    const isAlive = `kill -0 ${this.#pid} 2>/dev/null && ! grep -q "^State:.Z" /proc/${this.#pid}/status`;
    await run("/bin/sh", ["-c", `while ${isAlive}; do sleep 0.01; done`]);
    this.#pid = 0;
  }

  /** Kills it and removes its directory. */
  async stop(): Promise<void> {
    process.removeListener("exit", this.#kill);
    if (this.#pid !== 0) await this.signal("SIGKILL");
    rmSync(this.directory, { recursive: true, force: true });
  }

  readonly #kill = (): void => {
    try {
      if (this.#pid !== 0) process.kill(this.#pid, "SIGKILL");
    } catch {
      // It is gone, which is what is wanted.
    }
  };
}

/** Makes an image of that size for a qemu-nbd of its own. */
export async function qemuNbd(
  format: "raw" | "qcow2",
  size: number,
  ...extra: readonly string[]
): Promise<PeerServer> {
  const server = new PeerServer("qemu-nbd", (directory) => [
    "-f",
    format,
    "--discard=unmap",
    ...extra,
    path.join(directory, `disk.${format}`),
  ]);
  const image = path.join(server.directory, `disk.${format}`);
  // qemu-img allocates the first block of a raw image.
  if (format === "raw") await truncate(image, size);
  else await run(requirePeer("qemu-img"), ["create", "-q", "-f", format, image, String(size)]);
  return server.start();
}

/** Starts an nbdkit. */
export async function nbdkit(...args: readonly string[]): Promise<PeerServer> {
  return new PeerServer("nbdkit", () => args).start();
}

/** Makes a file that is one hole. */
async function truncate(filename: string, size: number): Promise<void> {
  const file = await open(filename, "w");
  await file.truncate(size);
  await file.close();
}
