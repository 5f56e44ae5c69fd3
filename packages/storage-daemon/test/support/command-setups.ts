import type { JsonObject } from "@blockmirror/qmp";

import type { Side } from "./sides.ts";

/** Bytes of the nodes that jobs work on. */
export const SIZE = 1024 * 1024;
/** Options of a disk in memory. */
export const node = (name: string, more: JsonObject = {}): JsonObject => ({
  driver: "memory",
  "node-name": name,
  size: SIZE,
  ...more,
});

/** Two disks of one size, a smaller one, and one that is read-only. */
export async function pair(side: Side): Promise<void> {
  for (const name of ["src", "dst"]) await side.run("blockdev-add", node(name));
  await side.run("blockdev-add", node("small", { size: 512 }));
  await side.run("blockdev-add", { driver: "null-co", "node-name": "ro", size: SIZE, "read-only": true });
}

/** A qcow2 image over memory, `top`, on another, `base`. */
export async function chain(side: Side): Promise<void> {
  for (const name of ["base", "top"]) {
    await side.run("blockdev-add", { driver: "memory", "node-name": `${name}-file`, size: 0 });
    const backing = name === "top" ? { "backing-file": "base", "backing-fmt": "qcow2" } : {};
    const options = { driver: "qcow2", file: `${name}-file`, size: SIZE, ...backing };
    await side.run("blockdev-create", { "job-id": `make-${name}`, options });
    await side.eventsUntil((word) => word === "concluded");
    await side.run("job-dismiss", { id: `make-${name}` });
    const below = name === "top" ? "base" : null;
    const opened = { driver: "qcow2", "node-name": name, file: `${name}-file`, backing: below };
    await side.run("blockdev-add", opened);
  }
}

/** Arguments of the mirror that setups start. */
export const MIRROR = { "job-id": "j", device: "src", target: "dst", sync: "full" };

/** A mirror of `src` to `dst`, up to an event. */
export function mirror(more: JsonObject = {}, until = "BLOCK_JOB_READY"): (side: Side) => Promise<void> {
  return async (side) => {
    await pair(side);
    await side.run("blockdev-mirror", { ...MIRROR, ...more });
    await side.eventsUntil((word) => word === until);
  };
}

/** A mirror that has far to go to READY. */
export async function running(side: Side): Promise<void> {
  await pair(side);
  // Nobody knows where a disk that forgets has holes: all of it is copied.
  await side.run("blockdev-add", { driver: "null-co", "node-name": "endless", size: 64 * SIZE });
  await side.run("blockdev-add", node("far", { size: 64 * SIZE }));
  await side.run("blockdev-mirror", { ...MIRROR, device: "endless", target: "far", speed: 1 });
  await side.eventsUntil((word) => word === "running");
}

/** A mirror that waits to be finalized. */
export async function pending(side: Side): Promise<void> {
  await mirror({ "auto-finalize": false })(side);
  await side.run("job-complete", { id: "j" });
  await side.eventsUntil((word) => word === "BLOCK_JOB_PENDING");
}

/** A mirror that was cancelled and waits to be dismissed. */
export async function concluded(side: Side): Promise<void> {
  await mirror({ "auto-dismiss": false })(side);
  await side.run("job-cancel", { id: "j" });
  await side.eventsUntil((word) => word === "concluded");
}

/** A READY mirror that is paused. */
export async function paused(side: Side): Promise<void> {
  await mirror()(side);
  await side.run("job-pause", { id: "j" });
  await side.eventsUntil((word) => word === "standby");
}

/** Where the NBD server of a side listens. */
export const addr = (side: Side): JsonObject => ({ type: "unix", data: { path: side.path("nbd.sock") } });

/** An NBD server with one export, `e`. */
export async function server(side: Side): Promise<void> {
  await pair(side);
  await side.run("nbd-server-start", { addr: addr(side) });
  await side.run("block-export-add", { type: "nbd", id: "e", "node-name": "dst" });
}

/** Two dirty bitmaps of `src`. */
export async function bitmap(side: Side): Promise<void> {
  await pair(side);
  for (const name of ["b", "c"]) await side.run("block-dirty-bitmap-add", { node: "src", name });
}
