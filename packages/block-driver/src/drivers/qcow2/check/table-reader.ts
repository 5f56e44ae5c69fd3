import type { BlockChild } from "../../../contract/device.ts";
import { BlockError } from "../../../errors.ts";
import { readHost } from "../metadata/host-read.ts";

/** Tables read ahead of the one being looked at. */
const LOOKAHEAD = 8;

/** A table, or why it could not be read. */
export type ReadTable =
  | { readonly index: number; readonly bytes: Uint8Array; readonly error?: undefined }
  | { readonly index: number; readonly bytes?: undefined; readonly error: BlockError };

/**
 * Reads tables of equal size one after the other, a few ahead. A table's bytes are valid until the next one is asked for.
 * @throws BlockError `ECANCELED` when the signal is aborted; what cannot be read is handed out as such.
 */
export async function* readTables(
  file: BlockChild,
  offsets: ArrayLike<number>,
  tableBytes: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<ReadTable> {
  const depth = Math.min(LOOKAHEAD, offsets.length);
  const buffers = Array.from({ length: depth }, () => new Uint8Array(tableBytes));
  const running: Promise<ReadTable>[] = [];
  const start = (index: number): void => {
    const bytes = buffers[index % depth];
    const offset = offsets[index];
    if (bytes !== undefined && offset !== undefined) running.push(readTable(file, index, offset, bytes));
  };
  for (let index = 0; index < depth; index += 1) start(index);
  try {
    for (let index = 0; index < offsets.length; index += 1) {
      assertNotAborted(signal);
      const table = await running.shift();
      if (table === undefined) return;
      yield table;
      start(index + depth);
    }
  } finally {
    await Promise.all(running);
  }
}

async function readTable(
  file: BlockChild,
  index: number,
  offset: number,
  bytes: Uint8Array,
): Promise<ReadTable> {
  try {
    await readHost(file, offset, [bytes]);
    return { index, bytes };
  } catch (error) {
    if (error instanceof BlockError) return { index, error };
    throw error;
  }
}

/** @throws BlockError `ECANCELED` when the check was cancelled. */
export function assertNotAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) {
    throw new BlockError("ECANCELED", "the check was cancelled", { operation: "check" });
  }
}
