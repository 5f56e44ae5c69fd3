import type { BlockDevice } from "../contract/device.ts";
import { BlockError } from "../errors.ts";

/** @throws BlockError `ENOTSUP` or `EINVAL` when the device of the node of that name cannot have that size. */
export function mustBeResizable(name: string, device: BlockDevice, size: number): void {
  const { info } = device;
  const context = { node: name, operation: "resize" };
  if (device.resize === undefined || info.can.resize === "no") {
    throw new BlockError("ENOTSUP", `driver '${info.driver}' of node '${name}' cannot resize`, context);
  }
  if (info.can.resize === "grow" && size < info.size) {
    throw new BlockError(
      "ENOTSUP",
      `driver '${info.driver}' of node '${name}' cannot shrink from ${info.size} to ${size} bytes`,
      context,
    );
  }
  const unit = Math.max(info.align.read, info.align.write);
  if (size % unit !== 0) {
    throw new BlockError(
      "EINVAL",
      `node '${name}' cannot have ${size} bytes: not a multiple of its block size ${unit}`,
      context,
    );
  }
}
