import type { BlockDevice, IoOptions } from "../contract/device.ts";
import { BlockError } from "../errors.ts";

/**
 * @throws BlockError `EINVAL` for a range beyond the end, `ECANCELED` for a request whose signal was aborted already;
 * RangeError for what is no range of bytes.
 */
export function mustFit(
  node: string,
  size: number,
  operation: string,
  offset: number,
  length: number,
  options: IoOptions | undefined,
): void {
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
    throw new RangeError(`${operation} on node '${node}': ${offset}+${length} is not a byte range`);
  }
  if (offset > size || length > size - offset) {
    throw new BlockError(
      "EINVAL",
      `${operation} on node '${node}' at offset ${offset} (${length} bytes) ends beyond its ${size} bytes`,
      { node, operation, offset, length },
    );
  }
  if (options?.signal?.aborted === true) {
    throw new BlockError("ECANCELED", `${operation} on node '${node}' was cancelled`, {
      node,
      operation,
      offset,
      length,
    });
  }
}

/** What a change of a read-only node meets. */
export function readOnlyRefusal(node: string, operation: string, offset: number, length: number): BlockError {
  return new BlockError("EROFS", `${operation} refused: node '${node}' is open read-only`, {
    node,
    operation,
    offset,
    length,
  });
}

/** @throws BlockError `ENOTSUP` when the device cannot have that size, `EINVAL` for one that its blocks do not fill. */
export function mustBeResizable(node: string, device: BlockDevice, size: number): void {
  const { info } = device;
  const context = { node, operation: "resize" };
  if (device.resize === undefined || info.can.resize === "no") {
    throw new BlockError("ENOTSUP", `driver '${info.driver}' of node '${node}' cannot resize`, context);
  }
  if (info.can.resize === "grow" && size < info.size) {
    throw new BlockError(
      "ENOTSUP",
      `driver '${info.driver}' of node '${node}' cannot shrink from ${info.size} to ${size} bytes`,
      context,
    );
  }
  const unit = Math.max(info.align.read, info.align.write);
  if (size % unit !== 0) {
    throw new BlockError(
      "EINVAL",
      `node '${node}' cannot have ${size} bytes: not a multiple of its block size ${unit}`,
      context,
    );
  }
}
