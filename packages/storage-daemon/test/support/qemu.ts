import { requirePeer, run } from "@blockmirror/peers";

import type { JsonObject } from "@blockmirror/qmp";
import type { Side } from "./sides.ts";

/** What `qemu-img` prints. */
export async function qemuImg(...args: string[]): Promise<string> {
  const { stdout } = await run(requirePeer("qemu-img"), args);
  return stdout;
}

/** Runs `qemu-io`; a read of anything but the pattern that it names fails. */
export async function qemuIo(...args: string[]): Promise<void> {
  await run(requirePeer("qemu-io"), args);
}

/** Starts the NBD server of a side with one node writable in it, and returns where a client finds the node. */
export async function exportOverNbd(side: Side, nodeName: string): Promise<string> {
  const path = side.path("nbd.sock");
  await side.run("nbd-server-start", { addr: { type: "unix", data: { path } } });
  await side.run("block-export-add", { type: "nbd", id: "e", "node-name": nodeName, writable: true });
  return `nbd+unix:///${nodeName}?socket=${path}`;
}

/** A guest's requests to an export, in the words of `qemu-io`. */
export async function runGuest(uri: string, commands: readonly string[]): Promise<void> {
  await qemuIo("-f", "raw", ...commands.flatMap((command) => ["-c", command]), uri);
}

/**
 * What becomes of each request of `qemu-io` to an image, without figures of speed, and how it ends.
 *
 * @param image a URI, or the options of a node in QMP's words.
 */
export async function tryGuest(
  image: string | JsonObject,
  commands: readonly string[],
  options: readonly string[] = [],
): Promise<unknown[]> {
  const where = typeof image === "string" ? ["-f", "raw", image] : [`json:${JSON.stringify(image)}`];
  const args = ["-t", "writeback", ...options, ...commands.flatMap((command) => ["-c", command]), ...where];
  const { stdout, exitCode } = await run(requirePeer("qemu-io"), args, { allowedExitCodes: [0, 1] });
  return [...(stdout.match(/^(?:\w+ failed.*|(?:wrote|read|discard) \d+.*)$/gmu) ?? []), exitCode];
}
