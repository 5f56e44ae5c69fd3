import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { PeerError } from "./error.ts";
import { requirePeer } from "./find.ts";
import { mirrorToEnd, type MirrorArguments, type MirrorOptions, type MirrorTiming } from "./mirror-timing.ts";
import { QmpConnection, type EventFilter, type QmpEvent, type QmpObject } from "./qmp-connection.ts";

/** How {@link StorageDaemon.start} starts the daemon. */
export interface StorageDaemonOptions {
  /** Program and first arguments of another daemon with the same options and QMP. Default: qemu-storage-daemon. */
  readonly command?: readonly [string, ...string[]];
  /** Added after the monitor options, as `["--blockdev", "driver=file,…"]`. */
  readonly args?: readonly string[];
  /** How long start-up and orderly exit may take. Default 10 000. */
  readonly timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 10_000;

function exited(child: ChildProcess): Promise<void> {
  return child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve()
    : new Promise((resolve) => child.once("exit", () => resolve()));
}

/** Listens on `path` for the one connection the daemon makes when it starts. */
function listen(path: string): Promise<{ server: Server; connected: Promise<Socket> }> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    const connected = new Promise<Socket>((accept) => server.once("connection", accept));
    server.once("error", reject);
    server.listen(path, () => resolve({ server, connected }));
  });
}

/**
 * A qemu-storage-daemon of one's own: its sockets are in a fresh directory, and it is gone after {@link stop} or
 * when this process exits.
 *
 * The daemon connects to a socket of ours, rather than we to one of its own, so its start needs no polling. A second
 * monitor listens at {@link qmpSocketPath} for a client under test; it serves one client at a time.
 */
export class StorageDaemon {
  /** Directory of the daemon's sockets, removed by {@link stop}; free for images too. */
  readonly directory: string;
  /** Path of a QMP server socket that nothing here connects to. */
  readonly qmpSocketPath: string;

  readonly #child: ChildProcess;
  readonly #qmp: QmpConnection;
  readonly #timeoutMs: number;
  readonly #killAtExit: () => void;
  #stopped: Promise<void> | undefined;

  private constructor(
    directory: string,
    qmpSocketPath: string,
    child: ChildProcess,
    qmp: QmpConnection,
    timeoutMs: number,
    killAtExit: () => void,
  ) {
    this.directory = directory;
    this.qmpSocketPath = qmpSocketPath;
    this.#child = child;
    this.#qmp = qmp;
    this.#timeoutMs = timeoutMs;
    this.#killAtExit = killAtExit;
  }

  /**
   * Starts a daemon and returns once it answers.
   *
   * @throws {@link PeerError} `PEER_MISSING`; `PEER_FAILED` with its stderr when it refuses its arguments;
   * `PEER_TIMEOUT`.
   */
  static async start(options: StorageDaemonOptions = {}): Promise<StorageDaemon> {
    const [program, ...first] = options.command ?? [requirePeer("qemu-storage-daemon")];
    const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const directory = await mkdtemp(join(tmpdir(), "blockmirror-qsd-"));
    const controlPath = join(directory, "control.sock");
    const qmpSocketPath = join(directory, "qmp.sock");
    const { server, connected } = await listen(controlPath);

    const child = spawn(
      program,
      [
        ...first,
        `--chardev=socket,id=public,path=${qmpSocketPath},server=on,wait=off`,
        "--monitor=chardev=public",
        `--chardev=socket,id=control,path=${controlPath},server=off`,
        "--monitor=chardev=control",
        ...(options.args ?? []),
      ],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    const killAtExit = (): void => void child.kill("SIGKILL");
    process.once("exit", killAtExit);

    let stderr = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    let timer: NodeJS.Timeout | undefined;
    const failed = new Promise<never>((_, reject) => {
      child.once("error", (cause) =>
        reject(new PeerError("PEER_MISSING", `${program}: ${cause.message}`, { cause })),
      );
      // "close", not "exit": by then all of stderr has been read.
      child.once("close", (code) =>
        reject(
          new PeerError("PEER_FAILED", `${program}: ended at start with status ${code}\n${stderr}`, {
            exitCode: code ?? undefined,
            stderr,
          }),
        ),
      );
      timer = setTimeout(
        () =>
          reject(new PeerError("PEER_TIMEOUT", `${program}: no answer within ${timeoutMs} ms\n${stderr}`)),
        timeoutMs,
      );
    });
    // Once the daemon runs, nobody listens to this promise any more.
    failed.catch(() => undefined);

    try {
      const opened = connected.then((socket) => QmpConnection.open(socket));
      opened.catch(() => undefined);
      // A daemon that refuses an argument closes the connection first; its stderr is the better message.
      const qmp = await Promise.race([opened.catch(() => failed), failed]);
      child.once("close", (code) =>
        qmp.fail(new PeerError("PEER_GONE", `${program}: ended with status ${code}\n${stderr}`, { stderr })),
      );
      return new StorageDaemon(directory, qmpSocketPath, child, qmp, timeoutMs, killAtExit);
    } catch (error) {
      child.kill("SIGKILL");
      process.removeListener("exit", killAtExit);
      await rm(directory, { recursive: true, force: true });
      throw error;
    } finally {
      clearTimeout(timer);
      server.close();
    }
  }

  /** Process id, to send it signals or read its resource use. */
  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /** Events received and not yet taken, oldest first. */
  get queuedEvents(): readonly QmpEvent[] {
    return this.#qmp.queuedEvents;
  }

  /** Runs a QMP command; see {@link QmpConnection.execute}. */
  execute(command: string, args?: QmpObject): Promise<unknown> {
    return this.#qmp.execute(command, args);
  }

  /** Waits for an event; see {@link QmpConnection.waitForEvent}. */
  waitForEvent(names: string | readonly string[], filter?: EventFilter): Promise<QmpEvent> {
    return this.#qmp.waitForEvent(names, filter);
  }

  /** Runs `blockdev-mirror` to READY, then ends and dismisses it, and says how long each part took. */
  mirror(args: MirrorArguments, options?: MirrorOptions): Promise<MirrorTiming> {
    return mirrorToEnd(this.#qmp, args, options);
  }

  /** Quits in order, or kills after the time given at start; removes the directory. May be called again. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #stop(): Promise<void> {
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), this.#timeoutMs);
    try {
      // It may already be gone, which is what is wanted.
      await this.#qmp.execute("quit").catch(() => undefined);
      await exited(this.#child);
    } finally {
      clearTimeout(timer);
      process.removeListener("exit", this.#killAtExit);
      this.#qmp.fail(new PeerError("PEER_GONE", "qemu-storage-daemon was stopped"));
      await rm(this.directory, { recursive: true, force: true });
    }
  }
}
