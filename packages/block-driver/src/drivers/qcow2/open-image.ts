import type { BlockChild } from "../../contract/device.ts";
import type { OpenContext } from "../../contract/driver.ts";
import { BlockError } from "../../errors.ts";
import { PersistentBitmaps } from "./bitmaps/persistent-bitmaps.ts";
import { canDecode, NO_ZSTD } from "./compression/choose-decoder.ts";
import { Autoclear, Incompatible } from "./format/constants.ts";
import { geometryOf, hasFeature, type Header } from "./format/header.ts";
import type { Geometry } from "./format/geometry.ts";
import type { Image } from "./image.ts";
import { implicitReference } from "./implicit-names.ts";
import { L1Table } from "./metadata/l1-table.ts";
import { L2Cache } from "./metadata/l2-cache.ts";
import { readHost } from "./metadata/host-read.ts";
import type { Qcow2Options } from "./qcow2-options.ts";
import { readImageHead, type ImageHead } from "./read-header.ts";
import { listSnapshotsIfReadable, type SnapshotListing } from "./snapshot-listing.ts";

/** Memory for L2 tables unless the options say otherwise; covers 512 GiB of disk in 64 KiB clusters. */
const DEFAULT_CACHE_BYTES = 64 * 1024 * 1024;
/** A slice when the cache covers the image: large, to be read in one go. */
const COVERING_SLICE_BYTES = 64 * 1024;
/** A slice when it does not: smaller, so that random requests do not throw out much for little. */
const PARTIAL_SLICE_BYTES = 16 * 1024;

/** An image that was opened, with what only its description needs. */
export interface OpenedImage {
  readonly image: Image;
  readonly head: ImageHead;
  readonly snapshots: SnapshotListing;
  readonly bitmaps: PersistentBitmaps;
}

/**
 * Opens an image: checks everything before it is used, changes nothing, and opens what the image names only through the
 * gate. The one exception is an image that was not closed properly and is to be written: its refcounts are repaired first.
 */
export async function openImage(options: Qcow2Options, context: OpenContext): Promise<OpenedImage> {
  const { nodeName: label, readOnly } = context;
  const file = await context.openChild(options.file, "file");
  if (!readOnly) refuseReadOnly(file, "file", label);
  let head = await readImageHead(file, label, { writable: !readOnly, repair: false });
  refuseEncryption(head.header, label);
  checkPlaces(head.header, file, label, !readOnly);
  if (!readOnly && hasFeature(head.header.incompatible, Incompatible.Dirty)) {
    // Seldom needed, and as large as half of the rest.
    const { recoverDirtyImage } = await import("./check/check-image.ts");
    await recoverDirtyImage(file, context.signal);
    head = await readImageHead(file, label, { writable: true, repair: false });
  }
  const { header } = head;
  const geometry = geometryOf(header);
  const l1 = await readL1(file, header);
  const snapshots = await readSnapshotsFor(file, header, context);
  const data = await openData(options, context, head, file);
  const backing = await openBacking(options, context, head);
  const cache = cacheSizes(geometry, l1, options.cacheSize);
  const image: Image = {
    label,
    file,
    data: data ?? file,
    hasDataFile: data !== undefined,
    backing,
    geometry,
    header,
    extensions: head.extensions,
    backingName: head.backingName,
    backingFormat: head.backingFormat,
    l1,
    l2: new L2Cache({ file, geometry, l1, ...cache, corrupt: (what, offset) => image.corrupt(what, offset) }),
    // A partial last sector cannot be addressed by any guest; QEMU leaves it out, too.
    virtualSize: header.size - (header.size % 512),
    report: (event) => context.report(event),
    beginWork: () => context.beginWork(),
    corrupt: reportOnce(context),
  };
  warnOfLimits(image);
  return { image, head, snapshots, bitmaps: await PersistentBitmaps.read(image, readOnly) };
}

/** While nobody writes, a contradiction fails the request that meets it, and is reported the first time. */
function reportOnce(context: OpenContext): Image["corrupt"] {
  const { nodeName: label } = context;
  let isReported = false;
  return (what, offset) => {
    const message = `${label}: ${what}; check the image`;
    if (!isReported) context.report({ type: "corruption", message, offset });
    isReported = true;
    return new BlockError("BLK_CORRUPT", message, { node: label, operation: "read", offset });
  };
}

/** What can be opened and is not quite what the image says. */
function warnOfLimits({ label, header, virtualSize, report }: Image): void {
  if (header.size !== virtualSize) {
    const message = `${label}: the last ${header.size - virtualSize} bytes are no whole sector and are left out`;
    report({ type: "warning", message });
  }
  if (!canDecode(header.compressionType)) {
    const message = `${label}: ${NO_ZSTD}; compressed clusters cannot be read`;
    report({ type: "warning", message });
  }
}

function refuseEncryption({ encryption }: Header, label: string): void {
  if (encryption === 0) return;
  throw new BlockError(
    "ENOTSUP",
    `${label}: encrypted qcow2 images are not supported; decrypt it with qemu-img convert first`,
    { node: label, operation: "open" },
  );
}

/** Tables must begin inside the file (their end need not be there), and must not lie on top of each other. */
function checkPlaces(header: Header, file: BlockChild, label: string, writable: boolean): void {
  const clusterSize = 2 ** header.clusterBits;
  const tables = [
    { what: "L1 table", start: header.l1Offset, bytes: header.l1Entries * 8 },
    { what: "snapshot table", start: header.snapshotsOffset, bytes: header.snapshotCount * 40 },
    ...(writable
      ? [
          {
            what: "refcount table",
            start: header.refcountTableOffset,
            bytes: header.refcountTableClusters * clusterSize,
          },
        ]
      : []),
  ].filter(({ bytes }) => bytes > 0);
  for (const [index, table] of tables.entries()) {
    if (table.start >= file.info.size) {
      throw new BlockError("BLK_CORRUPT", `${label}: the ${table.what} lies outside the file`, {
        node: label,
        operation: "open",
      });
    }
    for (const other of tables.slice(index + 1)) {
      if (table.start >= other.start + other.bytes || other.start >= table.start + table.bytes) continue;
      throw new BlockError("BLK_CORRUPT", `${label}: the ${table.what} overlaps the ${other.what}`, {
        node: label,
        operation: "open",
      });
    }
  }
}

async function readL1(file: BlockChild, header: Header): Promise<L1Table> {
  const bytes = new Uint8Array(header.l1Entries * 8);
  if (bytes.length > 0) await readHost(file, header.l1Offset, [bytes]);
  return new L1Table(bytes);
}

/** Reading the disk does not need the list of snapshots; changing it while there are some that cannot be read would. */
async function readSnapshotsFor(
  file: BlockChild,
  header: Header,
  context: OpenContext,
): Promise<SnapshotListing> {
  const listing = await listSnapshotsIfReadable(file, header, context.nodeName);
  const { unreadable } = listing;
  if (unreadable === undefined) return listing;
  if (!context.readOnly || unreadable.code !== "BLK_CORRUPT") throw unreadable;
  context.report({ type: "warning", message: `${unreadable.message}; its snapshots are not listed` });
  return listing;
}

async function openData(
  options: Qcow2Options,
  context: OpenContext,
  { header, dataFileName }: ImageHead,
  file: BlockChild,
): Promise<BlockChild | undefined> {
  const { nodeName: label } = context;
  const needed = hasFeature(header.incompatible, Incompatible.DataFile);
  const given = options.dataFile;
  if (!needed) {
    if (given === undefined) return undefined;
    throw new BlockError("EINVAL", `${label}: a data file is given, but the image keeps its data itself`, {
      node: label,
      operation: "open",
    });
  }
  if (given === undefined && dataFileName === undefined) {
    throw new BlockError(
      "EINVAL",
      `${label}: the image needs its data file and names none; give it as dataFile`,
      {
        node: label,
        operation: "open",
      },
    );
  }
  const data =
    given !== undefined
      ? await context.openChild(given, "data")
      : await context.openImplicit(implicitReference(dataFileName ?? "", undefined, label), "data");
  if (!context.readOnly) refuseReadOnly(data, "data file", label);
  if (data.info.identity !== undefined && data.info.identity === file.info.identity) {
    throw new BlockError("BLK_CORRUPT", `${label}: the image names itself as its data file`, {
      node: label,
      operation: "open",
    });
  }
  return data;
}

/** Whatever is written later would fail there, and with words about something else. */
function refuseReadOnly({ info }: BlockChild, what: string, label: string): void {
  if (!info.readOnly) return;
  throw new BlockError(
    "EROFS",
    `${label} cannot be opened for writing: its ${what} is open read-only; open both for reading only, or both for writing`,
    { node: label, operation: "open" },
  );
}

async function openBacking(
  { backing }: Qcow2Options,
  context: OpenContext,
  { header, backingName, backingFormat }: ImageHead,
): Promise<BlockChild | undefined> {
  if (backing === null) return undefined;
  if (backing !== undefined) {
    if (hasFeature(header.autoclear, Autoclear.RawDataFile)) {
      throw new BlockError(
        "EINVAL",
        `${context.nodeName}: an image with a raw data file has no backing file`,
        {
          node: context.nodeName,
          operation: "open",
        },
      );
    }
    return context.openChild(backing, "backing");
  }
  if (backingName === undefined) return undefined;
  return context.openImplicit(implicitReference(backingName, backingFormat, context.nodeName), "backing");
}

function cacheSizes(
  geometry: Geometry,
  l1: L1Table,
  wanted: number | undefined,
): { readonly sliceBytes: number; readonly budgetBytes: number } {
  const covering = l1.entries * geometry.clusterSize;
  const budgetBytes = Math.min(covering, wanted ?? DEFAULT_CACHE_BYTES);
  const slice = budgetBytes < covering ? PARTIAL_SLICE_BYTES : COVERING_SLICE_BYTES;
  return { sliceBytes: Math.min(geometry.clusterSize, slice), budgetBytes };
}
