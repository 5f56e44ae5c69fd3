/** Kinds of metadata that live in clusters of their own; bits, so that a cluster claimed twice keeps both. */
export const MetadataKind = {
  Header: 1,
  L1Table: 2,
  L2Table: 4,
  RefcountTable: 8,
  RefcountBlock: 16,
  SnapshotTable: 32,
  Bitmaps: 64,
  InactiveL1Table: 128,
} as const;

/** One of {@link MetadataKind}. */
export type MetadataKind = (typeof MetadataKind)[keyof typeof MetadataKind];

const NAMES: readonly (readonly [kind: number, name: string])[] = [
  [MetadataKind.Header, "the header"],
  [MetadataKind.L1Table, "the L1 table"],
  [MetadataKind.L2Table, "an L2 table"],
  [MetadataKind.RefcountTable, "the refcount table"],
  [MetadataKind.RefcountBlock, "a refcount block"],
  [MetadataKind.SnapshotTable, "the snapshot table"],
  [MetadataKind.Bitmaps, "a bitmap"],
  [MetadataKind.InactiveL1Table, "the L1 table of a snapshot"],
];

/** Names what a mask of {@link MetadataKind} bits says, for messages. */
export function metadataName(kinds: number): string {
  return NAMES.filter(([kind]) => (kinds & kind) !== 0)
    .map(([, name]) => name)
    .join(" and ");
}

/** Changes that are kept aside before they are merged into the sorted arrays. */
const MERGE_AT = 512;

/**
 * Which host clusters hold metadata. Every write is compared with it before it is made, so that a damaged mapping does not
 * destroy what is left of an image (qcow2 specification, "corrupt bit"). A lookup is two binary searches; the memory is nine
 * bytes for each metadata cluster, however large and sparse the host file is.
 */
export class MetadataMap {
  #clusters: Float64Array = new Float64Array(0);
  #kinds: Uint8Array = new Uint8Array(0);
  /** Changed since the last merge: sorted clusters and their kinds; kind 0 takes a cluster out. */
  #recentClusters: number[] = [];
  #recentKinds: number[] = [];

  /** Records the clusters as metadata of that kind, besides what they may be already. */
  add(kind: MetadataKind, cluster: number, count = 1): void {
    for (let index = 0; index < count; index += 1) {
      this.#set(cluster + index, this.#kindsOf(cluster + index) | kind);
    }
  }

  /** Records many clusters at once, in any order: what an image has when it is opened. */
  addAll(kind: MetadataKind, clusters: Iterable<number>): void {
    const added = Float64Array.from(clusters).sort();
    this.#merge();
    const merged = new Float64Array(this.#clusters.length + added.length);
    const kinds = new Uint8Array(merged.length);
    let count = 0;
    const put = (cluster: number, bits: number): void => {
      if (count > 0 && merged[count - 1] === cluster) {
        kinds[count - 1] = (kinds[count - 1] ?? 0) | bits;
        return;
      }
      merged[count] = cluster;
      kinds[count] = bits;
      count += 1;
    };
    let old = 0;
    for (const cluster of added) {
      for (; old < this.#clusters.length && (this.#clusters[old] ?? 0) <= cluster; old += 1) {
        put(this.#clusters[old] ?? 0, this.#kinds[old] ?? 0);
      }
      put(cluster, kind);
    }
    for (; old < this.#clusters.length; old += 1) put(this.#clusters[old] ?? 0, this.#kinds[old] ?? 0);
    this.#clusters = merged.slice(0, count);
    this.#kinds = kinds.slice(0, count);
  }

  /** The clusters are no metadata of that kind any more. */
  remove(kind: MetadataKind, cluster: number, count = 1): void {
    for (let index = 0; index < count; index += 1) {
      this.#set(cluster + index, this.#kindsOf(cluster + index) & ~kind);
    }
  }

  /** The kinds of metadata in `count` clusters from `cluster` on; 0 for none. */
  kindsIn(cluster: number, count: number): number {
    const end = cluster + count;
    let kinds = 0;
    const recent = this.#recentClusters;
    let at = lowerBound(this.#clusters, cluster);
    if (recent.length === 0) {
      for (; (this.#clusters[at] ?? Infinity) < end; at += 1) kinds |= this.#kinds[at] ?? 0;
      return kinds;
    }
    const firstRecent = lowerBound(recent, cluster);
    for (let index = firstRecent; (recent[index] ?? Infinity) < end; index += 1) {
      kinds |= this.#recentKinds[index] ?? 0;
    }
    for (; (this.#clusters[at] ?? Infinity) < end; at += 1) {
      const known = this.#clusters[at] ?? 0;
      const index = lowerBound(recent, known);
      if (recent[index] !== known) kinds |= this.#kinds[at] ?? 0;
    }
    return kinds;
  }

  #kindsOf(cluster: number): number {
    return this.kindsIn(cluster, 1);
  }

  #set(cluster: number, kinds: number): void {
    const index = lowerBound(this.#recentClusters, cluster);
    if (this.#recentClusters[index] === cluster) {
      this.#recentKinds[index] = kinds;
      return;
    }
    this.#recentClusters.splice(index, 0, cluster);
    this.#recentKinds.splice(index, 0, kinds);
    if (this.#recentClusters.length >= MERGE_AT) this.#merge();
  }

  #merge(): void {
    const recent = this.#recentClusters;
    if (recent.length === 0) return;
    const merged = new Float64Array(this.#clusters.length + recent.length);
    const kinds = new Uint8Array(merged.length);
    let count = 0;
    let old = 0;
    const put = (cluster: number, bits: number): void => {
      if (bits === 0) return;
      merged[count] = cluster;
      kinds[count] = bits;
      count += 1;
    };
    for (let index = 0; index < recent.length; index += 1) {
      const cluster = recent[index] ?? 0;
      for (; (this.#clusters[old] ?? Infinity) < cluster; old += 1) {
        put(this.#clusters[old] ?? 0, this.#kinds[old] ?? 0);
      }
      if (this.#clusters[old] === cluster) old += 1;
      put(cluster, this.#recentKinds[index] ?? 0);
    }
    for (; old < this.#clusters.length; old += 1) put(this.#clusters[old] ?? 0, this.#kinds[old] ?? 0);
    this.#clusters = merged.slice(0, count);
    this.#kinds = kinds.slice(0, count);
    this.#recentClusters = [];
    this.#recentKinds = [];
  }
}

/** Index of the first element that is at least `value`. */
function lowerBound(sorted: ArrayLike<number>, value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] ?? Infinity) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
