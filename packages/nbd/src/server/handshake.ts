import { once } from "node:events";
import type { Duplex } from "node:stream";
import {
  DEFAULT_MAXIMUM_PAYLOAD,
  HandshakeFlag,
  InfoType,
  Option,
  OPTION_MAGIC,
  OPTION_REPLY_MAGIC,
  OptionReply,
  SERVER_MAGIC,
} from "../protocol/constants.ts";
import { writeUint64 } from "../protocol/uint64.ts";
import { matchContexts, type MetaContext } from "./meta-contexts.ts";
import type { NbdExport } from "./nbd-export.ts";
import { OptionData, OptionDataError } from "./option-data.ts";
import type { SocketReader } from "./socket-reader.ts";

/** What client and server agreed on before transmission. */
export interface Agreement {
  readonly exported: NbdExport;
  /** Size in bytes that the client was told; it stays true for this connection. */
  readonly size: number;
  /** The flags that the client was told. */
  readonly transmissionFlags: number;
  /** How replies look. */
  readonly replies: "simple" | "structured" | "extended";
  /** The selected contexts, each with its id. */
  readonly contexts: readonly SelectedContext[];
}

/** A context that a client selected. */
export interface SelectedContext {
  readonly id: number;
  readonly context: MetaContext;
}

/** How a handshake ended. */
export type HandshakeOutcome =
  | { readonly next: "transmission"; readonly agreement: Agreement }
  | { readonly next: "tls" }
  | { readonly next: "close" };

/** What a handshake has to know of its server. */
export interface HandshakeHost {
  /** Every export, in the order they were added. */
  exports(): readonly NbdExport[];
  /** Whether TLS is impossible, possible, or demanded. */
  readonly tls: "none" | "optional" | "required";
}

/** Longest data of an option that is read. */
const MAX_OPTION_DATA = 64 * 1024;

const CLOSE: HandshakeOutcome = { next: "close" };

/** The server's side of the fixed newstyle handshake, up to transmission or to TLS. */
export class Handshake {
  readonly #socket: Duplex;
  readonly #reader: SocketReader;
  readonly #host: HandshakeHost;
  readonly #isSecure: boolean;
  #noZeroes = false;
  #isFixed = false;
  #replies: Agreement["replies"] = "simple";
  #selection: { readonly exported: NbdExport; readonly contexts: readonly SelectedContext[] } | undefined;

  constructor(socket: Duplex, reader: SocketReader, host: HandshakeHost, isSecure: boolean) {
    this.#socket = socket;
    this.#reader = reader;
    this.#host = host;
    this.#isSecure = isSecure;
  }

  /**
   * Greets, unless TLS was begun on this connection, and answers options until one of them ends it.
   * @throws ConnectionEndedError when the client goes away.
   */
  async run(): Promise<HandshakeOutcome> {
    if (this.#isSecure) {
      // The greeting was before TLS, and so were the client's flags.
      this.#isFixed = true;
    } else if (!(await this.#greet())) {
      return CLOSE;
    }
    for (;;) {
      const header = await this.#reader.read(16);
      if (!header.subarray(0, 8).equals(OPTION_MAGIC)) return CLOSE;
      const option = header.readUInt32BE(8);
      const length = header.readUInt32BE(12);
      if (length > MAX_OPTION_DATA) {
        if (option !== Option.ExportName) {
          await this.#reply(
            option,
            OptionReply.ErrorTooBig,
            text(`at most ${MAX_OPTION_DATA} bytes of data`),
          );
        }
        return CLOSE;
      }
      const outcome = await this.#answer(option, await this.#reader.read(length));
      if (outcome !== undefined) return outcome;
    }
  }

  /** Continues with what was agreed before TLS about the handshake itself. */
  inherit(before: Handshake): void {
    this.#noZeroes = before.#noZeroes;
  }

  async #greet(): Promise<boolean> {
    const offered = HandshakeFlag.FixedNewstyle | HandshakeFlag.NoZeroes;
    await this.#send(Buffer.concat([SERVER_MAGIC, OPTION_MAGIC, Buffer.from([0, offered])]));
    const flags = (await this.#reader.read(4)).readUInt32BE(0);
    this.#isFixed = (flags & HandshakeFlag.FixedNewstyle) !== 0;
    this.#noZeroes = (flags & HandshakeFlag.NoZeroes) !== 0;
    return (flags & ~offered) === 0;
  }

  async #answer(option: number, data: Buffer): Promise<HandshakeOutcome | undefined> {
    // Only the fixed newstyle has replies to options.
    if (!this.#isFixed && option !== Option.ExportName) return CLOSE;
    if (this.#host.tls === "required" && !this.#isSecure) {
      if (option === Option.ExportName) return CLOSE;
      if (option !== Option.StartTls && option !== Option.Abort) {
        await this.#reply(option, OptionReply.ErrorTlsRequired, text("this server speaks TLS only"));
        return undefined;
      }
    }
    try {
      return await this.#act(option, new OptionData(data));
    } catch (error) {
      if (!(error instanceof OptionDataError)) throw error;
      // Even a selection that failed replaces the one before.
      if (option === Option.SetMetaContext) this.#selection = undefined;
      await this.#reply(option, OptionReply.ErrorInvalid, text(error.message));
      return undefined;
    }
  }

  async #act(option: number, data: OptionData): Promise<HandshakeOutcome | undefined> {
    switch (option) {
      case Option.ExportName:
        return this.#exportName(data);
      case Option.Abort:
        await this.#reply(option, OptionReply.Ack);
        return CLOSE;
      case Option.List:
        data.end();
        return this.#list(option);
      case Option.StartTls:
        data.end();
        return this.#startTls(option);
      case Option.Info:
      case Option.Go:
        return this.#information(option, data);
      case Option.StructuredReply:
        data.end();
        if (this.#replies === "extended") {
          await this.#reply(option, OptionReply.ErrorExtendedHeadersRequired);
        } else {
          this.#replies = "structured";
          await this.#reply(option, OptionReply.Ack);
        }
        return undefined;
      case Option.ExtendedHeaders:
        data.end();
        this.#replies = "extended";
        await this.#reply(option, OptionReply.Ack);
        return undefined;
      case Option.ListMetaContext:
      case Option.SetMetaContext:
        return this.#metaContexts(option, data);
      default:
        await this.#reply(option, OptionReply.ErrorUnsupported, text(`option ${option} is not supported`));
        return undefined;
    }
  }

  async #exportName(data: OptionData): Promise<HandshakeOutcome> {
    // No reply can carry an error here, and extended headers exclude this option.
    const name = data.rest();
    const exported = name === undefined || this.#replies === "extended" ? undefined : this.#find(name);
    if (exported === undefined) return CLOSE;
    const agreement = this.#agree(exported);
    const answer = Buffer.alloc(this.#noZeroes ? 10 : 134);
    writeUint64(answer, 0, agreement.size);
    answer.writeUInt16BE(agreement.transmissionFlags, 8);
    await this.#send(answer);
    return { next: "transmission", agreement };
  }

  async #list(option: number): Promise<undefined> {
    for (const { name, description } of this.#host.exports()) {
      await this.#reply(option, OptionReply.Server, Buffer.concat([sized(name), text(description ?? "")]));
    }
    await this.#reply(option, OptionReply.Ack);
  }

  async #startTls(option: number): Promise<HandshakeOutcome | undefined> {
    if (this.#isSecure) {
      await this.#reply(option, OptionReply.ErrorInvalid, text("TLS is in use already"));
      return undefined;
    }
    if (this.#host.tls === "none") {
      await this.#reply(option, OptionReply.ErrorPolicy, text("this server has no TLS"));
      return undefined;
    }
    // What a client sends before TLS has begun may come from anybody in between: it must not be taken for hers.
    if (this.#reader.buffered > 0) return CLOSE;
    await this.#reply(option, OptionReply.Ack);
    return { next: "tls" };
  }

  async #information(option: number, data: OptionData): Promise<HandshakeOutcome | undefined> {
    const name = data.string();
    const wanted = data.uint16List();
    data.end();
    const exported = this.#find(name);
    if (exported === undefined) {
      await this.#reply(option, OptionReply.ErrorUnknown, text("there is no export of that name"));
      return undefined;
    }
    const agreement = this.#agree(exported);
    await this.#reply(option, OptionReply.Info, exportItem(agreement));
    if (wanted.includes(InfoType.Name)) {
      await this.#reply(option, OptionReply.Info, textItem(InfoType.Name, exported.name));
    }
    if (wanted.includes(InfoType.Description) && exported.description !== undefined) {
      await this.#reply(option, OptionReply.Info, textItem(InfoType.Description, exported.description));
    }
    if (wanted.includes(InfoType.BlockSize)) {
      await this.#reply(option, OptionReply.Info, blockSizeItem(exported));
    }
    await this.#reply(option, OptionReply.Ack);
    return option === Option.Go ? { next: "transmission", agreement } : undefined;
  }

  async #metaContexts(option: number, data: OptionData): Promise<undefined> {
    const isListing = option === Option.ListMetaContext;
    if (!isListing) this.#selection = undefined;
    const name = data.string();
    const queries = data.stringList();
    data.end();
    if (!isListing && this.#replies === "simple") {
      await this.#reply(option, OptionReply.ErrorInvalid, text("structured replies have to be agreed first"));
      return;
    }
    const exported = this.#find(name);
    if (exported === undefined) {
      await this.#reply(option, OptionReply.ErrorUnknown, text("there is no export of that name"));
      return;
    }
    const everything = isListing && queries.length === 0 ? exported.contexts : [];
    const found = new Set<MetaContext>(everything);
    for (const query of queries) {
      for (const context of matchContexts(exported.contexts, query, isListing)) found.add(context);
    }
    const contexts = [...found].map((context, index) => ({ id: index + 1, context }));
    if (!isListing) this.#selection = { exported, contexts };
    for (const { id, context } of contexts) {
      const item = Buffer.concat([Buffer.alloc(4), text(context.name)]);
      item.writeUInt32BE(isListing ? 0 : id, 0);
      await this.#reply(option, OptionReply.MetaContext, item);
    }
    await this.#reply(option, OptionReply.Ack);
  }

  #agree(exported: NbdExport): Agreement {
    return {
      exported,
      size: exported.size,
      transmissionFlags: exported.transmissionFlags(this.#replies !== "simple"),
      replies: this.#replies,
      contexts: this.#selection?.exported === exported ? this.#selection.contexts : [],
    };
  }

  /** The export of that name; the empty name also stands for the only one there is. */
  #find(name: string): NbdExport | undefined {
    const exports = this.#host.exports();
    const exact = exports.find((exported) => exported.name === name);
    return exact ?? (name === "" && exports.length === 1 ? exports[0] : undefined);
  }

  async #reply(option: number, type: number, data: Buffer = Buffer.alloc(0)): Promise<void> {
    const header = Buffer.alloc(20);
    OPTION_REPLY_MAGIC.copy(header);
    header.writeUInt32BE(option, 8);
    header.writeUInt32BE(type, 12);
    header.writeUInt32BE(data.byteLength, 16);
    await this.#send(Buffer.concat([header, data]));
  }

  /** Waits for a client that does not read, so that what is sent to it does not pile up. */
  async #send(bytes: Buffer): Promise<void> {
    if (this.#socket.destroyed || this.#socket.write(bytes)) return;
    const settled = new AbortController();
    const { signal } = settled;
    try {
      await Promise.race([once(this.#socket, "drain", { signal }), once(this.#socket, "close", { signal })]);
    } finally {
      settled.abort();
    }
  }
}

function text(value: string): Buffer {
  return Buffer.from(value);
}

function sized(value: string): Buffer {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.byteLength, 0);
  return Buffer.concat([length, bytes]);
}

function exportItem({ size, transmissionFlags }: Agreement): Buffer {
  const item = Buffer.alloc(12);
  item.writeUInt16BE(InfoType.Export, 0);
  writeUint64(item, 2, size);
  item.writeUInt16BE(transmissionFlags, 10);
  return item;
}

function textItem(type: number, value: string): Buffer {
  return Buffer.concat([Buffer.from([0, type]), text(value)]);
}

function blockSizeItem(exported: NbdExport): Buffer {
  const item = Buffer.alloc(14);
  item.writeUInt16BE(InfoType.BlockSize, 0);
  item.writeUInt32BE(1, 2);
  item.writeUInt32BE(exported.preferredBlock, 6);
  item.writeUInt32BE(DEFAULT_MAXIMUM_PAYLOAD, 10);
  return item;
}
