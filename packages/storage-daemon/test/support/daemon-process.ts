import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { QmpClient } from "@blockmirror/qmp";
import { afterEach } from "vitest";

const PROGRAM = fileURLToPath(new URL("daemon-main.js", import.meta.url));

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

/** Runs after the test, last added first. */
export function afterTest(cleanup: () => unknown): void {
  cleanups.push(cleanup);
}

/** A directory that is removed after the test. */
export async function scratch(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "blockmirror-daemon-"));
  afterTest(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** How a process ended. */
export interface Ending {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A daemon in a process of its own. */
export class DaemonProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<Ending>;

  constructor(args: readonly string[], extraStdio: readonly number[] = []) {
    this.child = spawn(process.execPath, [PROGRAM, ...args], {
      stdio: ["pipe", "pipe", "pipe", ...extraStdio],
    });
    let [stdout, stderr] = ["", ""];
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    this.ended = once(this.child, "close").then(() => ({ code: this.child.exitCode, stdout, stderr }));
    afterTest(async () => {
      this.child.kill("SIGKILL");
      await this.ended;
    });
  }

  /** Connects when the daemon listens; it says so by nothing, so this asks again until it has ended. */
  async connect(path: string): Promise<QmpClient> {
    const over = this.ended.then(({ stderr }) => {
      throw new Error(`the daemon ended: ${stderr}`);
    });
    over.catch(() => undefined);
    for (;;) {
      try {
        const client = await Promise.race([QmpClient.connect(path, { greetingTimeoutMs: 20_000 }), over]);
        afterTest(() => client.close());
        return client;
      } catch (error) {
        if (!(error instanceof Error && "code" in error && error.code === "QMP_CONNECT")) throw error;
        await Promise.race([new Promise((resolve) => setTimeout(resolve, 10)), over]);
      }
    }
  }
}

/** `--chardev` and `--monitor` for a socket that the daemon listens at. */
export function listenAt(path: string, more = ""): string[] {
  return ["--chardev", `socket,id=c,path=${path},server=on,wait=off`, "--monitor", `c${more}`];
}
