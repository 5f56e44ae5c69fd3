import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach } from "vitest";

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

/** Runs after the test, whatever its result; last added first. */
export function afterTest(cleanup: () => unknown): void {
  cleanups.push(cleanup);
}

/** A path for a socket in a directory of its own, removed after the test. */
export async function socketPath(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "blockmirror-qmp-"));
  afterTest(() => rm(directory, { recursive: true, force: true }));
  return join(directory, "qmp.sock");
}

/** Listens until the test is over; its connections are destroyed then. */
export async function listen(path: string, onConnection: (socket: Socket) => void): Promise<Server> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => undefined);
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  afterTest(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return server;
}

/** Both ends of a connection. */
export async function socketPair(): Promise<{ readonly near: Socket; readonly far: Socket }> {
  const path = await socketPath();
  const accepted: Socket[] = [];
  const server = await listen(path, (socket) => accepted.push(socket));
  const near = connect({ path, allowHalfOpen: true });
  afterTest(() => near.destroy());
  if (accepted.length === 0) await once(server, "connection");
  const [far] = accepted;
  if (far === undefined) throw new Error("the connection was not accepted");
  return { near, far };
}
