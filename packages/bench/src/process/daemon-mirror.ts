import { fileURLToPath } from "node:url";

import { StorageDaemon } from "@blockmirror/peers";

const PROGRAM = fileURLToPath(new URL("bin/blockmirror.js", import.meta.resolve("blockmirror/package.json")));

/** Whose storage daemon: both are driven by the same QMP commands. */
export type DaemonName = "ours" | "qemu";

/** Starts it, with a client on its monitor. */
export function startDaemon(name: DaemonName): Promise<StorageDaemon> {
  return StorageDaemon.start(
    name === "ours" ? { command: [process.execPath, PROGRAM, "storage-daemon"], timeoutMs: 60_000 } : {},
  );
}

/**
 * Mirrors a raw image to an NBD server with `blockdev-mirror` at its defaults, up to completion. Starting the daemon and
 * opening the nodes is not counted.
 *
 * @returns Milliseconds from the command to READY, and to completion.
 */
export async function mirrorToNbd(
  daemonName: DaemonName,
  source: string,
  socketPath: string,
): Promise<{ readonly readyMs: number; readonly completedMs: number }> {
  const daemon = await startDaemon(daemonName);
  try {
    const file = { driver: "file", filename: source };
    await daemon.execute("blockdev-add", { driver: "raw", "node-name": "source", file });
    const server = { type: "unix", path: socketPath };
    await daemon.execute("blockdev-add", { driver: "nbd", "node-name": "target", server, export: "" });
    const args = { "job-id": "bench", device: "source", target: "target", sync: "full" } as const;
    const { readyMs, finishMs } = await daemon.mirror(args);
    return { readyMs, completedMs: readyMs + finishMs };
  } finally {
    await daemon.stop();
  }
}
