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
import type { HandshakeReader } from "./handshake-reader.ts";
import type { NegotiatedExport, ReplyForm } from "./negotiated.ts";
import { ExportRefusedError, ProtocolError } from "./protocol-error.ts";

/** Longest reply to an option: strings have at most 4096 bytes, and no reply holds more than one beside small fields. */
const MAX_REPLY = 16 * 1024;
/** Replies to one option; what we ask for is answered with a handful. */
const MAX_REPLIES = 64;

/** What a handshake needs of a connection. */
export interface HandshakeInit {
  readonly reader: HandshakeReader;
  readonly send: (bytes: Uint8Array) => void;
  readonly exportName: string;
  /** Names of the metadata contexts that are wanted. */
  readonly contexts: readonly string[];
  /** Upgrades the connection; absent for a connection without TLS. */
  readonly secure: (() => Promise<void>) | undefined;
}

interface OptionAnswer {
  readonly type: number;
  readonly data: Buffer;
}

/**
 * Agrees with a server on everything and ends in the transmission phase: TLS where asked for, then extended headers or
 * structured replies, then block status, then the export itself (NBD protocol, "Fixed newstyle negotiation").
 *
 * @throws ProtocolError when the server breaks the protocol, ExportRefusedError when it says no.
 */
export async function negotiate(init: HandshakeInit): Promise<NegotiatedExport> {
  const handshake = new Handshake(init);
  return handshake.run();
}

class Handshake {
  readonly #reader: HandshakeReader;
  readonly #send: (bytes: Uint8Array) => void;
  readonly #exportName: string;
  readonly #contexts: readonly string[];
  readonly #secure: (() => Promise<void>) | undefined;
  #padsExport = true;

  constructor(init: HandshakeInit) {
    this.#reader = init.reader;
    this.#send = init.send;
    this.#exportName = init.exportName;
    this.#contexts = init.contexts;
    this.#secure = init.secure;
  }

  async run(): Promise<NegotiatedExport> {
    const isFixed = await this.#greet();
    if (!isFixed) {
      // Such a server knows one option only, and drops whoever sends another.
      if (this.#secure !== undefined) throw new ExportRefusedError("the server is too old to know TLS");
      return this.#exportNameOnly();
    }
    if (this.#secure !== undefined) await this.#startTls(this.#secure);
    const form = await this.#agreeOnReplies();
    const contextIds = form === "simple" ? [] : await this.#agreeOnStatus();
    return this.#go(form, contextIds);
  }

  async #greet(): Promise<boolean> {
    const greeting = await this.#reader.read(16);
    if (!greeting.subarray(0, 8).equals(SERVER_MAGIC)) {
      throw new ProtocolError("this is no NBD server: its greeting is unknown");
    }
    if (!greeting.subarray(8, 16).equals(OPTION_MAGIC)) {
      throw new ProtocolError("the server speaks the oldstyle protocol, which nobody should use any more");
    }
    const offered = (await this.#reader.read(2)).readUInt16BE(0);
    const flags = offered & (HandshakeFlag.FixedNewstyle | HandshakeFlag.NoZeroes);
    this.#padsExport = (flags & HandshakeFlag.NoZeroes) === 0;
    const answer = Buffer.alloc(4);
    answer.writeUInt32BE(flags);
    this.#send(answer);
    return (flags & HandshakeFlag.FixedNewstyle) !== 0;
  }

  async #startTls(secure: () => Promise<void>): Promise<void> {
    const { type, data } = await this.#ask(Option.StartTls, Buffer.alloc(0));
    if (type !== OptionReply.Ack) throw refusal("TLS was refused", type, data);
    if (this.#reader.unread > 0) throw new ProtocolError("the server sent data before TLS was set up");
    await secure();
  }

  async #agreeOnReplies(): Promise<ReplyForm> {
    const extended = await this.#ask(Option.ExtendedHeaders, Buffer.alloc(0));
    if (extended.type === OptionReply.Ack) return "extended";
    this.#assertPlain(extended);
    const structured = await this.#ask(Option.StructuredReply, Buffer.alloc(0));
    if (structured.type === OptionReply.Ack) return "structured";
    this.#assertPlain(structured);
    return "simple";
  }

  /** The ids of the contexts, undefined for those that the server has not. */
  async #agreeOnStatus(): Promise<readonly (number | undefined)[]> {
    const queries = this.#contexts.flatMap((context) => sized(context));
    const data = Buffer.concat([...sized(this.#exportName), u32(this.#contexts.length), ...queries]);
    const ids: (number | undefined)[] = this.#contexts.map(() => undefined);
    const answer = await this.#ask(Option.SetMetaContext, data, (reply) => {
      if (reply.type !== OptionReply.MetaContext) return false;
      const index = reply.data.byteLength < 4 ? -1 : this.#contexts.indexOf(reply.data.toString("utf8", 4));
      if (index < 0 || ids[index] !== undefined) {
        throw new ProtocolError("the server selected a metadata context that nobody asked for");
      }
      const id = reply.data.readUInt32BE(0);
      if (ids.includes(id)) throw new ProtocolError("the server gave two metadata contexts the same id");
      ids[index] = id;
      return true;
    });
    if (answer.type === OptionReply.Ack) return ids;
    this.#assertPlain(answer);
    return [];
  }

  async #go(form: ReplyForm, contextIds: readonly (number | undefined)[]): Promise<NegotiatedExport> {
    const request = Buffer.alloc(4);
    request.writeUInt16BE(1, 0);
    request.writeUInt16BE(InfoType.BlockSize, 2);
    let found: { readonly size: number; readonly flags: number } | undefined;
    let block = { minimum: 1, preferred: 4096, maximum: DEFAULT_MAXIMUM_PAYLOAD };
    const { type, data } = await this.#ask(
      Option.Go,
      Buffer.concat([...sized(this.#exportName), request]),
      (reply) => {
        if (reply.type !== OptionReply.Info) return false;
        const { data } = reply;
        const info = data.byteLength < 2 ? -1 : data.readUInt16BE(0);
        if (info === -1) throw new ProtocolError("an item of information has no type");
        if (info === InfoType.Export) {
          if (data.byteLength !== 12)
            throw new ProtocolError("the description of the export has a wrong length");
          found = { size: exportSize(data, 2), flags: data.readUInt16BE(10) };
        } else if (info === InfoType.BlockSize) {
          block = blockSizes(data);
        }
        return true;
      },
    );
    if (type === OptionReply.ErrorUnsupported && form !== "extended")
      return this.#exportNameOnly(form, contextIds);
    if (type !== OptionReply.Ack) throw refusal(`export '${this.#exportName}' was refused`, type, data);
    if (found === undefined) throw new ProtocolError("the server gave the export without a word about it");
    return {
      ...found,
      form,
      contextIds,
      minimumBlock: block.minimum,
      preferredBlock: block.preferred,
      maximumPayload: block.maximum,
    };
  }

  /** The way of old servers: it answers with the export, or hangs up. */
  async #exportNameOnly(
    form: ReplyForm = "simple",
    contextIds: readonly (number | undefined)[] = [],
  ): Promise<NegotiatedExport> {
    this.#sendOption(Option.ExportName, Buffer.from(this.#exportName));
    let answer: Buffer;
    try {
      answer = await this.#reader.read(10);
    } catch (error) {
      if (error instanceof ProtocolError) throw error;
      throw new ExportRefusedError(
        `the server hung up when it was asked for export '${this.#exportName}', as old servers do when they do not have it`,
        { cause: error },
      );
    }
    const size = exportSize(answer, 0);
    const flags = answer.readUInt16BE(8);
    if (this.#padsExport) await this.#reader.read(124);
    return {
      size,
      flags,
      form,
      contextIds,
      minimumBlock: 1,
      preferredBlock: 4096,
      maximumPayload: DEFAULT_MAXIMUM_PAYLOAD,
    };
  }

  /** Sends an option; `onReply` takes the replies before the last and returns false for what it does not know. */
  async #ask(
    option: number,
    data: Uint8Array,
    onReply: (reply: OptionAnswer) => boolean = () => false,
  ): Promise<OptionAnswer> {
    this.#sendOption(option, data);
    for (let count = 0; count < MAX_REPLIES; count += 1) {
      const header = await this.#reader.read(20);
      if (!header.subarray(0, 8).equals(OPTION_REPLY_MAGIC)) {
        throw new ProtocolError("a reply to an option began with an unknown magic number");
      }
      if (header.readUInt32BE(8) !== option)
        throw new ProtocolError("the server answered an option that was not sent");
      const type = header.readUInt32BE(12);
      const length = header.readUInt32BE(16);
      if (length > MAX_REPLY) throw new ProtocolError(`a reply to an option has ${length} bytes`);
      const body = Buffer.from(await this.#reader.read(length));
      if (type === OptionReply.Ack && length > 0) throw new ProtocolError("an acknowledgement carries data");
      if (type === OptionReply.Ack || type >= OptionReply.ErrorBit) return { type, data: body };
      if (!onReply({ type, data: body })) {
        throw new ProtocolError(`option ${option} was answered with a reply of type ${type}`);
      }
    }
    throw new ProtocolError(`the server gave more than ${MAX_REPLIES} replies to one option`);
  }

  #sendOption(option: number, data: Uint8Array): void {
    this.#send(Buffer.concat([OPTION_MAGIC, u32(option), u32(data.byteLength), data]));
  }

  /** Refusing an extension is fine; wanting TLS first is not. */
  #assertPlain({ type, data }: OptionAnswer): void {
    if (type !== OptionReply.ErrorTlsRequired) return;
    throw refusal("the server wants TLS; use an nbds:// address or set 'tls'", type, data);
  }
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A string with its length before it. */
function sized(text: string): readonly Buffer[] {
  const bytes = Buffer.from(text);
  return [u32(bytes.byteLength), bytes];
}

function exportSize(data: Buffer, at: number): number {
  const size = data.readUInt32BE(at) * 2 ** 32 + data.readUInt32BE(at + 4);
  if (!Number.isSafeInteger(size))
    throw new ExportRefusedError(`the export is too large: ${size} bytes`, { code: "EFBIG" });
  return size;
}

/** Checks the constraints of the NBD protocol, "Block size constraints". */
function blockSizes(data: Buffer): { minimum: number; preferred: number; maximum: number } {
  if (data.byteLength !== 14) throw new ProtocolError("the block sizes have a wrong length");
  const minimum = data.readUInt32BE(2);
  const preferred = data.readUInt32BE(6);
  const maximum = data.readUInt32BE(10);
  if (
    !isPowerOfTwo(minimum) ||
    minimum > 65_536 ||
    !isPowerOfTwo(preferred) ||
    preferred < minimum ||
    maximum < minimum
  ) {
    throw new ProtocolError(`the block sizes ${minimum}/${preferred}/${maximum} contradict the protocol`);
  }
  return { minimum, preferred, maximum };
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}

const REFUSALS: ReadonlyMap<number, string> = new Map([
  [OptionReply.ErrorUnsupported, "not supported"],
  [OptionReply.ErrorPolicy, "not allowed by the server's policy"],
  [OptionReply.ErrorInvalid, "the request was invalid"],
  [OptionReply.ErrorPlatform, "not possible on the server's platform"],
  [OptionReply.ErrorTlsRequired, "the server wants TLS; use an nbds:// address or set 'tls'"],
  [OptionReply.ErrorUnknown, "the server has no export of that name"],
  [OptionReply.ErrorShutdown, "the server is shutting down"],
  [OptionReply.ErrorBlockSizeRequired, "the server insists on its block sizes"],
  [OptionReply.ErrorTooBig, "the request was too large"],
]);

function refusal(what: string, type: number, data: Buffer): ExportRefusedError {
  const reason = REFUSALS.get(type) ?? `error 0x${type.toString(16)}`;
  const text = data.byteLength === 0 ? "" : ` (it says: ${printable(data)})`;
  const code =
    type === OptionReply.ErrorUnknown ? "ENOENT" : type === OptionReply.ErrorPolicy ? "EACCES" : undefined;
  return new ExportRefusedError(`${what}: ${reason}${text}`, code === undefined ? {} : { code });
}

/** A server's text, safe to print: short, and without control characters. */
function printable(data: Buffer): string {
  const text = data.toString("utf8", 0, 200);
  return text.replaceAll(/[\p{Cc}\p{Cf}]/gu, "?");
}
