import { requirePeer, run } from "@blockmirror/peers";

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
