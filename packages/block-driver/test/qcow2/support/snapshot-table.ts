import { readFileSync, writeFileSync } from "node:fs";

/** One entry of a snapshot table, in its parts. */
export interface RawEntry {
  readonly head: Buffer;
  readonly extra: Buffer;
  /** Id and name, one after the other. */
  readonly names: Buffer;
}

/** Takes the snapshot table of an image apart. */
export function snapshotEntries(file: string): RawEntry[] {
  const image = readFileSync(file);
  const entries: RawEntry[] = [];
  let at = Number(image.readBigUInt64BE(64));
  for (let count = image.readUInt32BE(60); count > 0; count -= 1) {
    const head = image.subarray(at, at + 40);
    const extraEnd = at + 40 + head.readUInt32BE(36);
    const end = extraEnd + head.readUInt16BE(12) + head.readUInt16BE(14);
    entries.push({ head, extra: image.subarray(at + 40, extraEnd), names: image.subarray(extraEnd, end) });
    at += Math.ceil((end - at) / 8) * 8;
  }
  return entries;
}

const padded = (bytes: Buffer, unit: number): Buffer =>
  Buffer.concat([bytes, Buffer.alloc((unit - (bytes.length % unit)) % unit)]);

/**
 * Gives the entries of an image extra data of these lengths (undefined: as it is), in a table behind everything else,
 * counted in the image's first refcount block.
 */
export function resizeSnapshotExtra(file: string, lengths: readonly (number | undefined)[]): void {
  const cluster = 65536;
  const table = snapshotEntries(file).map(({ head, extra, names }, index) => {
    const length = lengths[index] ?? extra.length;
    const fields = Buffer.from(head);
    fields.writeUInt32BE(length, 36);
    const more = Buffer.concat([extra, Buffer.alloc(Math.max(0, length - extra.length), 0xab)]);
    return padded(Buffer.concat([fields, more.subarray(0, length), names]), 8);
  });
  const before = padded(readFileSync(file), cluster);
  const image = Buffer.concat([before, padded(Buffer.concat(table), cluster)]);
  const block = Number(image.readBigUInt64BE(Number(image.readBigUInt64BE(48))));
  image.writeUInt16BE(0, block + (2 * Number(image.readBigUInt64BE(64))) / cluster);
  for (let at = before.length; at < image.length; at += cluster)
    image.writeUInt16BE(1, block + (2 * at) / cluster);
  image.writeBigUInt64BE(BigInt(before.length), 64);
  writeFileSync(file, image);
}
