import type { MaybePromise } from "../../../contract/io.ts";
import { HeaderField, type Header } from "../format/header.ts";
import { viewOf, writeU64 } from "../format/u64.ts";
import type { HostFile } from "./host-file.ts";

/*
 * Changes of single header fields. Each lies within one 512-byte sector, so that it is on disk wholly or not at all, and
 * everything else in the header cluster, known or not, stays as it is.
 */

/** Writes the incompatible feature bits of a version 3 header. */
export function writeIncompatible(file: HostFile, { incompatible }: Header): MaybePromise<void> {
  return file.write(HeaderField.incompatible, [bits(incompatible)]);
}

/** Writes the autoclear feature bits of a version 3 header. */
export function writeAutoclear(file: HostFile, { autoclear }: Header): MaybePromise<void> {
  return file.write(HeaderField.autoclear, [bits(autoclear)]);
}

/** Writes the virtual size. */
export function writeSize(file: HostFile, { size }: Header): MaybePromise<void> {
  return file.write(HeaderField.size, [encodeSize(size)]);
}

/** The virtual size, as the header stores it. */
export function encodeSize(size: number): Uint8Array {
  const bytes = new Uint8Array(8);
  writeU64(viewOf(bytes), 0, size);
  return bytes;
}

/** Writes number of entries and offset of the L1 table. */
export function writeL1Location(file: HostFile, { l1Entries, l1Offset }: Header): MaybePromise<void> {
  const bytes = new Uint8Array(12);
  const view = viewOf(bytes);
  view.setUint32(0, l1Entries);
  writeU64(view, 4, l1Offset);
  return file.write(HeaderField.l1, [bytes]);
}

/** Offset and length in clusters of the refcount table, as the header stores them. */
export function encodeRefcountTableLocation(offset: number, clusters: number): Uint8Array {
  const bytes = new Uint8Array(12);
  const view = viewOf(bytes);
  writeU64(view, 0, offset);
  view.setUint32(8, clusters);
  return bytes;
}

function bits(features: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  viewOf(bytes).setBigUint64(0, features);
  return bytes;
}
