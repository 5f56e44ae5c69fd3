import { DRIVER_CONTRACT_VERSION, type BlockDriver } from "../../contract/driver.ts";
import { qcow2CreateOptions, type Qcow2CreateOptions } from "./create/create-options.ts";
import { QCOW2_MAGIC } from "./format/constants.ts";
import { viewOf } from "./format/u64.ts";
import { qcow2Options, type Qcow2Options } from "./qcow2-options.ts";

/**
 * The `qcow2` format, versions 2 and 3: allocation on demand, backing files, compressed clusters (read), subclusters,
 * external data files, and an order of writes that survives a crash at any moment.
 *
 * Limitations: encrypted images are described, not opened. Internal snapshots are listed and preserved, not taken.
 */
export const qcow2Driver: BlockDriver<Qcow2Options, Qcow2CreateOptions> = {
  name: "qcow2",
  kind: "format",
  contractVersion: DRIVER_CONTRACT_VERSION,
  options: qcow2Options,
  createOptions: qcow2CreateOptions,
  // The format is most of this package. It is loaded by the first image, so that a program which only might meet one starts
  // in half the time; making images is apart from it, since few who open one make one.
  async open(options, context) {
    const { openDevice } = await import("./qcow2-format.ts");
    return openDevice(options, context);
  },
  async create(options, context) {
    const { createQcow2 } = await import("./create/create-image.ts");
    return createQcow2(options, context);
  },
  async inspect(file) {
    const { inspectImage } = await import("./qcow2-format.ts");
    return inspectImage(file);
  },
  probe: (head) => (head.length >= 4 && viewOf(head).getUint32(0) === QCOW2_MAGIC ? 100 : 0),
};
