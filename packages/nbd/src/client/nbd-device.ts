import {
  BlockError,
  ExtentFlag,
  iovSlice,
  type BitmapStore,
  type BlockDevice,
  type DeviceInfo,
  type ExtentList,
  type IoOptions,
  type IoVec,
  type MaybePromise,
  type StatusOptions,
  type WriteOptions,
  type ZeroOptions,
} from "@blockmirror/block-driver";
import { Command, CommandFlag } from "../protocol/constants.ts";
import { MAX_EFFECT, question, transfer } from "./request.ts";
import { MAX_PIECE, piecesOf, settleAll } from "./pieces.ts";
import type { Session } from "./session.ts";
import { ALLOCATION } from "./status-contexts.ts";

/** An export of a server. Made by the `nbd` driver; see there for what it promises. */
export class NbdDevice implements BlockDevice {
  declare readonly write?: (offset: number, from: IoVec, options?: WriteOptions) => MaybePromise<void>;
  declare readonly writeZeroes?: (
    offset: number,
    length: number,
    options?: ZeroOptions,
  ) => MaybePromise<void>;
  declare readonly discard?: (offset: number, length: number, options?: IoOptions) => MaybePromise<void>;
  declare readonly bitmaps?: BitmapStore;
  declare readonly flush?: (options?: IoOptions) => MaybePromise<void>;

  readonly info: DeviceInfo;
  readonly #session: Session;

  constructor(session: Session, info: DeviceInfo, bitmaps: BitmapStore | undefined) {
    this.#session = session;
    this.info = info;
    if (bitmaps !== undefined) this.bitmaps = bitmaps;
    const { can } = info;
    if (can.write) this.write = this.#write;
    if (can.writeZeroes !== "no") this.writeZeroes = this.#writeZeroes;
    if (can.discard !== "no") this.discard = this.#discard;
    if (can.flush) this.flush = this.#flush;
  }

  read(offset: number, into: IoVec, options?: IoOptions): MaybePromise<void> {
    return this.#inPieces("read", 0, offset, into, options);
  }

  status(offset: number, length: number, extents: ExtentList, options?: StatusOptions): MaybePromise<void> {
    extents.reset(offset);
    if (length === 0) return undefined;
    if (this.info.can.status === "none") {
      extents.append(this.info.size - offset, ExtentFlag.Data);
      return undefined;
    }
    const init = question(offset, length, this.info.align.read, extents, ALLOCATION);
    return this.#session.submit(init, options?.signal);
  }

  close(): Promise<void> {
    return this.#session.close();
  }

  readonly #write = (offset: number, from: IoVec, options?: WriteOptions): MaybePromise<void> => {
    return this.#inPieces("write", fua(options), offset, from, options);
  };

  readonly #writeZeroes = (offset: number, length: number, options?: ZeroOptions): MaybePromise<void> => {
    let flags = fua(options);
    if (options?.unmap !== true) flags |= CommandFlag.NoHole;
    if (options?.noFallback === true) {
      if (this.info.can.writeZeroes !== "fast") throw this.#cannotZeroFast(offset, length);
      flags |= CommandFlag.FastZero;
    }
    return this.#inSteps("writeZeroes", Command.WriteZeroes, flags, offset, length, options);
  };

  readonly #discard = (offset: number, length: number, options?: IoOptions): MaybePromise<void> =>
    this.#inSteps("discard", Command.Trim, 0, offset, length, options);

  readonly #flush = (options?: IoOptions): MaybePromise<void> =>
    this.#session.submit(
      { operation: "flush", command: Command.Flush, flags: 0, offset: 0, length: 0 },
      options?.signal,
    );

  /** A transfer as requests of a size that suits servers, all of them at once. */
  #inPieces(
    operation: "read" | "write",
    flags: number,
    offset: number,
    iov: IoVec,
    options: IoOptions | undefined,
  ): MaybePromise<void> {
    const whole = transfer(operation, flags, offset, iov);
    if (whole.length === 0) return undefined;
    if (whole.length <= MAX_PIECE) return this.#session.submit(whole, options?.signal);
    return settleAll(
      piecesOf(offset, whole.length).map(async ([at, length]) =>
        this.#session.submit(
          transfer(operation, flags, at, iovSlice(iov, at - offset, length)),
          options?.signal,
        ),
      ),
    );
  }

  #inSteps(
    operation: "writeZeroes" | "discard",
    command: number,
    flags: number,
    offset: number,
    length: number,
    options: IoOptions | undefined,
  ): MaybePromise<void> {
    if (length === 0) return undefined;
    const step = (at: number): Promise<void> =>
      this.#session.submit(
        { operation, command, flags, offset: at, length: Math.min(MAX_EFFECT, offset + length - at) },
        options?.signal,
      );
    if (length <= MAX_EFFECT) return step(offset);
    return (async () => {
      for (let at = offset; at < offset + length; at += MAX_EFFECT) await step(at);
    })();
  }

  #cannotZeroFast(offset: number, length: number): BlockError {
    const { label } = this.info;
    return new BlockError("ENOTSUP", `the server of ${label} cannot tell whether zeroing is fast`, {
      node: label,
      operation: "writeZeroes",
      offset,
      length,
    });
  }
}

function fua(options: WriteOptions | undefined): number {
  return options?.fua === true ? CommandFlag.Fua : 0;
}
