import { BlockError } from "../../errors.ts";
import { zeroVector } from "../../io/zero-page.ts";
import type { FileOps } from "./file-ops.ts";
import { settled, writeFully, type FileCalls } from "./positional-io.ts";
import { isUnsupported } from "./system-error.ts";

/** Bytes written or reserved at a time: large enough for speed, small enough to be interrupted. */
const STEP = 8 * 1024 * 1024;
/** Reserving costs metadata only, so its steps are larger. */
const RESERVE_STEP = 1024 * 1024 * 1024;

/**
 * Gives `[from, to)` of a file space that reads as zeroes. The range is a hole at the end of the file. Reserves where the
 * host can, and writes zeroes otherwise.
 * @throws BlockError `ECANCELED` when the signal is aborted between two steps; system errors such as `ENOSPC`.
 */
export async function allocateSpace(
  calls: FileCalls,
  ops: FileOps | undefined,
  fd: number,
  from: number,
  to: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (ops !== undefined) {
    try {
      for (let at = from; at < to; at += RESERVE_STEP) {
        assertNotAborted(signal);
        await ops.allocate(fd, at, Math.min(RESERVE_STEP, to - at));
      }
      return;
    } catch (error) {
      if (!isUnsupported(error)) throw error;
    }
  }
  await writeZeroSpace(calls, fd, from, to, signal);
}

/** Writes zeroes over `[from, to)`. */
export async function writeZeroSpace(
  calls: FileCalls,
  fd: number,
  from: number,
  to: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let at = from; at < to; at += STEP) {
    assertNotAborted(signal);
    const zeroes = zeroVector(Math.min(STEP, to - at));
    await new Promise<void>((resolve, reject) => {
      writeFully(calls, fd, at, zeroes, (error) => {
        if (error === undefined) resolve();
        else reject(error);
      });
    });
  }
}

/** Sets the size of a file; a part that is new is a hole. */
export function setSize(calls: FileCalls, fd: number, size: number): Promise<void> {
  return settled((done) => calls.ftruncate(fd, size, done));
}

function assertNotAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new BlockError("ECANCELED", "the allocation of space was cancelled");
}
