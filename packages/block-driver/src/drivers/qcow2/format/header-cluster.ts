import { BlockError } from "../../../errors.ts";
import { GAP_EXTENSION } from "./constants.ts";
import { encodeExtensions, type Extension } from "./extensions.ts";
import { encodeHeader, type Header } from "./header.ts";
import { viewOf } from "./u64.ts";

/** Everything that the first cluster of an image holds. */
export interface HeaderCluster {
  /** `backingNameOffset` and `backingNameLength` are ignored when encoding: they follow from `backingName`. */
  readonly header: Header;
  readonly extensions: readonly Extension[];
  /** The name of the backing file as recorded; undefined for none. */
  readonly backingName: string | undefined;
}

/** A header cluster as bytes. */
export interface EncodedHeader {
  /** The header with the place of the backing file name. */
  readonly header: Header;
  /** A whole cluster. */
  readonly bytes: Uint8Array;
  /** Bytes of it that are used. */
  readonly length: number;
}

/**
 * The whole first cluster: header, extensions, end marker, backing file name.
 *
 * @param extensionsAt where the extensions begin, a multiple of 8: right behind the header, or at least 8 bytes later,
 * with a gap that readers skip.
 * @throws BlockError `ENOSPC` when it does not fit into one cluster.
 */
export function encodeHeaderCluster(
  { header, extensions, backingName }: HeaderCluster,
  label: string,
  extensionsAt: number = header.headerLength,
): EncodedHeader {
  const clusterSize = 2 ** header.clusterBits;
  const extensionBytes = encodeExtensions(extensions);
  const name = new TextEncoder().encode(backingName ?? "");
  const nameOffset = extensionsAt + extensionBytes.length;
  const length = nameOffset + name.length;
  if (length > clusterSize) {
    throw new BlockError(
      "ENOSPC",
      `${label}: the header needs ${length} bytes and its cluster has ${clusterSize}; use larger clusters or a shorter backing file name`,
      { node: label },
    );
  }
  const placed: Header = {
    ...header,
    backingNameOffset: backingName === undefined ? 0 : nameOffset,
    backingNameLength: name.length,
  };
  const bytes = new Uint8Array(clusterSize);
  bytes.set(encodeHeader(placed));
  if (extensionsAt > header.headerLength) {
    const view = viewOf(bytes);
    view.setUint32(header.headerLength, GAP_EXTENSION);
    view.setUint32(header.headerLength + 4, extensionsAt - header.headerLength - 8);
  }
  bytes.set(extensionBytes, extensionsAt);
  bytes.set(name, nameOffset);
  return { header: placed, bytes, length };
}
