import { BlockError, type BlockErrorCode } from "@blockmirror/block-driver";
import { blockErrorCode } from "../protocol/errors.ts";
import { incompatibility } from "./compatibility.ts";
import type { Connection, ConnectionOwner, Refusal } from "./connection.ts";
import { Dialer } from "./dialer.ts";
import { Command } from "../protocol/constants.ts";
import {
  cancellation,
  describeLoss,
  describeRefusal,
  LateError,
  requestFailure,
  unflushedLoss,
} from "./failures.ts";
import { Growth } from "./growth.ts";
import { allowsSeveralConnections, canFlush, type NegotiatedExport } from "./negotiated.ts";
import { ProtocolError } from "./protocol-error.ts";
import { Reconnection } from "./reconnection.ts";
import { Request, type RequestInit } from "./request.ts";
import type { SessionInit } from "./session-init.ts";
import { UnflushedWrites } from "./unflushed-writes.ts";
import { Watchdog } from "./watchdog.ts";

/** What `close` sends for writes that nobody has flushed. */
const FLUSH: RequestInit = { operation: "flush", command: Command.Flush, flags: 0, offset: 0, length: 0 };

/** A request is given up when it was cut off this often, for it may be what ends the server: in all, and in a row. */
const MAX_ATTEMPTS = 50;
const MAX_FRUITLESS = 5;
/** How long a server may take to hang up after the goodbye. */
const GOODBYE_MS = 2000;

/**
 * The requests of one device and the connections they travel on.
 *
 * When a connection is lost, its unanswered requests are sent again, over another connection or the next one, as long
 * as that cannot undo anything:
 * - Reads and status change nothing.
 * - A write, zero request or trim was not answered, so its caller still holds the buffers and expects either content. It
 *   is sent again unless an overlapping one that was sent meanwhile has been answered: that one would be undone.
 * - After a timeout nothing is sent again: the server may wake up and do late what was sent to it.
 *
 * What was answered and not flushed can be lost with the server. As long as one connection lives, the server does too
 * (NBD protocol, `NBD_FLAG_CAN_MULTI_CONN`). When the last one is gone while such writes exist, the device is fenced: it
 * cannot be told any more whether they are there, so no later flush may say so, and no read may return what was there
 * before.
 *
 * Nothing proves that a further connection leads to the same server: the one there was may have lost its power without a word,
 * and another one have taken its address. So while such writes exist it is not used before one of those there were has answered.
 */
export class Session implements ConnectionOwner {
  readonly #init: SessionInit;
  readonly #connections: Connection[] = [];
  /** Further ones that are not used yet: they may lead to another server. */
  readonly #unproven: Connection[] = [];
  readonly #dialer: Dialer;
  readonly #reconnection: Reconnection;
  readonly #growth: Growth;
  readonly #watchdog: Watchdog;
  readonly #unflushed = new UnflushedWrites();
  /** Changes that were sent and are not settled. */
  readonly #changing = new Set<Request>();
  /** Requests that wait for a connection, oldest first. */
  readonly #queue: Request[] = [];
  #negotiated: NegotiatedExport | undefined;
  #unsettled = 0;
  #idle: (() => void) | undefined;
  #fence: BlockError | undefined;
  #closing: Promise<void> | undefined;

  private constructor(init: SessionInit) {
    this.#init = init;
    const { timers, patience } = init;
    this.#dialer = new Dialer(init.endpoint, this, timers);
    this.#watchdog = new Watchdog(timers, patience, this.#connections);
    this.#reconnection = new Reconnection({
      dialer: this.#dialer,
      timers,
      patience,
      admit: (connection) => this.#comeBack(connection),
      giveUp: (error) => this.#giveUp(error),
    });
    this.#growth = new Growth({
      dialer: this.#dialer,
      timers,
      openMs: patience.openMs,
      admit: (connection) => this.#join(connection),
    });
  }

  /** Connects. @throws as {@link Connection.open}, and LateError. */
  static async open(init: SessionInit, signal: AbortSignal | undefined): Promise<Session> {
    const session = new Session(init);
    const first = await session.#dialer.dial(init.patience.openMs, signal);
    session.#negotiated = first.negotiated;
    session.#connections.push(first);
    return session;
  }

  /** What was agreed with the server. */
  get negotiated(): NegotiatedExport {
    if (this.#negotiated === undefined) throw new Error("Session: not open");
    return this.#negotiated;
  }

  /** Number of connections that are ready. */
  get connections(): number {
    return this.#connections.length;
  }

  /** Runs a request to its end. */
  submit(init: RequestInit, signal: AbortSignal | undefined): Promise<void> {
    const request = new Request(init);
    if (this.#fence !== undefined) throw this.#fence;
    if (this.#closing !== undefined) {
      throw requestFailure("ESHUTDOWN", this.#init.label, request, "the device is closed");
    }
    if (signal?.aborted === true) throw cancellation(this.#init.label, request);
    return this.#start(request, signal);
  }

  /** Waits for requests, makes the last writes durable, says goodbye. Rejects when writes may be lost. */
  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  answered(request: Request, refusal: Refusal | undefined): void {
    if (request.changes) {
      this.#changing.delete(request);
      for (const other of this.#changing) if (other.overlaps(request)) other.overtaken = true;
      // A change that failed may have been made in part.
      if (request.needsFlush) this.#unflushed.add();
    }
    const isFlush = request.operation === "flush";
    if (refusal !== undefined) this.#refused(request, refusal);
    // A server tells one flush of a failure, and the one beside it of success: it covers the same writes.
    else if (isFlush && this.#fence !== undefined) request.fail(this.#fence);
    else {
      if (isFlush) this.#unflushed.flushed(request.covers);
      request.succeed();
    }
    // Who answers lives, so the server did when these were made.
    this.#connections.push(...this.#unproven.splice(0));
    this.#sendQueued();
  }

  lost(connection: Connection, error: Error | undefined, unanswered: readonly Request[]): void {
    const index = this.#connections.indexOf(connection);
    // One that was turned away, or not used yet, carried nothing.
    if (index < 0) {
      const place = this.#unproven.indexOf(connection);
      if (place >= 0) this.#unproven.splice(place, 1);
      return;
    }
    this.#connections.splice(index, 1);
    const isLast = this.#connections.length === 0;
    if (isLast) this.#mourn(error);
    if (!connection.hasAnswered) for (const request of unanswered) request.fruitless += 1;
    const again = unanswered.filter((request) => this.#mayRepeat(request, error));
    this.#queue.unshift(...again);
    const fence = this.#fence;
    if (fence === undefined && isLast) this.#connections.push(...this.#unproven.splice(0));
    if (fence !== undefined) this.#failQueue((request) => this.#lossOf(request, error, fence));
    else if (this.#connections.length === 0) this.#awaitServer(error);
    else this.#sendQueued();
  }

  #start(request: Request, signal: AbortSignal | undefined): Promise<void> {
    this.#unsettled += 1;
    request.covers = this.#unflushed.mark;
    const abort = (): void => this.#abort(request);
    signal?.addEventListener("abort", abort, { once: true });
    request.onSettled = () => {
      signal?.removeEventListener("abort", abort);
      this.#changing.delete(request);
      this.#unsettled -= 1;
      if (this.#unsettled === 0) this.#idle?.();
    };
    this.#queue.push(request);
    this.#sendQueued();
    return request.promise;
  }

  #sendQueued(): void {
    if (this.#queue.length === 0) return;
    if (this.#connections.length === 0) {
      if (this.#fence === undefined) this.#reconnection.start();
      return;
    }
    let sent = 0;
    for (const request of this.#queue) {
      const connection = this.#leastLoaded();
      if (connection === undefined) break;
      sent += 1;
      if (request.settled) continue;
      request.attempts += 1;
      request.sentAt = this.#init.timers.now();
      if (connection.inFlight === 0) connection.progressAt = request.sentAt;
      if (request.changes) this.#changing.add(request);
      connection.send(request);
    }
    this.#queue.splice(0, sent);
    this.#watchdog.watch();
    this.#growth.consider(this.#connections, this.#allowedConnections - this.#unproven.length);
  }

  /**
   * Sharing writes between connections needs the server's promise that a flush covers them all: of the server that is
   * there now, which need not be the one that was there first.
   */
  get #allowedConnections(): number {
    const isPromised = this.#connections.every(({ negotiated }) => allowsSeveralConnections(negotiated));
    return isPromised && this.#closing === undefined ? this.#init.connections : 1;
  }

  #mayShare({ negotiated }: Connection): boolean {
    const isAlone = this.#connections.length === 0;
    return isAlone || (allowsSeveralConnections(negotiated) && this.#allowedConnections > 1);
  }

  #leastLoaded(): Connection | undefined {
    let best: Connection | undefined;
    for (const connection of this.#connections) {
      if (connection.isFull) continue;
      const isBetter =
        best === undefined ||
        connection.payload < best.payload ||
        (connection.payload === best.payload && connection.inFlight < best.inFlight);
      if (isBetter) best = connection;
    }
    return best;
  }

  #refused(request: Request, { errorNumber, text }: Refusal): void {
    const { label } = this.#init;
    const code = blockErrorCode(errorNumber);
    const said = text === "" ? "" : `: ${text}`;
    const failure = requestFailure(code, label, request, `the server answered ${code}${said}`);
    if (request.operation === "flush") {
      // After a failed flush a server may have dropped what it could not write, and succeed the next time.
      this.#raiseFence(
        `a flush failed (${failure.message}); what was written before may be lost: check the server's storage, close it and open it again`,
        failure,
      );
    }
    request.fail(failure);
  }

  /** The last connection is gone: with it goes what was answered and not flushed. */
  #mourn(error: Error | undefined): void {
    const { report, label } = this.#init;
    const isExpected = this.#closing !== undefined && this.#unsettled === 0;
    if (!isExpected) report(`${label}: connection lost: ${describeLoss(error)}`);
    const atStake = this.#atStake;
    if (atStake > 0) this.#fence ??= unflushedLoss(label, atStake, error);
  }

  /** Number of writes that would be lost with the server. */
  get #atStake(): number {
    const { readOnly, trustsServer } = this.#init;
    return readOnly || trustsServer || !canFlush(this.negotiated) ? 0 : this.#unflushed.count;
  }

  #mayRepeat(request: Request, error: Error | undefined): boolean {
    if (request.settled) return false;
    const isSafe =
      !(error instanceof LateError) &&
      !(error instanceof ProtocolError) &&
      !request.overtaken &&
      request.attempts < MAX_ATTEMPTS &&
      request.fruitless < MAX_FRUITLESS;
    if (!isSafe) request.fail(this.#lossOf(request, error));
    return isSafe;
  }

  #lossOf(request: Request, error: Error | undefined, cause: Error | undefined = error): BlockError {
    const code: BlockErrorCode = error instanceof LateError ? "ETIMEDOUT" : "EIO";
    const text = request.overtaken
      ? "its connection was lost, and it cannot be sent again because a write of the same range was answered meanwhile; what the range holds is unknown"
      : `its connection was lost: ${describeLoss(error)}`;
    return requestFailure(code, this.#init.label, request, text, cause);
  }

  #awaitServer(error: Error | undefined): void {
    if (this.#init.patience.reconnectMs === 0) this.#failQueue((request) => this.#lossOf(request, error));
    else if (this.#closing === undefined || this.#unsettled > 0) this.#reconnection.start();
  }

  #giveUp(error: Error): void {
    const { label, patience } = this.#init;
    const code: BlockErrorCode = error instanceof LateError ? "ETIMEDOUT" : "EIO";
    this.#failQueue((request) =>
      requestFailure(
        code,
        label,
        request,
        patience.reconnectMs === 0
          ? `the server cannot be reached again: ${describeRefusal(error)}`
          : `the server did not come back within ${patience.reconnectMs} ms: ${describeRefusal(error)}`,
        error,
      ),
    );
  }

  #failQueue(failure: (request: Request) => BlockError): void {
    for (const request of this.#queue.splice(0)) if (!request.settled) request.fail(failure(request));
  }

  /** Takes a connection made after all were lost; throws what makes it useless for good. */
  #comeBack(connection: Connection): void {
    const problem = incompatibility(this.negotiated, connection.negotiated, this.#init.readOnly);
    if (problem !== undefined) {
      this.#raiseFence(
        `the server came back with another export: ${problem}; close it and open it again`,
        undefined,
      );
      this.#failQueue((request) =>
        requestFailure(
          "EIO",
          this.#init.label,
          request,
          `the server came back with another export: ${problem}`,
        ),
      );
      connection.abandon(new Error(problem));
      return;
    }
    // One more that was being made meanwhile can have come first.
    if (!this.#mayShare(connection)) {
      connection.abandon(new Error("not needed"));
      return;
    }
    this.#init.report(`${this.#init.label}: connected again`);
    this.#connections.push(connection);
    this.#sendQueued();
  }

  /** Takes one more connection beside others; false when it is of no use. */
  #join(connection: Connection): boolean {
    const problem = incompatibility(this.negotiated, connection.negotiated, this.#init.readOnly);
    const isWanted = this.#closing === undefined && this.#fence === undefined;
    if (problem !== undefined || !isWanted || !this.#mayShare(connection)) {
      connection.abandon(new Error(problem ?? "not needed"));
      return false;
    }
    const isProven = this.#connections.length === 0 || this.#atStake === 0;
    (isProven ? this.#connections : this.#unproven).push(connection);
    this.#sendQueued();
    return true;
  }

  #raiseFence(reason: string, cause: unknown): void {
    const { label } = this.#init;
    this.#fence ??= new BlockError("BLK_FENCED", `${label} refuses requests: ${reason}`, {
      node: label,
      ...(cause !== undefined && { cause }),
    });
  }

  /** Ends a request whose caller gave up, if nothing has come of it. */
  #abort(request: Request): void {
    const isQueued = this.#queue.includes(request);
    if (isQueued && request.attempts === 0) request.fail(cancellation(this.#init.label, request));
    else if (!request.changes && !this.#connections.some((each) => each.isReceiving(request))) {
      // The answer, when it comes, is read past the buffers.
      request.fail(cancellation(this.#init.label, request));
    }
  }

  async #end(): Promise<void> {
    let failure: unknown;
    await this.#finishRequests();
    if (this.#fence === undefined && this.#unflushed.count > 0 && canFlush(this.negotiated)) {
      const flush = new Request(FLUSH);
      await this.#start(flush, undefined).catch((error: unknown) => (failure = error));
    }
    failure = this.#fence ?? failure;
    this.#reconnection.stop();
    this.#watchdog.stop();
    this.#dialer.abort(new Error("the device is closed"));
    const all = [...this.#connections, ...this.#unproven];
    await Promise.all(all.map((connection) => connection.close(this.#init.timers, GOODBYE_MS)));
    if (failure !== undefined) throw failure;
  }

  async #finishRequests(): Promise<void> {
    while (this.#unsettled > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    }
  }
}
