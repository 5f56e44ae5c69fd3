import type {
  BlockChild,
  IoOptions,
  ResizeOptions,
  StatusOptions,
  WriteOptions,
  ZeroOptions,
} from "../../contract/device.ts";
import type { ExtentList } from "../../contract/extents.ts";
import { iovLength, iovSlice, isPromise, type IoVec, type MaybePromise } from "../../contract/io.ts";
import { BlockError } from "../../errors.ts";
import { PassThroughDevice } from "../../io/pass-through.ts";
import type { FaultController } from "./fault-controller.ts";
import type { FaultOperation, FaultRequest, FaultRule } from "./rules.ts";

/** A pass-through device on which the rules of a {@link FaultController} strike. */
export class FaultDevice extends PassThroughDevice {
  readonly controller: FaultController;

  constructor(child: BlockChild, controller: FaultController) {
    super("fault", child);
    this.controller = controller;
  }

  override read(offset: number, into: IoVec, options?: IoOptions): MaybePromise<void> {
    const length = iovLength(into);
    return this.#pass(
      { operation: "read", offset, length },
      () => super.read(offset, into, options),
      (count) => super.read(offset, iovSlice(into, 0, count), options),
    );
  }

  override write(offset: number, from: IoVec, options?: WriteOptions): MaybePromise<void> {
    const length = iovLength(from);
    return this.#pass(
      { operation: "write", offset, length },
      () => super.write(offset, from, options),
      (count) => super.write(offset, iovSlice(from, 0, count), options),
    );
  }

  override writeZeroes(offset: number, length: number, options?: ZeroOptions): MaybePromise<void> {
    return this.#pass(
      { operation: "writeZeroes", offset, length },
      () => super.writeZeroes(offset, length, options),
      (count) => super.writeZeroes(offset, count, options),
    );
  }

  override discard(offset: number, length: number, options?: IoOptions): MaybePromise<void> {
    return this.#pass({ operation: "discard", offset, length }, () => super.discard(offset, length, options));
  }

  override flush(options?: IoOptions): MaybePromise<void> {
    return this.#pass({ operation: "flush", offset: 0, length: 0 }, () => super.flush(options));
  }

  override async resize(size: number, options?: ResizeOptions): Promise<void> {
    await this.#pass({ operation: "resize", offset: 0, length: size }, () => super.resize(size, options));
  }

  override status(
    offset: number,
    length: number,
    extents: ExtentList,
    options?: StatusOptions,
  ): MaybePromise<void> {
    return this.#pass({ operation: "status", offset, length }, () =>
      super.status(offset, length, extents, options),
    );
  }

  #pass(
    request: FaultRequest,
    run: () => MaybePromise<void>,
    runPart?: (count: number) => MaybePromise<void>,
  ): MaybePromise<void> {
    const rule = this.controller.judge(request);
    if (rule === undefined) return run();
    const waits = rule.delayMs !== undefined || rule.hold === true;
    return waits ? this.#passLater(rule, request, run, runPart) : strike(rule, request, run, runPart);
  }

  async #passLater(
    rule: FaultRule,
    request: FaultRequest,
    run: () => MaybePromise<void>,
    runPart?: (count: number) => MaybePromise<void>,
  ): Promise<void> {
    await this.controller.wait(rule, request);
    await strike(rule, request, run, runPart);
  }
}

function strike(
  rule: FaultRule,
  request: FaultRequest,
  run: () => MaybePromise<void>,
  runPart: ((count: number) => MaybePromise<void>) | undefined,
): MaybePromise<void> {
  if (rule.error === undefined) return run();
  const error = faultError(rule, request.operation, request);
  const part = Math.min(rule.transferred ?? 0, request.length);
  if (part === 0 || runPart === undefined) throw error;
  const transferred = runPart(part);
  if (!isPromise(transferred)) throw error;
  return transferred.then(() => {
    throw error;
  });
}

function faultError(rule: FaultRule, operation: FaultOperation, request: FaultRequest): BlockError {
  return new BlockError(
    rule.error ?? "EIO",
    `injected ${rule.error} on ${operation} at offset ${request.offset} (${request.length} bytes)`,
    { operation, offset: request.offset, length: request.length },
  );
}
