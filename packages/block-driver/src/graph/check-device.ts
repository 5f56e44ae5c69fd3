import type { BlockDevice } from "../contract/device.ts";
import { BlockError } from "../errors.ts";
import type { BlockNode } from "./node.ts";

/**
 * Checks what a driver has opened before anybody uses it: its size, that its blocks divide it, and that no other node
 * holds the same storage unless both only read.
 * @throws BlockError `EFBIG`, `EINVAL` or `EBUSY`; TypeError when it announces what it does not have.
 */
export function checkDevice(node: BlockNode, nodes: Iterable<BlockNode>): void {
  const { info } = node;
  const { read, write } = info.align;
  if (!Number.isSafeInteger(info.size) || info.size < 0) {
    throw new BlockError(
      "EFBIG",
      `node '${node.name}' has ${info.size} bytes; at most 2^53-1 are supported`,
      {
        node: node.name,
        operation: "open",
      },
    );
  }
  if (info.size % read !== 0 || info.size % write !== 0) {
    throw new BlockError(
      "EINVAL",
      `node '${node.name}': its size of ${info.size} bytes is not a multiple of its block size ${Math.max(read, write)}`,
      { node: node.name, operation: "open" },
    );
  }
  const missing = missingMethods(node.device);
  if (missing.length > 0) {
    throw new TypeError(
      `driver '${info.driver}' of node '${node.name}' announces ${missing.join(", ")} without having the method`,
    );
  }
  refuseSharedStorage(node, nodes, info.readOnly);
}

/**
 * Refuses a node whose storage another node has, unless both only read.
 * @throws BlockError `EBUSY` naming the other node.
 */
export function refuseSharedStorage(node: BlockNode, nodes: Iterable<BlockNode>, readOnly: boolean): void {
  const { info } = node;
  if (info.identity === undefined) return;
  for (const other of nodes) {
    if (other === node || !other.isOpen || other.info.identity !== info.identity) continue;
    if (other.info.readOnly && readOnly) continue;
    throw new BlockError("EBUSY", `${info.label} is open already, as node '${other.name}'; use that node`, {
      node: node.name,
      operation: "open",
    });
  }
}

/** Capabilities without their method: a request would quietly do nothing. */
function missingMethods(device: BlockDevice): readonly string[] {
  const { can } = device.info;
  const announced: readonly (readonly [string, boolean, unknown])[] = [
    ["write", can.write, device.write],
    ["writeZeroes", can.writeZeroes !== "no", device.writeZeroes],
    ["discard", can.discard !== "no", device.discard],
    ["flush", can.flush, device.flush],
    ["resize", can.resize !== "no", device.resize],
    ["copyRange", can.copyRange, device.copyRange],
    ["lend", can.lend, device.lend],
  ];
  return announced.filter(([, is, method]) => is && method === undefined).map(([name]) => name);
}
