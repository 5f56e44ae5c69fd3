import net from "node:net";

const OPTION_EXPORT_NAME = 1;
const REQUEST_MAGIC = 0x25609513;
const COMMAND_READ = 0;

/** Bytes of the greeting, of the answer to EXPORT_NAME without its padding, and of a simple reply. */
const HEADERS = 18 + 10 + 16;

/** A client of an NBD server that reads once and then keeps its connection, as a guest does that has nothing to do. */
export class IdleClient {
  readonly #socket: net.Socket;

  private constructor(socket: net.Socket) {
    this.#socket = socket;
  }

  /** Connects to the export without a name; resolves when the first `bytes` of it are here. */
  static async connect(socketPath: string, bytes: number): Promise<IdleClient> {
    const socket = net.connect(socketPath);
    const hello = Buffer.alloc(4 + 16 + 28);
    // Fixed newstyle, without padding.
    hello.writeUInt32BE(3, 0);
    hello.write("IHAVEOPT", 4, "latin1");
    hello.writeUInt32BE(OPTION_EXPORT_NAME, 12);
    hello.writeUInt32BE(REQUEST_MAGIC, 20);
    hello.writeUInt16BE(COMMAND_READ, 26);
    hello.writeUInt32BE(bytes, 44);
    socket.write(hello);
    let missing = HEADERS + bytes;
    await new Promise<void>((resolve, reject) => {
      socket.on("data", (chunk) => {
        missing -= chunk.byteLength;
        if (missing === 0) resolve();
      });
      socket.once("error", reject);
      socket.once("close", () => reject(new Error("the server hung up")));
    });
    return new IdleClient(socket);
  }

  close(): void {
    this.#socket.destroy();
  }
}
