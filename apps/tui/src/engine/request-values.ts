import { isWellFormedJobId } from "@blockmirror/blockjob";
import { MAX_GRANULARITY, MIN_GRANULARITY } from "@blockmirror/mirror";

/** The largest buffer that a mirror takes, in bytes. */
const MAX_BUFFER_SIZE = 2 ** 30;

/** Why a granularity cannot be used; undefined when it can. Bytes; 0 = automatic. */
export function granularityProblem(bytes: number): string | undefined {
  if (bytes === 0) return undefined;
  const isPower = Number.isInteger(Math.log2(bytes));
  return isPower && bytes >= MIN_GRANULARITY && bytes <= MAX_GRANULARITY
    ? undefined
    : "granularity must be a power of two from 512 to 64M, or 0 for automatic";
}

/** Why a buffer size cannot be used; undefined when it can. Bytes; 0 = default. */
export function bufferSizeProblem(bytes: number): string | undefined {
  return bytes <= MAX_BUFFER_SIZE ? undefined : "buffer size must be at most 1G, or 0 for 16M";
}

/** Why a job cannot be called so; undefined when it can. */
export function jobIdProblem(id: string): string | undefined {
  return isWellFormedJobId(id)
    ? undefined
    : "a job id must be a letter, then letters, digits, '-', '.' or '_'";
}
