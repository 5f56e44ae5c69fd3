import {
  BYTE_ALIGNMENT,
  READ_ONLY_CAPABILITIES,
  type BlockChild,
  type BlockDevice,
  type DeviceInfo,
} from "../../contract/device.ts";
import type { OpenContext } from "../../contract/driver.ts";
import { listBitmaps } from "./bitmaps/list-bitmaps.ts";
import { describeImage } from "./describe-image.ts";
import { geometryOf } from "./format/header.ts";
import { openImage } from "./open-image.ts";
import { Qcow2Device } from "./qcow2-device.ts";
import type { Qcow2Options } from "./qcow2-options.ts";
import { readImageHead } from "./read-header.ts";
import { listSnapshotsIfReadable } from "./snapshot-listing.ts";

/** What the driver's `open` does. */
export async function openDevice(options: Qcow2Options, context: OpenContext): Promise<BlockDevice> {
  return new Qcow2Device(await openImage(options, context), context.readOnly);
}

/**
 * Reads the header and the list of snapshots, and opens nothing that the image names. A list that makes no sense is told,
 * not refused: what can be said of the image is what its owner needs then.
 */
export async function inspectImage(file: BlockChild): Promise<DeviceInfo> {
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
