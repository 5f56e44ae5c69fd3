import { ProtocolError } from "./protocol-error.ts";
import type { ByteSink } from "./wire.ts";

/** The longest piece of a handshake that is read at once, in bytes. */
const MAX_HANDSHAKE_READ = 64 * 1024;

/** Bytes that may wait unread; whoever sends more before it is asked is no server. */
const MAX_UNREAD = 4096;

/** Reads a handshake step by step: exact lengths, one read at a time. */
export class HandshakeReader implements ByteSink {
  readonly #buffer = Buffer.allocUnsafeSlow(MAX_HANDSHAKE_READ + MAX_UNREAD);
  #start = 0;
  #end = 0;
  #wanted = 0;
  /** Where the last target began. */
  #targetAt = 0;
  #resolve: ((bytes: Buffer) => void) | undefined;
  #reject: ((error: Error) => void) | undefined;
  #failure: Error | undefined;

  /** The next `length` bytes, at most 64 KiB; valid until the next read. */
  read(length: number): Promise<Buffer> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#start > 0) this.#compact();
    return new Promise((resolve, reject) => {
      this.#wanted = length;
      this.#resolve = resolve;
      this.#reject = reject;
      this.#deliver();
    });
  }

  /** Bytes that came and were not asked for. */
  get unread(): number {
    return this.#end - this.#start;
  }

  /** Fails the read that waits and all later ones. */
  fail(error: Error): void {
    this.#failure ??= error;
    const reject = this.#reject;
    this.#resolve = undefined;
    this.#reject = undefined;
    reject?.(this.#failure);
  }

  target(): Uint8Array {
    const free = MAX_HANDSHAKE_READ - this.#end;
    if (free < MAX_UNREAD) this.#compact();
    this.#targetAt = this.#end;
    return this.#buffer.subarray(this.#end, Math.min(this.#end + MAX_UNREAD, this.#buffer.byteLength));
  }

  received(count: number): void {
    // What was unread may have been moved since the target was given out.
    if (this.#targetAt !== this.#end) {
      this.#buffer.copyWithin(this.#end, this.#targetAt, this.#targetAt + count);
    }
    this.#end += count;
    if (this.#resolve === undefined && this.unread > MAX_UNREAD) {
      throw new ProtocolError("the server sent data before it was asked");
    }
    this.#deliver();
  }

  #compact(): void {
    this.#buffer.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
  }

  #deliver(): void {
    if (this.#resolve === undefined || this.unread < this.#wanted) return;
    const bytes = this.#buffer.subarray(this.#start, this.#start + this.#wanted);
    this.#start += this.#wanted;
    const resolve = this.#resolve;
    this.#resolve = undefined;
    this.#reject = undefined;
    resolve(bytes);
  }
}
