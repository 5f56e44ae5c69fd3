import { connect, type Socket } from "node:net";
import type { JsonObject } from "@blockmirror/qmp";

/** A client that sends bytes as they are and keeps what comes back. */
export class RawMonitor {
  readonly socket: Socket;
  /** Settles with everything that was received when the connection has ended. */
  readonly ended: Promise<string>;

  constructor(path: string) {
    this.socket = connect(path);
    const chunks: Buffer[] = [];
    this.socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    // Whoever is thrown out sees a broken pipe.
    this.socket.on("error", () => undefined);
    this.ended = new Promise((resolve) => {
      this.socket.once("close", () => resolve(Buffer.concat(chunks).toString("utf8")));
    });
  }

  /** Sends bytes in pieces of a size. */
  async send(bytes: Uint8Array, piece: number = bytes.byteLength): Promise<void> {
    for (let at = 0; at < bytes.byteLength; at += piece) {
      if (this.socket.destroyed) return;
      this.socket.write(bytes.subarray(at, at + piece));
      if (piece < bytes.byteLength) await new Promise(setImmediate);
    }
  }

  /** Ends its side, and returns the messages that came. @throws SyntaxError for one that is not JSON on a line. */
  async finish(): Promise<JsonObject[]> {
    this.socket.end();
    const lines = (await this.ended).split("\r\n").filter((line) => line !== "");
    return lines.map((line): JsonObject => Object(JSON.parse(line)));
  }
}
