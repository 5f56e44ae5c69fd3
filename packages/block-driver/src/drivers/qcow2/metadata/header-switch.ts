import { encodeHeaderCluster, type EncodedHeader, type HeaderCluster } from "../format/header-cluster.ts";
import type { Image } from "../image.ts";
import type { HostFile } from "./host-file.ts";
import { readHost } from "./host-read.ts";
import type { ImageFence } from "./image-fence.ts";

/** What storage writes wholly or not at all. */
const SECTOR = 512;

/** What writes the header of an image. */
export interface HeaderWriter {
  readonly image: Image;
  readonly file: HostFile;
  readonly fence: ImageFence;
}

/**
 * Replaces header, extensions and backing file name, durably when it settles. The caller sees to it that nothing else
 * writes the header meanwhile, and that what the new one refers to is durable.
 *
 * Extensions may reach over several sectors, of which a crash can write some and leave others. So the new ones are written
 * to unused space of the header cluster, and the first sector, written at once, leads there over a gap; then they are moved
 * to their place in the same way. Whatever is on disk at any time is the old header or the new one. Only where the cluster
 * has no room for both, as the smallest clusters may, it is one write, as QEMU does it everywhere.
 * @throws BlockError `ENOSPC` when it does not fit into the cluster, before anything was written; what the file meets: then the
 * header is the old one or the new one, and after a failed flush the image is fenced.
 */
export async function switchHeader({ image, file, fence }: HeaderWriter, next: HeaderCluster): Promise<void> {
  const { label } = image;
  const put = async ({ bytes }: EncodedHeader, from: number, to: number): Promise<void> => {
    if (from >= to) return;
    await file.write(from, [bytes.subarray(from, to)]);
    await fence.flush();
  };
  const wanted = encodeHeaderCluster(next, label);
  const current = new Uint8Array(wanted.bytes.length);
  await readHost(image.file, 0, [current]);
  const only = onlyChangedSector(current, wanted);
  if (only !== undefined) {
    await put(wanted, only, Math.min(only + SECTOR, wanted.length));
  } else {
    const aside = besideBoth(current, wanted, next, label);
    if (aside === undefined) await put(wanted, 0, wanted.bytes.length);
    else {
      await put(aside.encoded, aside.at, aside.encoded.length);
      await put(aside.encoded, 0, SECTOR);
      await put(wanted, SECTOR, wanted.length);
      await put(wanted, 0, SECTOR);
    }
  }
  image.header = wanted.header;
  image.extensions = next.extensions;
  image.backingName = next.backingName;
}

/** The one sector in which `wanted` differs from what is there; undefined when there are several. */
function onlyChangedSector(current: Uint8Array, { bytes, length }: EncodedHeader): number | undefined {
  let found = 0;
  for (let at = 0, count = 0; at < length; at += SECTOR) {
    const end = Math.min(at + SECTOR, length);
    if (Buffer.compare(current.subarray(at, end), bytes.subarray(at, end)) === 0) continue;
    count += 1;
    if (count > 1) return undefined;
    found = at;
  }
  return found;
}

/** The new header with its extensions behind everything that the old one and the new one use in their places. */
function besideBoth(
  current: Uint8Array,
  { header, length }: EncodedHeader,
  next: HeaderCluster,
  label: string,
): { readonly encoded: EncodedHeader; readonly at: number } | undefined {
  // Both the gap and what stands before it have to be in the first sector.
  if (header.headerLength + 8 > SECTOR) return undefined;
  // The end marker of the old extensions is eight zero bytes.
  const used = Math.max(current.findLastIndex((byte) => byte !== 0) + 1 + 8, length);
  const at = Math.ceil(used / SECTOR) * SECTOR;
  if (at + length - header.headerLength > current.length) return undefined;
  return { encoded: encodeHeaderCluster(next, label, at), at };
}
