import type { Socket } from "node:net";

import { isJsonObject, JsonReader, type JsonObject } from "../../src/index.ts";
import { listen, socketPath } from "./sockets.ts";

export const GREETING =
  '{"QMP": {"version": {"qemu": {"major": 9, "minor": 1, "micro": 2}, "package": "p"}, "capabilities": ["oob"]}}\r\n';

/** A server that says what the test tells it to, whether that is QMP or not. */
export class FakePeer {
  readonly path: string;
  readonly requests: JsonObject[] = [];
  readonly sockets: Socket[] = [];
  greeting: string | undefined = GREETING;
  /** Answers to commands by name, as text; `{}` is returned for others. */
  readonly answers: Map<string, (id: string) => string> = new Map();

  private constructor(path: string) {
    this.path = path;
  }

  static async start(): Promise<FakePeer> {
    const peer = new FakePeer(await socketPath());
    await listen(peer.path, (socket) => peer.#serve(socket));
    return peer;
  }

  /** Says something to the newest client. */
  say(text: string): void {
    this.sockets.at(-1)?.write(text);
  }

  hangUp(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  #serve(socket: Socket): void {
    this.sockets.push(socket);
    if (this.greeting !== undefined) socket.write(this.greeting);
    const reader = new JsonReader();
    socket.on("data", (chunk: Buffer) => {
      for (const read of reader.push(chunk)) {
        if (read.kind === "error" || !isJsonObject(read.value)) continue;
        this.requests.push(read.value);
        const id = JSON.stringify(read.value["id"]);
        const answer = this.answers.get(JSON.stringify(read.value["execute"] ?? null).slice(1, -1));
        socket.write(answer === undefined ? `{"return": {}, "id": ${id}}\r\n` : answer(id));
      }
    });
  }
}
