import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  Command,
  InfoType,
  Option,
  OptionReply,
  OPTION_MAGIC,
  OPTION_REPLY_MAGIC,
  SERVER_MAGIC,
  TransmissionFlag,
} from "../../../src/protocol/constants.ts";

/** A request as a fake server sees it. */
export interface FakeRequest {
  readonly command: number;
  readonly flags: number;
  readonly cookie: Buffer;
  readonly offset: number;
  readonly length: number;
  readonly payload: Buffer;
  /** Counts the requests of the whole server, from 0. */
  readonly number: number;
}

const { HasFlags, SendFlush, SendFua, SendTrim, SendWriteZeroes } = TransmissionFlag;
/** What an ordinary writable export can do, on one connection. */
export const PLAIN_FLAGS: number = HasFlags | SendFlush | SendFua | SendTrim | SendWriteZeroes;

/** How a fake server behaves. Members may be changed while it runs. */
export interface FakeBehaviour {
  size: number;
  flags: number;
  form: "simple" | "structured" | "extended";
  /** Answers a request; the default keeps a disk in memory. */
  onRequest: (peer: FakePeer, request: FakeRequest) => void | Promise<void>;
  /** Called before the data of a write is read. */
  onWriteHeader: (peer: FakePeer, cookie: Buffer) => void | Promise<void>;
  /** Says something else than the ordinary during an option; true when it did. */
  onOption: (peer: FakePeer, option: number, data: Buffer) => boolean;
  /** Called for every connection before the greeting; true when nothing more is to be said. */
  onConnect: (peer: FakePeer) => boolean;
}

/** One connection of a fake server. */
export class FakePeer {
  readonly socket: net.Socket;
  readonly #server: FakeServer;
  #waiting: { readonly length: number; readonly resolve: (bytes: Buffer) => void } | undefined;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(server: FakeServer, socket: net.Socket) {
    this.#server = server;
    this.socket = socket;
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      this.#deliver();
    });
  }

  async serve(): Promise<void> {
    const { behaviour } = this.#server;
    if (behaviour.onConnect(this)) return;
    this.raw(SERVER_MAGIC, OPTION_MAGIC, Buffer.from([0, this.#server.greeting]));
    await this.read(4);
    while (!(await this.#option()));
    for (;;) {
      const request = await this.#request();
      if (request.command === Command.Disconnect) {
        this.socket.end();
        return;
      }
      await behaviour.onRequest(this, request);
    }
  }

  raw(...parts: readonly Uint8Array[]): void {
    this.socket.write(this.#server.mutate(Buffer.concat(parts)));
  }

  optionReply(option: number, type: number, data: Uint8Array = Buffer.alloc(0)): void {
    this.raw(OPTION_REPLY_MAGIC, u32(option), u32(type), u32(data.byteLength), data);
  }

  simple(request: FakeRequest, error = 0, data: Uint8Array = Buffer.alloc(0)): void {
    this.raw(u32(0x67_44_66_98), u32(error), request.cookie, data);
  }

  chunk(request: FakeRequest, flags: number, type: number, payload: Uint8Array): void {
    if (this.#server.behaviour.form === "extended") {
      const head = [u32(0x6e_8a_27_8c), u16(flags), u16(type), request.cookie, u64(request.offset)];
      this.raw(...head, u64(payload.byteLength), payload);
    } else {
      this.raw(u32(0x66_8e_33_ef), u16(flags), u16(type), request.cookie, u32(payload.byteLength), payload);
    }
  }

  /** The ordinary answer, from the server's disk. */
  answer(request: FakeRequest): void {
    const { disk, behaviour } = this.#server;
    const { command, offset, length } = request;
    if (command === Command.Write) disk.set(request.payload, offset);
    if (command === Command.WriteZeroes) disk.fill(0, offset, offset + length);
    if (behaviour.form === "simple") {
      this.simple(request, 0, command === Command.Read ? disk.subarray(offset, offset + length) : undefined);
    } else if (command === Command.Read) {
      this.chunk(request, 1, 1, Buffer.concat([u64(offset), disk.subarray(offset, offset + length)]));
    } else if (command === Command.BlockStatus && behaviour.form === "extended") {
      this.chunk(request, 1, 6, Buffer.concat([u32(7), u32(1), u64(length), u64(0)]));
    } else if (command === Command.BlockStatus) {
      this.chunk(request, 1, 5, Buffer.concat([u32(7), u32(length), u32(0)]));
    } else if (behaviour.form === "extended") {
      this.chunk(request, 1, 0, Buffer.alloc(0));
    } else {
      this.simple(request);
    }
  }

  read(length: number): Promise<Buffer> {
    return new Promise((resolve) => {
      this.#waiting = { length, resolve };
      this.#deliver();
    });
  }

  #deliver(): void {
    const waiting = this.#waiting;
    if (waiting === undefined || this.#bytes.byteLength < waiting.length) return;
    const bytes = this.#bytes.subarray(0, waiting.length);
    this.#bytes = this.#bytes.subarray(waiting.length);
    this.#waiting = undefined;
    waiting.resolve(bytes);
  }

  /** True when it led to the transmission phase. */
  async #option(): Promise<boolean> {
    const { behaviour } = this.#server;
    const header = await this.read(16);
    const option = header.readUInt32BE(8);
    const data = await this.read(header.readUInt32BE(12));
    if (behaviour.onOption(this, option, data)) return false;
    switch (option) {
      case Option.ExtendedHeaders:
        this.optionReply(
          option,
          behaviour.form === "extended" ? OptionReply.Ack : OptionReply.ErrorUnsupported,
        );
        return false;
      case Option.StructuredReply:
        this.optionReply(
          option,
          behaviour.form === "structured" ? OptionReply.Ack : OptionReply.ErrorUnsupported,
        );
        return false;
      case Option.SetMetaContext:
        this.optionReply(
          option,
          OptionReply.MetaContext,
          Buffer.concat([u32(7), Buffer.from("base:allocation")]),
        );
        this.optionReply(option, OptionReply.Ack);
        return false;
      case Option.Go:
        this.optionReply(
          option,
          OptionReply.Info,
          Buffer.concat([u16(InfoType.Export), u64(behaviour.size), u16(behaviour.flags)]),
        );
        this.optionReply(option, OptionReply.Ack);
        return true;
      case Option.ExportName:
        this.raw(u64(behaviour.size), u16(behaviour.flags));
        return true;
      default:
        this.optionReply(option, OptionReply.ErrorUnsupported);
        return false;
    }
  }

  async #request(): Promise<FakeRequest> {
    const isExtended = this.#server.behaviour.form === "extended";
    const header = await this.read(isExtended ? 32 : 28);
    const command = header.readUInt16BE(6);
    const length = isExtended ? Number(header.readBigUInt64BE(24)) : header.readUInt32BE(24);
    const cookie = Buffer.from(header.subarray(8, 16));
    if (command === Command.Write) await this.#server.behaviour.onWriteHeader(this, cookie);
    return {
      command,
      flags: header.readUInt16BE(4),
      cookie,
      offset: Number(header.readBigUInt64BE(16)),
      length,
      payload: command === Command.Write ? Buffer.from(await this.read(length)) : Buffer.alloc(0),
      number: this.#server.count(),
    };
  }
}

/** A server in this process that does what a test tells it, on a Unix socket of its own. */
export class FakeServer implements AsyncDisposable {
  readonly behaviour: FakeBehaviour;
  readonly disk: Buffer;
  readonly uri: string;
  /** Changes what it says on its way out. */
  mutate: (bytes: Buffer) => Buffer = (bytes) => bytes;
  /** The handshake flags it offers. */
  greeting = 3;
  /** Every connection so far, oldest first. */
  readonly peers: FakePeer[] = [];
  readonly #directory: string;
  readonly #socket: string;
  #listener: net.Server | undefined;
  #requests = 0;

  private constructor(directory: string, behaviour: Partial<FakeBehaviour>) {
    this.#directory = directory;
    this.#socket = path.join(directory, "nbd.sock");
    this.uri = `nbd+unix:///?socket=${this.#socket}`;
    this.behaviour = {
      size: 65_536,
      flags: PLAIN_FLAGS,
      form: "structured",
      onRequest: (peer, request) => peer.answer(request),
      onWriteHeader: () => undefined,
      onOption: () => false,
      onConnect: () => false,
      ...behaviour,
    };
    this.disk = Buffer.alloc(this.behaviour.size > 2 ** 24 ? 0 : this.behaviour.size);
  }

  static async start(behaviour: Partial<FakeBehaviour> = {}): Promise<FakeServer> {
    const server = new FakeServer(mkdtempSync(path.join(tmpdir(), "blockmirror-fake-")), behaviour);
    await server.listen();
    return server;
  }

  /** Accepts connections, again after {@link vanish}. */
  async listen(): Promise<void> {
    const listener = net.createServer((socket) => {
      const peer = new FakePeer(this, socket);
      this.peers.push(peer);
      void peer.serve();
    });
    this.#listener = listener;
    await new Promise<void>((resolve) => listener.listen(this.#socket, resolve));
  }

  /** Drops every connection and stops accepting, as a server that is killed. */
  async vanish(): Promise<void> {
    for (const peer of this.peers) peer.socket.destroy();
    const listener = this.#listener;
    this.#listener = undefined;
    if (listener !== undefined) await new Promise((resolve) => listener.close(resolve));
  }

  count(): number {
    this.#requests += 1;
    return this.#requests - 1;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.vanish();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}
