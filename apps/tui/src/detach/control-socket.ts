import type { Server } from "node:net";
import path from "node:path";
import { Daemon, listenForMonitors } from "@blockmirror/storage-daemon";
import type { EngineJob } from "../engine/engine-job.ts";
import { RequestError } from "../engine/request-error.ts";
import { makeRuntimeDirectory } from "../terminal/runtime-directory.ts";
import { gateFor } from "../images/allowed-directories.ts";

/** The longest path of a Unix socket that every system takes, in bytes. */
const LONGEST_SOCKET_PATH = 103;

/** A storage daemon that shares its graph and jobs with the embedded engine, and the socket where clients reach it. */
export class ControlSocket {
  readonly daemon: Daemon;
  readonly path: string;
  readonly #server: Server;
  #clients = 0;
  #changed: () => void = () => {};

  private constructor(daemon: Daemon, socketPath: string, server: Server) {
    this.daemon = daemon;
    this.path = socketPath;
    this.#server = server;
  }

  /**
   * Listens in the user's runtime directory. The process's number in the name keeps two jobs of the same name apart.
   * @throws RequestError when the directory is somebody else's, or the path would be too long for a socket; Error for what the system refuses.
   */
  static async open(jobId: string, allowBacking: readonly string[]): Promise<ControlSocket> {
    const socketPath = path.join(makeRuntimeDirectory(process.env), `${jobId}-${process.pid}.qmp`);
    if (Buffer.byteLength(socketPath) > LONGEST_SOCKET_PATH) {
      throw new RequestError(
        `--detach: ${socketPath} is too long for a socket; choose a shorter --job-id or XDG_RUNTIME_DIR`,
      );
    }
    const daemon = new Daemon({ gate: gateFor(allowBacking), onError: report });
    const server = await listenForMonitors({ path: socketPath }, (stream) => {
      control.#clients += 1;
      void daemon.attachMonitor(stream).closed.then(() => {
        control.#clients -= 1;
        control.#changed();
      });
    });
    const control = new ControlSocket(daemon, socketPath, server);
    return control;
  }

  /** Shows clients what a job of the engine works on. */
  show({ job, mirror, source, target }: EngineJob): void {
    this.daemon.jobs.register(job, { mirror, nodes: { source, target } });
  }

  /** Resolves when nobody is attached and nothing is left that runs: no live job, and no export. */
  untilUnused(): Promise<void> {
    return new Promise((resolve) => {
      // An event comes before what it tells can be looked up.
      const end = this.daemon.jobs.manager.subscribe(() => void setImmediate(() => this.#changed()));
      this.#changed = () => {
        if (this.#clients > 0 || this.#isWorking()) return;
        this.#changed = () => {};
        end();
        resolve();
      };
      // A client said `quit`.
      void this.daemon.ended.then(() => this.#changed());
      this.#changed();
    });
  }

  /** Takes no more clients, and leaves those there are. The socket's file is taken away. */
  async close(): Promise<void> {
    this.#server.close();
    await this.daemon.close();
  }

  #isWorking(): boolean {
    const { jobs, exports } = this.daemon;
    return jobs.list().some((entry) => entry.outcome === undefined) || exports.list().length > 0;
  }
}

function report(error: unknown): void {
  process.stderr.write(`blockmirror: ${error instanceof Error ? error.message : String(error)}\n`);
}
