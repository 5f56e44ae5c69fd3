import path from "node:path";
import type { BlockEdge, DeviceInfo, Qcow2Details } from "@blockmirror/block-driver";
import type { ImageFormat } from "./image-format.ts";

/** Facts of an image, named as `qemu-img info --output=json` names them. */
export interface ImageFacts {
  readonly filename: string;
  readonly format: ImageFormat;
  readonly "virtual-size": number;
  readonly "actual-size"?: number;
  readonly "cluster-size"?: number;
  readonly "dirty-flag": boolean;
  readonly encrypted?: boolean;
  readonly "backing-filename"?: string;
  readonly "full-backing-filename"?: string;
  readonly "backing-filename-format"?: string;
  readonly snapshots?: readonly Readonly<Record<string, unknown>>[];
  /** Why there are snapshots that cannot be listed; QEMU has no name for that, it refuses such images. */
  readonly "snapshots-unreadable"?: string;
  readonly "format-specific"?: {
    readonly type: string;
    readonly data: Readonly<Record<string, unknown>>;
  };
}

/** Tells the facts of the image in `file`, without opening anything that it names. */
export async function imageFacts(
  file: BlockEdge,
  filename: string,
  format: ImageFormat,
  inspect: ((file: BlockEdge) => Promise<DeviceInfo>) | undefined,
): Promise<ImageFacts> {
  const { allocatedSize } = file.info;
  const info = inspect === undefined ? file.info : await inspect(file);
  const common = {
    filename,
    format,
    "virtual-size": info.size,
    ...(allocatedSize !== undefined && { "actual-size": allocatedSize }),
  };
  if (format === "raw") return { ...common, "dirty-flag": false, ...exportFacts(file.info) };
  const details = qcow2Details(info);
  return {
    ...common,
    "cluster-size": details.clusterSize,
    "dirty-flag": details.dirty,
    ...(details.encryption !== "none" && { encrypted: true }),
    ...backingFacts(info, filename),
    ...(details.snapshots.length > 0 && { snapshots: details.snapshots.map(snapshotFacts) }),
    ...(details.snapshotsUnreadable !== undefined && { "snapshots-unreadable": details.snapshotsUnreadable }),
    "format-specific": { type: "qcow2", data: qcow2Facts(details) },
  };
}

/** What was agreed with the server of an export. */
function exportFacts({ driver, details }: DeviceInfo): Pick<ImageFacts, "format-specific"> {
  if (driver !== "nbd" || details === undefined) return {};
  const data = Object.fromEntries(
    Object.entries(details).map(([name, value]) => [
      name.replaceAll(/[A-Z]/gu, (letter) => `-${letter.toLowerCase()}`),
      value,
    ]),
  );
  return { "format-specific": { type: "nbd", data } };
}

/** The facts that the qcow2 driver gives with its `inspect`. */
function qcow2Details({ details }: DeviceInfo): Qcow2Details {
  if (details !== undefined && isQcow2Details(details)) return details;
  throw new TypeError("the qcow2 driver describes its images");
}

function isQcow2Details(details: Readonly<Record<string, unknown>>): details is Qcow2Details {
  return typeof details["clusterSize"] === "number" && Array.isArray(details["snapshots"]);
}

function backingFacts({ namedBacking }: DeviceInfo, filename: string): Partial<ImageFacts> {
  if (namedBacking === undefined) return {};
  const { filename: name, format } = namedBacking;
  const isPath = !/^[^/]*:/.test(name);
  return {
    "backing-filename": name,
    ...(isPath && { "full-backing-filename": path.join(path.dirname(filename), name) }),
    ...(path.isAbsolute(name) && { "full-backing-filename": name }),
    ...(format !== undefined && { "backing-filename-format": format }),
  };
}

const NANOSECONDS = 1_000_000_000;

function snapshotFacts(snapshot: Qcow2Details["snapshots"][number]): Readonly<Record<string, unknown>> {
  const { instructionCount, vmClockNanoseconds } = snapshot;
  return {
    ...(instructionCount !== undefined && { icount: instructionCount }),
    "vm-clock-nsec": vmClockNanoseconds % NANOSECONDS,
    name: snapshot.name,
    "date-sec": snapshot.dateSeconds,
    "date-nsec": snapshot.dateNanoseconds,
    "vm-clock-sec": Math.floor(vmClockNanoseconds / NANOSECONDS),
    id: snapshot.id,
    "vm-state-size": snapshot.vmStateSize,
  };
}

function qcow2Facts(details: Qcow2Details): Readonly<Record<string, unknown>> {
  const { bitmaps, dataFile } = details;
  const common = {
    compat: details.version === 2 ? "0.10" : "1.1",
    "compression-type": details.compressionType,
    "refcount-bits": details.refcountBits,
  };
  if (details.version === 2) return common;
  return {
    ...common,
    "lazy-refcounts": details.lazyRefcounts,
    ...(bitmaps.length > 0 && {
      bitmaps: bitmaps.map(({ name, granularity, recording, inconsistent }) => ({
        flags: [...(inconsistent ? ["in-use"] : []), ...(recording ? ["auto"] : [])],
        name,
        granularity,
      })),
    }),
    ...(dataFile !== undefined && { "data-file": dataFile, "data-file-raw": details.dataFileRaw }),
    corrupt: details.corrupt,
    "extended-l2": details.extendedL2,
  };
}
