import { lstat, unlink } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";

/** Where a server listens. */
export type ListenAddress =
  | { readonly path: string }
  | { readonly host: string; readonly port: number }
  | { readonly fd: number };

/**
 * Listens for connections. A Unix socket is made with mode 0600, because whoever connects can do everything. A socket file
 * that nobody answers at any more is replaced; one that is alive is never taken away from its owner.
 *
 * @throws Error naming the address when something answers there, when something else than a socket is in the way, and
 *   for whatever the system refuses.
 */
export async function listen(
  address: ListenAddress,
  onConnection: (socket: Socket) => void,
): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, onConnection);
  if ("path" in address) await clearStaleSocket(address.path);
  const before = "path" in address ? process.umask(0o177) : undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(address, () => {
        server.off("error", reject);
        resolve();
      });
    });
  } finally {
    if (before !== undefined) process.umask(before);
  }
  return server;
}

async function clearStaleSocket(path: string): Promise<void> {
  let isSocket: boolean;
  try {
    isSocket = (await lstat(path)).isSocket();
  } catch {
    return; // nothing there; anything else will show when listening
  }
  if (!isSocket) throw new Error(`'${path}' exists and is not a socket; choose another path`);
  if (await isAnswered(path)) {
    throw new Error(`'${path}' is in use by another process; stop it or choose another path`);
  }
  await unlink(path);
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
