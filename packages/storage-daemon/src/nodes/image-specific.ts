import type { BlockNode, DeviceInfo, Qcow2Details } from "@blockmirror/block-driver";
import type { BlockType } from "@blockmirror/qmp";

type ImageInfo = BlockType<"ImageInfo">;

const NS_PER_SECOND = 1_000_000_000;

/** What is known of a qcow2 image beyond what every image has; undefined for others. */
export function qcow2Details(info: DeviceInfo): Qcow2Details | undefined {
  const { driver, details } = info;
  return driver === "qcow2" && details !== undefined && isQcow2Details(details) ? details : undefined;
}

function isQcow2Details(details: Readonly<Record<string, unknown>>): details is Qcow2Details {
  return typeof details["clusterSize"] === "number" && Array.isArray(details["snapshots"]);
}

/** The internal snapshots as queries show them, if there are any. */
export function imageSnapshots(info: DeviceInfo): Pick<ImageInfo, "snapshots"> {
  const snapshots = qcow2Details(info)?.snapshots ?? [];
  if (snapshots.length === 0) return {};
  return {
    snapshots: snapshots.map((snapshot) => ({
      id: snapshot.id,
      name: snapshot.name,
      "vm-state-size": snapshot.vmStateSize,
      "date-sec": snapshot.dateSeconds,
      "date-nsec": snapshot.dateNanoseconds,
      "vm-clock-sec": Math.floor(snapshot.vmClockNanoseconds / NS_PER_SECOND),
      "vm-clock-nsec": snapshot.vmClockNanoseconds % NS_PER_SECOND,
      ...(snapshot.instructionCount === undefined ? {} : { icount: snapshot.instructionCount }),
    })),
  };
}

/** What only images of one format have, as queries show it. */
export function imageSpecific(node: BlockNode): Pick<ImageInfo, "format-specific"> {
  const details = qcow2Details(node.info);
  if (details === undefined) return {};
  const bitmaps = node.device.bitmaps?.list() ?? [];
  const isVersion3 = details.version === 3;
  return {
    "format-specific": {
      type: "qcow2",
      data: {
        compat: isVersion3 ? "1.1" : "0.10",
        "compression-type": details.compressionType,
        "refcount-bits": details.refcountBits,
        ...(isVersion3
          ? {
              "lazy-refcounts": details.lazyRefcounts,
              corrupt: details.corrupt,
              "extended-l2": details.extendedL2,
            }
          : {}),
        ...(details.dataFile === undefined
          ? {}
          : { "data-file": details.dataFile, "data-file-raw": details.dataFileRaw }),
        ...(bitmaps.length === 0 ? {} : { bitmaps: bitmaps.map((bitmap) => describeStored(bitmap)) }),
      },
    },
  };
}

function describeStored(bitmap: {
  readonly name: string;
  readonly granularity: number;
  readonly recording: boolean;
  readonly inconsistent: boolean;
}): BlockType<"Qcow2BitmapInfo"> {
  const flags: BlockType<"Qcow2BitmapInfoFlags">[] = [];
  if (bitmap.inconsistent) flags.push("in-use");
  if (bitmap.recording) flags.push("auto");
  return { name: bitmap.name, granularity: bitmap.granularity, flags };
}
