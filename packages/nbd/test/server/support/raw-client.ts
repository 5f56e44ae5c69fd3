import { once } from "node:events";
import net from "node:net";
import type { Duplex } from "node:stream";
import tls from "node:tls";
import {
  CommandFlag,
  EXTENDED_REPLY_MAGIC,
  EXTENDED_REQUEST_MAGIC,
  OPTION_MAGIC,
  OPTION_REPLY_MAGIC,
  Option,
  OptionReply,
  REQUEST_MAGIC,
  SERVER_MAGIC,
  SIMPLE_REPLY_MAGIC,
  STRUCTURED_REPLY_MAGIC,
} from "../../../src/protocol/constants.ts";
import type { NbdAddress } from "../../../src/index.ts";
import { SocketReader } from "../../../src/server/socket-reader.ts";

/** The answer to an option. */
export interface OptionAnswer {
  readonly type: number;
  readonly data: Buffer;
}

/** One reply or chunk. */
export interface Reply {
  readonly form: "simple" | "structured" | "extended";
  readonly error: number;
  readonly flags: number;
  readonly type: number;
  readonly cookie: bigint;
  readonly payload: Buffer;
}

/** A request, as wrong as a test wants it. */
export interface RawRequest {
  readonly command: number;
  readonly flags?: number;
  readonly cookie?: bigint;
  readonly offset?: number | bigint;
  readonly length?: number;
  readonly payload?: Buffer;
}

export function string(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([u32(bytes.byteLength), bytes]);
}

export function u32(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => bytes.writeUInt32BE(value, index * 4));
  return bytes;
}

export function u16(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 2);
  values.forEach((value, index) => bytes.writeUInt16BE(value, index * 2));
  return bytes;
}

/** Says exactly what a test has it say, and takes replies apart strictly. */
export class RawClient {
  socket: Duplex;
  reader: SocketReader;
  extended = false;
  /** Length of the data behind simple replies to reads that are expected, by cookie. */
  readonly #reads = new Map<bigint, number>();
  #cookie = 0n;

  private constructor(socket: Duplex) {
    this.socket = socket;
    this.reader = new SocketReader(socket);
    socket.on("error", () => {});
  }

  static async connect(address: NbdAddress): Promise<RawClient> {
    const socket = net.connect({ ...address });
    await once(socket, "connect");
    return new RawClient(socket);
  }

  /** Connects and exchanges greetings. */
  static async greeted(address: NbdAddress, flags = 3): Promise<RawClient> {
    const client = await RawClient.connect(address);
    const greeting = await client.reader.read(18);
    if (!greeting.subarray(0, 16).equals(Buffer.concat([SERVER_MAGIC, OPTION_MAGIC])))
      throw new Error("greeting");
    if (greeting.readUInt16BE(16) !== 3) throw new Error("handshake flags");
    client.socket.write(u32(flags));
    return client;
  }

  /** Connects and goes to transmission. */
  static async open(
    address: NbdAddress,
    name: string,
    options: { readonly form?: "structured" | "extended"; readonly contexts?: readonly string[] } = {},
  ): Promise<RawClient> {
    const client = await RawClient.greeted(address);
    if (options.form === "structured") await client.option(Option.StructuredReply);
    if (options.form === "extended") {
      await client.option(Option.ExtendedHeaders);
      client.extended = true;
    }
    if (options.contexts !== undefined) {
      const { contexts } = options;
      await client.option(
        Option.SetMetaContext,
        Buffer.concat([string(name), u32(contexts.length), ...contexts.map(string)]),
      );
    }
    const answers = await client.option(Option.Go, Buffer.concat([string(name), u16(0)]));
    if (answers.at(-1)?.type !== OptionReply.Ack) throw new Error(`GO: ${answers.at(-1)?.type}`);
    return client;
  }

  /** Sends an option and takes its answers, up to the last. */
  async option(option: number, data: Buffer = Buffer.alloc(0)): Promise<readonly OptionAnswer[]> {
    this.socket.write(Buffer.concat([OPTION_MAGIC, u32(option, data.byteLength), data]));
    const answers: OptionAnswer[] = [];
    for (;;) {
      const header = await this.reader.read(20);
      if (!header.subarray(0, 8).equals(OPTION_REPLY_MAGIC)) throw new Error("option reply magic");
      if (header.readUInt32BE(8) !== option) throw new Error("reply to another option");
      const type = header.readUInt32BE(12);
      answers.push({ type, data: await this.reader.read(header.readUInt32BE(16)) });
      if (type === OptionReply.Ack || type >= OptionReply.ErrorBit) return answers;
    }
  }

  /** Puts TLS on the connection, after STARTTLS. */
  async secure(options: tls.ConnectionOptions): Promise<void> {
    this.reader.release();
    const secured = tls.connect({ ...options, socket: this.socket });
    secured.on("error", () => {});
    await once(secured, "secureConnect");
    this.socket = secured;
    this.reader = new SocketReader(secured);
  }

  /** The bytes of a request. */
  encode(request: RawRequest): Buffer {
    const { command, flags = 0, offset = 0, payload = Buffer.alloc(0) } = request;
    const length = request.length ?? payload.byteLength;
    const cookie = request.cookie ?? (this.#cookie += 1n);
    const header = Buffer.alloc(this.extended ? 32 : 28);
    header.writeUInt32BE(this.extended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC, 0);
    header.writeUInt16BE(this.extended && command === 1 ? flags | CommandFlag.PayloadLength : flags, 4);
    header.writeUInt16BE(command, 6);
    header.writeBigUInt64BE(cookie, 8);
    header.writeBigUInt64BE(BigInt(offset), 16);
    if (this.extended) header.writeBigUInt64BE(BigInt(length), 24);
    else header.writeUInt32BE(length, 24);
    if (command === 0) this.#reads.set(cookie, length);
    else this.#reads.delete(cookie);
    return Buffer.concat([header, payload]);
  }

  send(request: RawRequest): void {
    this.socket.write(this.encode(request));
  }

  /** Takes one reply or chunk. */
  async reply(): Promise<Reply> {
    const magic = (await this.reader.read(4)).readUInt32BE(0);
    if (magic === SIMPLE_REPLY_MAGIC && !this.extended) {
      const rest = await this.reader.read(12);
      const cookie = rest.readBigUInt64BE(4);
      const error = rest.readUInt32BE(0);
      const payload = await this.reader.read(error === 0 ? (this.#reads.get(cookie) ?? 0) : 0);
      return { form: "simple", error, flags: 1, type: 0, cookie, payload };
    }
    if (magic !== (this.extended ? EXTENDED_REPLY_MAGIC : STRUCTURED_REPLY_MAGIC)) {
      throw new Error(`reply magic ${magic.toString(16)}`);
    }
    const header = await this.reader.read(this.extended ? 28 : 16);
    const length = this.extended ? Number(header.readBigUInt64BE(20)) : header.readUInt32BE(12);
    const type = header.readUInt16BE(2);
    const payload = await this.reader.read(length);
    return {
      form: this.extended ? "extended" : "structured",
      error: type >= 0x8000 ? payload.readUInt32BE(0) : 0,
      flags: header.readUInt16BE(0),
      type,
      cookie: header.readBigUInt64BE(4),
      payload,
    };
  }

  /** Sends a request and takes its reply, when nothing else is in flight. */
  async ask(request: RawRequest): Promise<Reply> {
    this.send(request);
    return this.reply();
  }

  /** Settles when the server has hung up; fails when it says anything more. */
  async hungUp(): Promise<void> {
    const result = await this.reader.read(1).catch((error: unknown) => error);
    if (!(result instanceof Error)) throw new Error("the server said more");
  }

  close(): void {
    this.socket.destroy();
  }
}
