import type { BlockChild } from "../../../contract/device.ts";
import { BlockError } from "../../../errors.ts";
import { Incompatible } from "../format/constants.ts";
import { parseExtensions, type Extension } from "../format/extensions.ts";
import { assertSupportedFeatures } from "../format/feature-names.ts";
import type { Geometry } from "../format/geometry.ts";
import { checkHeader } from "../format/check-header.ts";
import { geometryOf, hasFeature, parseHeader, type Header } from "../format/header.ts";
import { readHost } from "../metadata/host-read.ts";

/** An image as a check sees it: its header, and nothing that the header names. */
export interface CheckedImage {
  readonly file: BlockChild;
  readonly label: string;
  readonly header: Header;
  readonly geometry: Geometry;
  readonly extensions: readonly Extension[];
  /** Guest data is in another file: its clusters are not counted here. */
  readonly hasDataFile: boolean;
}

/** Longest header cluster. */
const MAX_CLUSTER = 2 * 1024 * 1024;

/**
 * Reads the header of an image for a check. Whatever can be checked and repaired is let pass.
 * @throws BlockError when there is too little sense in it for that; see {@link parseHeader} and {@link checkHeader}.
 */
export async function openForCheck(file: BlockChild, writable: boolean): Promise<CheckedImage> {
  const { label } = file.info;
  const head = new Uint8Array(Math.min(512, file.info.size));
  await file.read(0, [head]);
  const cluster = new Uint8Array(Math.min(MAX_CLUSTER, 2 ** parseHeader(head.slice(), label).clusterBits));
  await readHost(file, 0, [cluster]);
  const header = parseHeader(cluster, label);
  const end = header.backingNameOffset === 0 ? cluster.length : header.backingNameOffset;
  const extensions = parseExtensions(cluster, header.headerLength, Math.min(end, cluster.length), label);
  assertSupportedFeatures(header, extensions, label);
  checkHeader(header, label, { writable, repair: true });
  if (header.l1Entries > 0 && header.l1Offset >= file.info.size) {
    throw new BlockError("BLK_CORRUPT", `${label}: the L1 table lies outside the file`, {
      node: label,
      operation: "check",
    });
  }
  return {
    file,
    label,
    header,
    geometry: geometryOf(header),
    extensions,
    hasDataFile: hasFeature(header.incompatible, Incompatible.DataFile),
  };
}

/** Clusters that the file has, the last one perhaps in part. */
export function fileClusters({ file, geometry }: CheckedImage): number {
  return geometry.clustersFor(file.info.size);
}
