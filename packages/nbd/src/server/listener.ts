import { once } from "node:events";
import { linkSync, lstatSync, renameSync, rmSync } from "node:fs";
import { chmod, lstat, rm } from "node:fs/promises";
import net from "node:net";
import { BlockError, toBlockError } from "@blockmirror/block-driver";
import type { NbdAddress } from "../protocol/address.ts";

/** Where to listen. */
export type ListenOptions =
  | {
      /** Path of a Unix socket, at most 100 bytes. A socket that nobody listens on any more is replaced. */
      readonly path: string;
      /** Permissions of the socket. Default 0600: only its owner may connect. */
      readonly mode?: number;
    }
  | {
      /** Name or address of a network interface. Default `localhost`: only this machine may connect. */
      readonly host?: string;
      /** Default 10809; 0 takes any that is free. */
      readonly port?: number;
    };

/** A socket that listens. */
export interface Listener {
  readonly address: NbdAddress;
  /** Takes no more connections and removes the socket's file. */
  close(): Promise<void>;
}

/** Longest path of a Unix socket in bytes, less what its temporary name takes. */
const MAX_PATH = 100;

/** Listens on TCP. */
export async function listenTcp(server: net.Server, host: string, port: number): Promise<Listener> {
  await listening(server, { host, port }, `${host}:${port}`);
  const bound = server.address();
  const actual = bound !== null && typeof bound === "object" ? bound.port : port;
  return { address: { host, port: actual }, close: () => closed(server) };
}

/** Makes names that two programs at once do not share; nothing secret hangs on them. */
function randomSuffix(): string {
  return Math.floor(Math.random() * 0x10000)
    .toString(16)
    .padStart(4, "0");
}

/**
 * Listens on a Unix socket. It gets its permissions under another name first, so that nobody can connect before, and its
 * place only if that is free: a socket that somebody listens on is never taken away.
 * @throws BlockError `EBUSY` when somebody listens there, `EEXIST` when a file that is no socket is in the way.
 */
export async function listenUnix(server: net.Server, path: string, mode: number): Promise<Listener> {
  if (Buffer.byteLength(path) > MAX_PATH || path === "" || path.includes("\0")) {
    throw new BlockError("EINVAL", `'${path}' cannot be a socket: its path must have 1 to ${MAX_PATH} bytes`);
  }
  const temporary = `${path}.${randomSuffix()}`;
  await listening(server, { path: temporary }, path);
  try {
    await chmod(temporary, mode);
    const identity = await lstat(temporary);
    await takePlace(temporary, path);
    return {
      address: { path },
      close: async () => {
        // First, while it answers: a server that took the place of a dead one could not be told from it by then.
        removeOwn(path, identity.ino);
        await closed(server);
      },
    };
  } catch (error) {
    await closed(server);
    throw toBlockError(error, { node: path, operation: "listen" });
  } finally {
    await rm(temporary, { force: true });
  }
}

async function takePlace(temporary: string, path: string): Promise<void> {
  for (let attempt = 0; attempt < 8; attempt += 1) {
    try {
      // Not by a thread, which could take the place while another server looks at what it has moved away.
      linkSync(temporary, path);
      return;
    } catch (error) {
      if (!isCode(error, "EEXIST")) throw error;
    }
    await removeStale(path);
  }
  throw new BlockError("EBUSY", `others keep taking the place of the socket ${path}`);
}

/** Removes a socket that nobody listens on. */
async function removeStale(path: string): Promise<void> {
  const before = await lstat(path).catch(() => undefined);
  if (before === undefined) return;
  if (!before.isSocket()) {
    throw new BlockError("EEXIST", `${path} exists and is not a socket; choose another path, or remove it`);
  }
  if (await isAlive(path)) {
    throw new BlockError("EBUSY", `somebody listens on ${path} already; stop it, or choose another path`);
  }
  // Moved away before it is removed: if another server put its own socket there meanwhile, it gets it back. In one go, or a
  // third one would take the place until then, and two would believe that they have it.
  const aside = `${path}.${randomSuffix()}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if (isCode(error, "ENOENT")) return;
    throw error;
  }
  try {
    const moved = lstatSync(aside);
    // The number of a file that was removed is given to a new one; the time tells them apart.
    if (moved.ino !== before.ino || moved.mtimeMs !== before.mtimeMs) linkSync(aside, path);
  } catch (error) {
    if (!isCode(error, "EEXIST")) throw error;
  } finally {
    rmSync(aside, { force: true });
  }
}

async function isAlive(path: string): Promise<boolean> {
  const probe = net.connect({ path });
  try {
    await once(probe, "connect");
    return true;
  } catch (error) {
    // Only a refusal tells that there is nobody; a full queue or a lack of rights does not.
    return !isCode(error, "ECONNREFUSED") && !isCode(error, "ENOENT");
  } finally {
    probe.destroy();
  }
}

function removeOwn(path: string, inode: number): void {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there?.ino === inode) rmSync(path, { force: true });
}

async function listening(server: net.Server, options: net.ListenOptions, label: string): Promise<void> {
  try {
    server.listen(options);
    await once(server, "listening");
  } catch (error) {
    if (isCode(error, "EADDRINUSE")) {
      throw new BlockError("EBUSY", `somebody listens on ${label} already`, { cause: error });
    }
    throw toBlockError(error, { node: label, operation: "listen" });
  }
}

async function closed(server: net.Server): Promise<void> {
  // Connections are their owners' business: without them in the way, closing waits for nothing.
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
    resolve();
  });
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
