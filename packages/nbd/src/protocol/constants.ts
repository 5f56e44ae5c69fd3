/**
 * Numbers of the Network Block Device protocol (the NBD project's protocol document). All integers on the wire are
 * big-endian and unsigned.
 */

/** First eight bytes of a server's greeting. */
export const SERVER_MAGIC: Buffer = Buffer.from("NBDMAGIC");

/** Follows the greeting of a newstyle server, and begins every option of the client. */
export const OPTION_MAGIC: Buffer = Buffer.from("IHAVEOPT");

/** Begins every reply to an option. */
export const OPTION_REPLY_MAGIC: Buffer = Buffer.from("0003e889045565a9", "hex");

/** Begins a request with a compact header. */
export const REQUEST_MAGIC = 0x25_60_95_13;

/** Begins a simple reply. */
export const SIMPLE_REPLY_MAGIC = 0x67_44_66_98;

/** Begins a chunk of a structured reply. */
export const STRUCTURED_REPLY_MAGIC = 0x66_8e_33_ef;

/** Begins a request with an extended header. */
export const EXTENDED_REQUEST_MAGIC = 0x21_e4_1c_71;

/** Begins a chunk of a reply with an extended header. */
export const EXTENDED_REPLY_MAGIC = 0x6e_8a_27_8c;

/** Flags that server and client exchange first. */
export const HandshakeFlag = { FixedNewstyle: 1, NoZeroes: 2 } as const;

/** What a client may ask for before the transmission phase. */
export const Option = {
  ExportName: 1,
  Abort: 2,
  List: 3,
  StartTls: 5,
  Info: 6,
  Go: 7,
  StructuredReply: 8,
  ListMetaContext: 9,
  SetMetaContext: 10,
  ExtendedHeaders: 11,
} as const;

/** Types of replies to options; those from `ErrorBit` on are refusals. */
export const OptionReply = {
  Ack: 1,
  Server: 2,
  Info: 3,
  MetaContext: 4,
  ErrorBit: 0x80_00_00_00,
  ErrorUnsupported: 0x80_00_00_01,
  ErrorPolicy: 0x80_00_00_02,
  ErrorInvalid: 0x80_00_00_03,
  ErrorPlatform: 0x80_00_00_04,
  ErrorTlsRequired: 0x80_00_00_05,
  ErrorUnknown: 0x80_00_00_06,
  ErrorShutdown: 0x80_00_00_07,
  ErrorBlockSizeRequired: 0x80_00_00_08,
  ErrorTooBig: 0x80_00_00_09,
  ErrorExtendedHeadersRequired: 0x80_00_00_0a,
} as const;

/** Items of information in the answer to `Info` and `Go`. */
export const InfoType = { Export: 0, Name: 1, Description: 2, BlockSize: 3 } as const;

/** What an export can do. */
export const TransmissionFlag = {
  HasFlags: 0x1,
  ReadOnly: 0x2,
  SendFlush: 0x4,
  SendFua: 0x8,
  Rotational: 0x10,
  SendTrim: 0x20,
  SendWriteZeroes: 0x40,
  SendDf: 0x80,
  CanMultiConnection: 0x1_00,
  SendResize: 0x2_00,
  SendCache: 0x4_00,
  SendFastZero: 0x8_00,
  BlockStatusPayload: 0x10_00,
} as const;

/** Types of requests. */
export const Command = {
  Read: 0,
  Write: 1,
  Disconnect: 2,
  Flush: 3,
  Trim: 4,
  Cache: 5,
  WriteZeroes: 6,
  BlockStatus: 7,
  Resize: 8,
} as const;

/** Flags of a request. */
export const CommandFlag = {
  Fua: 0x1,
  NoHole: 0x2,
  Df: 0x4,
  ReqOne: 0x8,
  FastZero: 0x10,
  PayloadLength: 0x20,
} as const;

/** Flags of a chunk. */
export const ChunkFlag = { Done: 1 } as const;

/** Types of chunks; those with bit 15 are errors. */
export const ChunkType = {
  None: 0,
  OffsetData: 1,
  OffsetHole: 2,
  BlockStatus: 5,
  BlockStatusExt: 6,
  Error: 0x80_01,
  ErrorOffset: 0x80_02,
} as const;

/** The port that is registered for NBD. */
export const DEFAULT_PORT = 10_809;

/** Most data bytes of a read or write when no block sizes were agreed. */
export const DEFAULT_MAXIMUM_PAYLOAD: number = 32 * 1024 * 1024;

/** Longest string, in bytes. */
export const MAX_STRING = 4096;

/** Bits of an extent in the `base:allocation` context. */
export const AllocationFlag = { Hole: 1, Zero: 2 } as const;

/** The context that says where an export has holes and zeroes. */
export const BASE_ALLOCATION = "base:allocation";

/** The context that says which layer of a backing chain provides the data: 0 none, 1 the uppermost. */
export const ALLOCATION_DEPTH = "qemu:allocation-depth";

/** Beginning of the contexts of dirty bitmaps; the bitmap's name follows. */
export const DIRTY_BITMAP_PREFIX = "qemu:dirty-bitmap:";

/** Block size, in bytes, that is preferred when nothing was agreed. */
export const DEFAULT_PREFERRED_BLOCK = 4096;
