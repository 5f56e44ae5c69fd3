import {
  BYTE_ALIGNMENT,
  READ_ONLY_CAPABILITIES,
  type BlockChild,
  type DeviceInfo,
} from "../../contract/device.ts";
import { DRIVER_CONTRACT_VERSION, type BlockDriver } from "../../contract/driver.ts";
import { createQcow2 } from "./create/create-image.ts";
import { qcow2CreateOptions, type Qcow2CreateOptions } from "./create/create-options.ts";
import { describeImage } from "./describe-image.ts";
import { listBitmaps } from "./bitmaps/list-bitmaps.ts";
import { geometryOf } from "./format/header.ts";
import { QCOW2_MAGIC } from "./format/constants.ts";
import { viewOf } from "./format/u64.ts";
import { openImage } from "./open-image.ts";
import { Qcow2Device } from "./qcow2-device.ts";
import { qcow2Options, type Qcow2Options } from "./qcow2-options.ts";
import { readImageHead } from "./read-header.ts";
import { listSnapshotsIfReadable } from "./snapshot-listing.ts";

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
  async open(options, context) {
    return new Qcow2Device(await openImage(options, context), context.readOnly);
  },
  create: createQcow2,
  inspect,
  probe: (head) => (head.length >= 4 && viewOf(head).getUint32(0) === QCOW2_MAGIC ? 100 : 0),
};

/**
 * Reads the header and the list of snapshots, and opens nothing that the image names. A list that makes no sense is told,
 * not refused: what can be said of the image is what its owner needs then.
 */
async function inspect(file: BlockChild): Promise<DeviceInfo> {
  const { label, filename, allocatedSize } = file.info;
  const head = await readImageHead(file, label, { writable: false, repair: false });
  const { header, backingName, backingFormat } = head;
  const snapshots = await listSnapshotsIfReadable(file, header, label);
  const geometry = geometryOf(header);
  const bitmaps = await listBitmaps({ file, label, header, extensions: head.extensions, geometry });
  const details = describeImage(header, head, snapshots, bitmaps);
  return {
    driver: "qcow2",
    label,
    size: header.size - (header.size % 512),
    readOnly: true,
    align: {
      ...BYTE_ALIGNMENT,
      allocation: details.extendedL2 ? details.clusterSize / 32 : details.clusterSize,
    },
    max: { transfer: Number.MAX_SAFE_INTEGER, iovecs: Number.MAX_SAFE_INTEGER },
    can: READ_ONLY_CAPABILITIES,
    ...(filename !== undefined && { filename }),
    ...(allocatedSize !== undefined && { allocatedSize }),
    ...(backingName !== undefined && {
      namedBacking: {
        filename: backingName,
        ...(backingFormat !== undefined && { format: backingFormat }),
      },
    }),
    details,
  };
}
