import type { BlockChild } from "../../../contract/device.ts";
import type { CreateContext } from "../../../contract/driver.ts";
import { BlockError } from "../../../errors.ts";
import { zeroVector } from "../../../io/zero-page.ts";
import { encodeHeaderCluster } from "../format/header-cluster.ts";
import type { Qcow2CreateOptions } from "./create-options.ts";
import { planImage, type ImagePlan } from "./plan-image.ts";
import {
  assertNotAborted,
  writeL1Table,
  writeL2Tables,
  writeRefcountBlocks,
  writeRefcountTable,
} from "./write-tables.ts";

/** Zeroes written at once: large enough for speed, small enough to be cancelled. */
const ZERO_STEP = 8 * 1024 * 1024;

/**
 * Makes a new image. Every option is checked before anything is touched, and the header is written last, behind a
 * flush: what a crash leaves behind is not a qcow2 image, never a wrong one.
 * @throws BlockError `EINVAL` for options that exclude each other, `ENOSPC`, `EFBIG`, or what the file below meets.
 */
export async function createQcow2(options: Qcow2CreateOptions, context: CreateContext): Promise<void> {
  const reference = options.dataFile ?? undefined;
  if (reference === undefined && options.dataFileName !== undefined) {
    throw new BlockError("EINVAL", "qcow2: a name is given for the data file, but no data file", {
      operation: "create",
    });
  }
  // The plan needs only the name; a stand-in as long as any lets conflicts show before a child is opened.
  const early = planImage(options, reference === undefined ? undefined : (options.dataFileName ?? "data"));
  encodeHeaderCluster(early.headerCluster, "qcow2");
  const data = reference === undefined ? undefined : await context.openChild(reference, "data");
  const file = await context.openChild(options.file, "file");
  if (data?.info.identity !== undefined && data.info.identity === file.info.identity) {
    throw new BlockError("EINVAL", `qcow2: ${file.info.label} cannot be the image and its data file`, {
      operation: "create",
    });
  }
  const plan = data === undefined ? early : planImage(options, nameOf(data, options.dataFileName));
  await writeImage(plan, options.preallocation, file, data, context.signal);
}

function nameOf(data: BlockChild, given: string | undefined): string {
  const name = given ?? data.info.filename;
  if (name !== undefined) return name;
  throw new BlockError(
    "EINVAL",
    `qcow2: the data file ${data.info.label} has no path; give the name to record`,
    { operation: "create" },
  );
}

async function writeImage(
  plan: ImagePlan,
  preallocation: Qcow2CreateOptions["preallocation"],
  file: BlockChild,
  data: BlockChild | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { layout, headerCluster, geometry } = plan;
  const { size } = headerCluster.header;
  const { bytes: header } = encodeHeaderCluster(headerCluster, file.info.label);
  const start = layout.dataClusters === 0 ? layout.fileLength : layout.dataOffset;
  await emptyImage(file, start, geometry.clusterSize, layout.fileLength);
  if (data !== undefined) {
    await emptyFile(data, size);
    await preallocate(data, 0, size, preallocation, signal);
    await data.flush();
  } else if (layout.dataClusters > 0) {
    await preallocate(file, layout.dataOffset, layout.fileLength, preallocation, signal);
  }
  await writeRefcountBlocks(file, geometry, layout, signal);
  await writeRefcountTable(file, geometry, layout);
  if (layout.l2Tables > 0) {
    await writeL2Tables(file, plan, signal);
    await writeL1Table(file, geometry, layout);
  }
  await file.flush();
  await file.write(0, [header]);
  await file.flush();
}

/**
 * Takes the old content away, header first, and gives the file `length` bytes of which the first `metadata` read as
 * zeroes. A device of fixed size keeps what lies beyond: nothing points there.
 */
async function emptyImage(file: BlockChild, metadata: number, head: number, length: number): Promise<void> {
  const { info } = file;
  if (info.can.resize === "both") {
    await file.resize(0);
    await file.resize(length);
    return;
  }
  if (info.size > 0) {
    await file.writeZeroes(0, Math.min(head, info.size));
    await file.flush();
  }
  if (info.size < length) await file.resize(length);
  await file.writeZeroes(0, metadata);
}

/** Gives a data file `size` bytes that read as zeroes. */
async function emptyFile(data: BlockChild, size: number): Promise<void> {
  if (data.info.can.resize === "both") {
    await data.resize(0);
    await data.resize(size);
    return;
  }
  if (data.info.size < size) await data.resize(size);
  await data.writeZeroes(0, size, { unmap: true });
}

/** Gives space to `[from, to)`, the end of a file, which reads as zeroes where it was new. */
async function preallocate(
  file: BlockChild,
  from: number,
  to: number,
  preallocation: Qcow2CreateOptions["preallocation"],
  signal: AbortSignal | undefined,
): Promise<void> {
  if (preallocation === "off") return;
  const fixed = file.info.can.resize !== "both";
  if (preallocation === "falloc" && !fixed) {
    await file.resize(from);
    await file.resize(to, { preallocation: "full", ...(signal !== undefined && { signal }) });
    return;
  }
  // On a device of fixed size the old content shows through entries that claim the space.
  if (preallocation !== "full" && !fixed) return;
  for (let at = from; at < to; at += ZERO_STEP) {
    assertNotAborted(signal);
    const length = Math.min(ZERO_STEP, to - at);
    await (preallocation === "full" ? file.write(at, zeroVector(length)) : file.writeZeroes(at, length));
  }
}
