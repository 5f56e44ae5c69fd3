import { BlockError } from "../../../errors.ts";
import { encodeExtensions, type Extension } from "./extensions.ts";
import { encodeHeader, type Header } from "./header.ts";

/** Everything that the first cluster of an image holds. */
export interface HeaderCluster {
  /** `backingNameOffset` and `backingNameLength` are ignored when encoding: they follow from `backingName`. */
  readonly header: Header;
  readonly extensions: readonly Extension[];
  /** The name of the backing file as recorded; undefined for none. */
  readonly backingName: string | undefined;
}

/**
 * The whole first cluster: header, extensions, end marker, backing file name.
 * @throws BlockError `ENOSPC` when it does not fit into one cluster.
 */
export function encodeHeaderCluster(
  { header, extensions, backingName }: HeaderCluster,
  label: string,
): Uint8Array {
  const clusterSize = 2 ** header.clusterBits;
  const extensionBytes = encodeExtensions(extensions);
  const name = new TextEncoder().encode(backingName ?? "");
  const nameOffset = header.headerLength + extensionBytes.length;
  if (nameOffset + name.length > clusterSize) {
    throw new BlockError(
      "ENOSPC",
      `${label}: the header needs ${nameOffset + name.length} bytes and its cluster has ${clusterSize}; use larger clusters or a shorter backing file name`,
      { node: label },
    );
  }
  const cluster = new Uint8Array(clusterSize);
  cluster.set(
    encodeHeader({
      ...header,
      backingNameOffset: backingName === undefined ? 0 : nameOffset,
      backingNameLength: name.length,
    }),
  );
  cluster.set(extensionBytes, header.headerLength);
  cluster.set(name, nameOffset);
  return cluster;
}
