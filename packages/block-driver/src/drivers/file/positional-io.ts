import fs from "node:fs";
import { iovLength, iovSlice, type IoVec } from "../../contract/io.ts";
import { systemErrorCode } from "./system-error.ts";

/** How a system call ends: with an error, or with the bytes it moved. */
export type TransferCallback = (error: NodeJS.ErrnoException | null, bytes: number) => void;
/** How a system call without a result ends. */
export type DoneCallback = (error: NodeJS.ErrnoException | null) => void;

/**
 * The system calls that every request comes down to, in the shape of Node's callback functions. A program that wants to
 * count, delay or fail them (a test of its error handling) gives its own to `createFileDriver`.
 */
export interface FileCalls {
  read(
    fd: number,
    into: Uint8Array,
    at: number,
    length: number,
    position: number,
    done: TransferCallback,
  ): void;
  readv(fd: number, into: IoVec, position: number, done: TransferCallback): void;
  write(
    fd: number,
    from: Uint8Array,
    at: number,
    length: number,
    position: number,
    done: TransferCallback,
  ): void;
  writev(fd: number, from: IoVec, position: number, done: TransferCallback): void;
  fdatasync(fd: number, done: DoneCallback): void;
  ftruncate(fd: number, size: number, done: DoneCallback): void;
}

/** Node's own. */
export const NODE_CALLS: FileCalls = {
  read: (fd, into, at, length, position, done) => fs.read(fd, into, at, length, position, done),
  readv: (fd, into, position, done) => fs.readv(fd, into, position, done),
  write: (fd, from, at, length, position, done) => fs.write(fd, from, at, length, position, done),
  writev: (fd, from, position, done) => fs.writev(fd, from, position, done),
  fdatasync: (fd, done) => fs.fdatasync(fd, done),
  ftruncate: (fd, size, done) => fs.ftruncate(fd, size, done),
};

/** A read found the end of the file before the end of the request. */
export class EndOfFileError extends Error {
  /** Where the file has no more bytes. */
  readonly position: number;

  constructor(position: number) {
    super(`the file ends at byte ${position} or before`);
    this.position = position;
  }
}

/** Ends a whole transfer: with what went wrong, or with undefined. */
export type Settle = (error: unknown) => void;

/**
 * Fills the whole vector from `position` on. The host may move fewer bytes than asked or be interrupted: then the rest
 * is asked for again. No bytes at all means that the file ends there: an {@link EndOfFileError}.
 */
export function readFully(calls: FileCalls, fd: number, position: number, into: IoVec, settle: Settle): void {
  const length = iovLength(into);
  const step = (done: number, left: IoVec): void => {
    const finish: TransferCallback = (error, bytes) => {
      if (error !== null) {
        if (systemErrorCode(error) === "EINTR") step(done, left);
        else settle(error);
        return;
      }
      const sum = done + bytes;
      if (sum === length) settle(undefined);
      else if (bytes === 0) settle(new EndOfFileError(position + done));
      else step(sum, iovSlice(into, sum, length - sum));
    };
    const [first] = left;
    if (left.length === 1 && first !== undefined) {
      calls.read(fd, first, 0, first.byteLength, position + done, finish);
    } else {
      calls.readv(fd, left, position + done, finish);
    }
  };
  step(0, into);
}

/** Writes the whole vector at `position`, however few bytes the host takes at a time. */
export function writeFully(
  calls: FileCalls,
  fd: number,
  position: number,
  from: IoVec,
  settle: Settle,
): void {
  const length = iovLength(from);
  const step = (done: number, left: IoVec): void => {
    const finish: TransferCallback = (error, bytes) => {
      if (error !== null) {
        if (systemErrorCode(error) === "EINTR") step(done, left);
        else settle(error);
        return;
      }
      const sum = done + bytes;
      if (sum === length) settle(undefined);
      else if (bytes === 0) settle(new Error(`the host accepted no bytes at offset ${position + done}`));
      else step(sum, iovSlice(from, sum, length - sum));
    };
    const [first] = left;
    if (left.length === 1 && first !== undefined) {
      calls.write(fd, first, 0, first.byteLength, position + done, finish);
    } else {
      calls.writev(fd, left, position + done, finish);
    }
  };
  step(0, from);
}

/** One call without a result as a promise; repeated while it is interrupted. */
export function settled(call: (done: DoneCallback) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const attempt = (): void => {
      call((error) => {
        if (error === null) resolve();
        else if (systemErrorCode(error) === "EINTR") attempt();
        else reject(error);
      });
    };
    attempt();
  });
}
