import { Server, type Socket } from "node:net";
import { identityAt, isSame, moveAside, moveBack, type FileIdentity } from "./socket-file.ts";

/** What cannot be moved cannot be removed either, so nothing has to be done then. */
function tryToMoveAside(path: string): string | undefined {
  try {
    return moveAside(path);
  } catch {
    return undefined;
  }
}

/**
 * A server that takes the file of its Unix socket away when it closes, and never somebody else's. The system's library removes
 * whatever is at the path by then: the socket of another server, if that has taken the place meanwhile.
 */
export class SocketServer extends Server {
  #path: string | undefined;
  #own: FileIdentity | undefined;

  constructor(onConnection: (socket: Socket) => void) {
    super({ allowHalfOpen: true }, onConnection);
  }

  /** The socket at that path is this server's, from now on. */
  own(path: string): void {
    this.#path = path;
    this.#own = identityAt(path);
  }

  override close(callback?: (error?: Error) => void): this {
    const path = this.#path;
    this.#path = undefined;
    if (path === undefined || isSame(identityAt(path), this.#own)) return super.close(callback);
    // All of it in one go: others miss the file for as long as two renamings take.
    const aside = tryToMoveAside(path);
    super.close(callback);
    if (aside !== undefined) moveBack(aside, path);
    return this;
  }
}
