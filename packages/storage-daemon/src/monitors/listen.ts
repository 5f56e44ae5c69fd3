import { lstat } from "node:fs/promises";
import { connect, type Server, type Socket } from "node:net";
import { identityAt, isSame, moveAside, moveBack, removeAside, type FileIdentity } from "./socket-file.ts";
import { SocketServer } from "./socket-server.ts";

/** Where a server listens. */
export type ListenAddress =
  | { readonly path: string }
  | { readonly host: string; readonly port: number }
  | { readonly fd: number };

/**
 * Listens for connections. A Unix socket is made with mode 0600, because whoever connects can do everything. A socket file
 * that nobody answers at any more is replaced; one that is alive is never taken away from its owner, neither now nor when the
 * server closes and removes its own.
 *
 * @throws Error naming the address when something answers there, when something else than a socket is in the way, and
 *   for whatever the system refuses.
 */
export async function listen(
  address: ListenAddress,
  onConnection: (socket: Socket) => void,
): Promise<Server> {
  const server = new SocketServer(onConnection);
  if ("path" in address) await clearStaleSocket(address.path);
  const before = "path" in address ? process.umask(0o177) : undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(address, () => {
        server.off("error", reject);
        if ("path" in address) server.own(address.path);
        resolve();
      });
    });
  } finally {
    if (before !== undefined) process.umask(before);
  }
  return server;
}

async function clearStaleSocket(path: string): Promise<void> {
  // Nothing there is fine; anything else will show when listening.
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) throw new Error(`'${path}' exists and is not a socket; choose another path`);
  if (await isAnswered(path)) throw inUse(path);
  removeStale(path, found);
}

/** Moved aside first: if another daemon put its own socket there meanwhile, it gets it back. */
function removeStale(path: string, found: FileIdentity): void {
  const aside = moveAside(path);
  if (aside === undefined) return;
  const moved = identityAt(aside);
  if (isSame(moved, found) && moved?.mtimeMs === found.mtimeMs) {
    removeAside(aside);
    return;
  }
  moveBack(aside, path);
  throw inUse(path);
}

function inUse(path: string): Error {
  return new Error(`'${path}' is in use by another process; stop it or choose another path`);
}

/** Whether somebody accepts connections there. A refusal is the only certain sign that nobody does. */
function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", (error) => resolve(!("code" in error && error.code === "ECONNREFUSED")));
  });
}
