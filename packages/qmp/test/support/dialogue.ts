import type { Socket } from "node:net";

import { isJsonObject, JsonReader, type JsonObject } from "../../src/index.ts";

/** A raw conversation: sends text as it is, and takes messages in the order of their arrival. */
export class Dialogue {
  readonly #socket: Socket;
  readonly #messages: JsonObject[] = [];
  readonly #waiters: ((message: JsonObject | undefined) => void)[] = [];
  #isOver = false;
  /** Everything received, byte by byte as latin1. */
  received = "";

  constructor(socket: Socket) {
    this.#socket = socket;
    const reader = new JsonReader();
    socket.on("data", (chunk: Buffer) => {
      this.received += chunk.toString("latin1");
      for (const read of reader.push(chunk)) {
        if (read.kind === "error" || !isJsonObject(read.value))
          throw new Error("the server sent broken JSON");
        const waiter = this.#waiters.shift();
        if (waiter === undefined) this.#messages.push(read.value);
        else waiter(read.value);
      }
    });
    socket.on("error", () => undefined);
    socket.once("close", () => this.#finish());
    socket.once("end", () => this.#finish());
  }

  send(text: string | Uint8Array): void {
    this.#socket.write(text);
  }

  /** The next message, or undefined when the connection is over. */
  async next(): Promise<JsonObject | undefined> {
    const message = this.#messages.shift();
    if (message !== undefined || this.#isOver) return message;
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** Sends, and takes as many messages as asked for. */
  async ask(text: string | Uint8Array, count = 1): Promise<(JsonObject | undefined)[]> {
    this.send(text);
    const answers: (JsonObject | undefined)[] = [];
    for (let index = 0; index < count; index += 1) answers.push(await this.next());
    return answers;
  }

  #finish(): void {
    this.#isOver = true;
    for (const waiter of this.#waiters.splice(0)) waiter(undefined);
  }
}
