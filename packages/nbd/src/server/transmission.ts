import type { Duplex } from "node:stream";
import { BlockError, isPromise, type MaybePromise } from "@blockmirror/block-driver";
import { Command } from "../protocol/constants.ts";
import { errorNumber, NbdErrno } from "../protocol/errors.ts";
import type { ByteQueue } from "./byte-queue.ts";
import { executeChange, warmCache } from "./execute.ts";
import type { Agreement } from "./handshake.ts";
import { hangUp, LINGER_MS } from "./hang-up.ts";
import { ContextExtents } from "./meta-contexts.ts";
import type { Resumable } from "./nbd-export.ts";
import { Replies } from "./replies.ts";
import { ReplyArena, type SlabPool } from "./reply-arena.ts";
import { ReplyWriter } from "./reply-writer.ts";
import { chargeOf, extentCapacity, refusalOf } from "./request-check.ts";
import { RequestReader } from "./request-reader.ts";
import { Request, Stage } from "./request.ts";
import { RequestCounters } from "./statistics.ts";

/** Memory and requests that one connection may have in use. */
export interface ConnectionLimits {
  /** Requests that were received and whose reply has not left yet. At least 1. */
  readonly requests: number;
  /** Bytes of payloads and replies. One request is always taken, however large. */
  readonly bytes: number;
}

/** What a transmission needs. */
export interface TransmissionInit {
  readonly socket: Duplex;
  /** Bytes that arrived behind the handshake. */
  readonly received: ByteQueue;
  readonly agreement: Agreement;
  readonly limits: ConnectionLimits;
  readonly pool: SlabPool;
  /** Called once, when the connection is over and none of its requests is in flight any more. */
  readonly onEnd: () => void;
}

/** Requests that are answered at once in one turn of the event loop: others want their turn, too. */
const REQUESTS_PER_TURN = 64;

/** Payloads that nobody wants are read and dropped up to this many bytes; beyond it hanging up is cheaper for both. */
const MAX_SKIPPED: number = 64 * 1024 * 1024;

/** The transmission phase of one connection: requests in, replies out. */
export class Transmission implements Resumable {
  /** What this client alone has done. */
  readonly counters: RequestCounters = new RequestCounters();
  readonly #socket: Duplex;
  readonly #queue: ByteQueue;
  readonly #agreement: Agreement;
  readonly #limits: ConnectionLimits;
  readonly #pool: SlabPool;
  readonly #onEnd: () => void;
  readonly #arena: ReplyArena;
  readonly #writer: ReplyWriter;
  readonly #replies: Replies;
  readonly #reader: RequestReader;
  readonly #spare: Request[] = [];
  /** The request that is being received, or waits. */
  #current: Request | undefined;
  /** Requests whose reply has not left yet. */
  #outstanding = 0;
  /** Requests at work below. */
  #working = 0;
  #bytes = 0;
  #isPaused = true;
  #isProcessing = false;
  #continuation: NodeJS.Immediate | undefined;
  /** When the last answer left, or the handshake ended. */
  #lastSentMs: number = performance.now();
  /** No more requests: the client said goodbye, or the server stops. */
  #isEnding = false;
  #isStopping = false;
  /** Bytes that arrived since the server stops. */
  #lateBytes = 0;
  #isClosed = false;
  #hasEnded = false;

  constructor(init: TransmissionInit) {
    this.#socket = init.socket;
    this.#queue = init.received;
    this.#agreement = init.agreement;
    this.#limits = init.limits;
    this.#pool = init.pool;
    this.#onEnd = init.onEnd;
    this.#arena = new ReplyArena(init.pool);
    this.#writer = new ReplyWriter(init.socket, init.pool, this.#onSent);
    this.#replies = new Replies(init.agreement.replies, this.#arena, this.#writer);
    this.#reader = new RequestReader(init.received, init.agreement.replies === "extended");
  }

  /** Begins. */
  start(): void {
    const socket = this.#socket;
    this.#agreement.exported.connections.add(this);
    socket.on("data", this.#onData);
    socket.on("end", this.#onGoodbye);
    socket.on("close", this.#onClose);
    socket.on("error", this.#onClose);
    if (socket.destroyed) this.#onClose();
    else this.#process();
  }

  /** Goes on after the export was held. */
  resume(): void {
    if (!this.#isClosed) this.#process();
  }

  /** Refuses what arrives from now on, answers what is in flight, then hangs up. */
  stop(): void {
    this.#isStopping = true;
    this.#isEnding = true;
    this.#process();
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#queue.push(chunk);
    if (this.#isStopping) this.#lateBytes += chunk.byteLength;
    this.#process();
  };

  readonly #onGoodbye = (): void => {
    this.#isEnding = true;
    this.#process();
  };

  readonly #onClose = (): void => {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#agreement.exported.connections.delete(this);
    if (this.#continuation !== undefined) clearImmediate(this.#continuation);
    this.#forgetCurrent();
    this.#queue.clear();
    this.#writer.close();
    this.#arena.seal();
    this.#finishWhenIdle();
  };

  readonly #onSent = (replies: number, bytes: number): void => {
    this.#outstanding -= replies;
    this.#bytes -= bytes;
    this.#lastSentMs = performance.now();
    if (this.#isClosed) return;
    if (this.#outstanding === 0) this.#arena.seal();
    // Only a connection that stood still for want of room has to be told.
    if (this.#isPaused && !this.#isProcessing) this.#process();
    this.#endIfDone();
  };

  /** Takes and starts requests until there are no more bytes, no room, or it is somebody else's turn. */
  #process(): void {
    if (this.#isProcessing || this.#isClosed) return;
    this.#isProcessing = true;
    let turn = REQUESTS_PER_TURN;
    let isStarved = false;
    while (!this.#isClosed) {
      const step = this.#step();
      if (step === "starved") {
        isStarved = true;
        break;
      }
      if (step === "held") break;
      if (step === "started") {
        turn -= 1;
        if (turn === 0) {
          this.#continuation ??= setImmediate(this.#continue);
          break;
        }
      }
    }
    this.#isProcessing = false;
    if (this.#isClosed) return;
    this.#writer.flush();
    this.#listen(isStarved && !this.#isEnding);
    if (!this.#isEnding) return;
    // Complete requests that wait are still done; half a request never is.
    if (isStarved) this.#forgetCurrent();
    this.#endIfDone();
  }

  readonly #continue = (): void => {
    this.#continuation = undefined;
    this.#process();
  };

  #listen(wanted: boolean): void {
    if (wanted !== this.#isPaused) return;
    this.#isPaused = !wanted;
    if (wanted) this.#socket.resume();
    else this.#socket.pause();
  }

  /** One step of the current request. */
  #step(): "moved" | "started" | "starved" | "held" {
    const request = this.#current;
    if (request === undefined) {
      if (!this.#reader.hasHeader) return "starved";
      this.#announce();
      return "moved";
    }
    switch (request.stage) {
      case Stage.Announced: {
        if (!this.#hasRoom(request.charge)) return "held";
        this.#outstanding += 1;
        this.#bytes += request.charge;
        request.stage =
          request.payload === 0 ? Stage.Complete : request.refusal === 0 ? Stage.Receiving : Stage.Skipping;
        return "moved";
      }
      case Stage.Receiving:
        if (!this.#reader.collect(request)) return "starved";
        request.stage = Stage.Complete;
        return "moved";
      case Stage.Skipping:
        if (!this.#reader.skip(request)) return "starved";
        request.stage = Stage.Complete;
        return "moved";
      default:
        if (this.#agreement.exported.isHeld && request.refusal === 0) return "held";
        this.#current = undefined;
        this.#start(request);
        return "started";
    }
  }

  /** Whether a request that takes `charge` bytes may be received beside those that were. */
  #hasRoom(charge: number): boolean {
    if (this.#outstanding === 0) return true;
    const bytes = this.#bytes + charge;
    if (this.#outstanding >= this.#limits.requests || bytes > this.#limits.bytes) return false;
    return charge === 0 || this.#agreement.exported.pace.allows(this.#outstanding, bytes, performance.now());
  }

  /** Takes the header of the next request. */
  #announce(): void {
    const request = this.#spare.pop() ?? new Request(this.#onSuccess, this.#onFailure);
    // What was there when the server was told to stop, and only waited for room, was asked in time.
    const isLate = this.#isStopping && this.#queue.length <= this.#lateBytes;
    if (!this.#reader.header(request) || request.command === Command.Disconnect) {
      this.#recycle(request);
      this.#hearNoMore();
      return;
    }
    request.startedMs = performance.now();
    request.refusal = isLate ? NbdErrno.ESHUTDOWN : refusalOf(request, this.#agreement);
    if (request.refusal === 0) {
      request.charge = chargeOf(request, this.#agreement, this.#replies.readHeaderSize);
    } else if (request.payload > MAX_SKIPPED) {
      // It gets its refusal, but where the next request begins nobody waits to see.
      request.payload = 0;
      this.#hearNoMore();
    }
    this.#current = request;
  }

  /**
   * Takes no more requests: the client said goodbye, cannot be understood, or sends too much to be listened to. What it
   * asked before is still answered, for writes among it are done, or will be, and it would not know.
   */
  #hearNoMore(): void {
    this.#isEnding = true;
    this.#queue.clear();
  }

  #start(request: Request): void {
    this.#working += 1;
    if (request.refusal !== 0) {
      this.#finish(request, request.refusal);
      return;
    }
    this.#agreement.exported.enter();
    let result: MaybePromise<void>;
    try {
      result = this.#execute(request);
    } catch (error) {
      this.#onFailure(request, error);
      return;
    }
    if (isPromise(result)) result.then(request.succeed, request.fail);
    else this.#onSuccess(request);
  }

  #execute(request: Request): MaybePromise<void> {
    const { edge, writethrough } = this.#agreement.exported;
    const { offset, length } = request;
    switch (request.command) {
      case Command.Read: {
        if (length === 0) return undefined;
        const head = this.#replies.readHeaderSize;
        const slab = this.#arena.reserve(head + length);
        const { start } = this.#arena;
        request.slab = slab;
        request.slabStart = start;
        return edge.read(offset, [slab.memory.subarray(start + head, start + head + length)]);
      }
      case Command.BlockStatus:
        return this.#describe(request);
      case Command.Cache:
        return warmCache(edge, offset, length, this.#isWanted);
      default:
        return executeChange(edge, request, writethrough);
    }
  }

  /** Warming a cache may end at any time: neither the end of a client nor a drain waits for a terabyte of it. */
  readonly #isWanted = (): boolean => !this.#isClosed && !this.#agreement.exported.isHeld;

  /** Queues every chunk but the final error, if there is one. */
  async #describe(request: Request): Promise<void> {
    const { contexts, exported } = this.#agreement;
    const answers: ContextExtents[] = [];
    for (const { context } of contexts) {
      const extents = new ContextExtents(extentCapacity(request));
      await context.describe(exported.edge.node, request.offset, request.length, extents);
      answers.push(extents);
    }
    if (this.#isClosed) return;
    answers.forEach((extents, index) => {
      this.#replies.extents(request, contexts[index]?.id ?? 0, extents, index === answers.length - 1);
      this.#bytes += this.#replies.queued;
    });
  }

  readonly #onSuccess = (request: Request): void => {
    this.#agreement.exported.leave();
    this.#finish(request, 0);
  };

  readonly #onFailure = (request: Request, error: unknown): void => {
    this.#agreement.exported.leave();
    this.#finish(request, error instanceof BlockError ? errorNumber(error.code) : NbdErrno.EIO);
  };

  /** Answers and lets go of a request. */
  #finish(request: Request, failure: number): void {
    this.#working -= 1;
    const { command, length } = request;
    const nowMs = performance.now();
    const latencyMs = nowMs - request.startedMs;
    const { counters, pace } = this.#agreement.exported;
    if (command === Command.Read || command === Command.Write) pace.note(request.startedMs, nowMs);
    counters.count(command, length, failure !== 0, latencyMs);
    this.counters.count(command, length, failure !== 0, latencyMs);
    this.#bytes -= request.charge;
    if (this.#isClosed) {
      if (request.slab !== undefined) this.#pool.release(request.slab);
      this.#recycle(request);
      this.#finishWhenIdle();
      return;
    }
    if (failure !== 0) {
      if (request.slab !== undefined) this.#pool.release(request.slab);
      this.#replies.error(request, failure);
      this.#bytes += this.#replies.queued;
    } else if (command === Command.Read && length > 0) {
      this.#replies.data(request);
      this.#bytes += this.#replies.queued;
    } else if (command !== Command.BlockStatus) {
      this.#replies.done(request);
      this.#bytes += this.#replies.queued;
    }
    this.#recycle(request);
    if (!this.#isProcessing) this.#writer.schedule();
  }

  #recycle(request: Request): void {
    request.reset();
    this.#spare.push(request);
  }

  #forgetCurrent(): void {
    const request = this.#current;
    this.#current = undefined;
    if (request === undefined || request.stage === Stage.Announced) return;
    this.#outstanding -= 1;
    this.#bytes -= request.charge;
  }

  #endIfDone(): void {
    if (!this.#isEnding || this.#isClosed || this.#hasEnded) return;
    if (this.#outstanding > 0 || this.#current !== undefined || this.#continuation !== undefined) return;
    this.#hasEnded = true;
    this.#socket.off("data", this.#onData);
    // A client that has been idle for that long has its answers: there is nothing that it could lose.
    hangUp(this.#socket, LINGER_MS - (performance.now() - this.#lastSentMs));
  }

  #finishWhenIdle(): void {
    if (this.#working === 0) this.#onEnd();
  }
}
