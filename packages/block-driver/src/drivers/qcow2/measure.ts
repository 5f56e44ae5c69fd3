import { refcountMetadata } from "./create/layout.ts";
import { planImage, type ImageShape } from "./create/plan-image.ts";

/** Bytes that a file needs for an image that is still to be made. */
export interface Qcow2Measurement {
  /** For the data there is now. */
  readonly required: number;
  /** Once every cluster is allocated. */
  readonly fullyAllocated: number;
}

/** A range of a disk that holds data; bytes. */
export interface DataRange {
  readonly offset: number;
  readonly length: number;
}

/** What an image to be measured will be like; everything left out has the default of its creation. */
export type Qcow2MeasureOptions = Partial<ImageShape> & Pick<ImageShape, "size">;

const DEFAULTS: Omit<ImageShape, "size"> = {
  version: "v3",
  clusterSize: 65536,
  refcountBits: 16,
  lazyRefcounts: false,
  extendedL2: false,
  compressionType: "zlib",
  preallocation: "off",
  backingFile: undefined,
  backingFormat: undefined,
  dataFileRaw: false,
};

/** What `measureQcow2` does. */
export async function measureImage(
  options: Qcow2MeasureOptions,
  data: AsyncIterable<DataRange> | Iterable<DataRange>,
): Promise<Qcow2Measurement> {
  const shape: ImageShape = { ...DEFAULTS, ...options };
  const { geometry } = planImage(shape, shape.dataFileRaw ? "data" : undefined);
  const { clusterSize } = geometry;
  const dataClusters = geometry.clustersFor(shape.size);
  const l2Tables = geometry.clustersFor(
    Math.ceil(dataClusters / geometry.l2Entries) * geometry.l2Entries * geometry.l2EntryBytes,
  );
  const content = 1 + dataClusters + l2Tables + geometry.clustersFor(l2Tables * 8);
  const { tableClusters, blocks } = refcountMetadata(geometry, content);
  const fullyAllocated = (content + tableClusters + blocks) * clusterSize;
  const reserved = shape.preallocation === "falloc" || shape.preallocation === "full";
  const touched = reserved ? dataClusters : await clustersTouched(data, clusterSize);
  return { required: fullyAllocated - (dataClusters - touched) * clusterSize, fullyAllocated };
}

async function clustersTouched(
  data: AsyncIterable<DataRange> | Iterable<DataRange>,
  clusterSize: number,
): Promise<number> {
  let clusters = 0;
  let counted = 0;
  for await (const { offset, length } of data) {
    if (length === 0) continue;
    const first = Math.max(counted, Math.floor(offset / clusterSize));
    const end = Math.ceil((offset + length) / clusterSize);
    clusters += Math.max(0, end - first);
    counted = Math.max(counted, end);
  }
  return clusters;
}
