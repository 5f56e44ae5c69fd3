import type { BlockChild } from "../../contract/device.ts";
import { BlockError } from "../../errors.ts";
import { ExtensionType, Limits } from "./format/constants.ts";
import { findExtension, parseExtensions, type Extension } from "./format/extensions.ts";
import { assertSupportedFeatures } from "./format/feature-names.ts";
import { checkHeader, type HeaderUse } from "./format/check-header.ts";
import { parseHeader, type Header } from "./format/header.ts";
import { readU64, viewOf } from "./format/u64.ts";
import { readHost } from "./metadata/host-read.ts";

/** What the first cluster of an image says, checked. */
export interface ImageHead {
  readonly header: Header;
  readonly extensions: readonly Extension[];
  /** The name of the backing file as recorded; undefined for none. */
  readonly backingName: string | undefined;
  /** The recorded format of the backing file. */
  readonly backingFormat: string | undefined;
  /** The recorded name of the external data file. */
  readonly dataFileName: string | undefined;
}

/**
 * Reads and checks the header cluster. What one field says is checked before anything is read or allocated for it.
 * @throws BlockError as {@link parseHeader}, {@link checkHeader} and {@link parseExtensions}; `ENOTSUP` for features that
 * are not known here.
 */
export async function readImageHead(file: BlockChild, label: string, use: HeaderUse): Promise<ImageHead> {
  const start = new Uint8Array(Math.min(512, file.info.size));
  if (start.length > 0) await file.read(0, [start]);
  const { clusterBits } = parseHeader(withRoom(start), label);
  const cluster = new Uint8Array(2 ** clusterBits);
  await readHost(file, 0, [cluster]);
  const whole = cluster.subarray(0, Math.min(cluster.length, file.info.size));
  const header = parseHeader(whole, label);
  const end = header.backingNameOffset === 0 ? cluster.length : header.backingNameOffset;
  if (end > cluster.length) {
    throw new BlockError("BLK_CORRUPT", `${label}: the backing file name is outside the header cluster`, {
      node: label,
      operation: "open",
    });
  }
  const extensions = parseExtensions(cluster, header.headerLength, end, label);
  assertSupportedFeatures(header, extensions, label);
  checkHeader(header, label, use);
  checkEncryption(header, findExtension(extensions, ExtensionType.Encryption), label);
  return {
    header,
    extensions,
    backingName: readBackingName(cluster, header, label),
    backingFormat: readText(
      findExtension(extensions, ExtensionType.BackingFormat),
      "backing format",
      Limits.backingFormatBytes,
      label,
    ),
    dataFileName: readText(
      findExtension(extensions, ExtensionType.DataFileName),
      "data file name",
      Limits.backingNameBytes,
      label,
    ),
  };
}

const LUKS = 2;

/** The encryption header belongs to LUKS, and says where the LUKS header is. */
function checkEncryption(
  { encryption, clusterBits }: Header,
  extension: Uint8Array | undefined,
  label: string,
): void {
  if (extension === undefined) {
    if (encryption === LUKS)
      throw corrupt(label, "encrypted with LUKS, but the encryption header is missing");
    return;
  }
  if (encryption !== LUKS) throw corrupt(label, "there is an encryption header, but no LUKS encryption");
  if (extension.length !== 16) {
    throw corrupt(label, `the encryption header has ${extension.length} bytes instead of 16`);
  }
  const offset = readU64(viewOf(extension), 0, `${label}: the offset of the LUKS header`);
  if (offset % 2 ** clusterBits !== 0) throw corrupt(label, "the LUKS header is not aligned to a cluster");
}

/** A header longer than what was read first is not cut short by that: it is read again as a whole. */
function withRoom(start: Uint8Array): Uint8Array {
  if (start.length < 512) return start;
  const padded = new Uint8Array(2 ** 21);
  padded.set(start);
  return padded;
}

function readBackingName(cluster: Uint8Array, header: Header, label: string): string | undefined {
  const { backingNameOffset: offset, backingNameLength: length } = header;
  if (offset === 0 || length === 0) return undefined;
  return decodeName(cluster.subarray(offset, offset + length), "backing file name", label);
}

function readText(
  bytes: Uint8Array | undefined,
  what: string,
  most: number,
  label: string,
): string | undefined {
  if (bytes === undefined) return undefined;
  if (bytes.length > most) throw corrupt(label, `the ${what} has ${bytes.length} bytes; ${most} is the most`);
  if (bytes.length === 0) return undefined;
  return decodeName(bytes, what, label);
}

/** Names are text, and what is not could mean another file to us than to others. */
function decodeName(bytes: Uint8Array, what: string, label: string): string {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw corrupt(label, `the ${what} is not UTF-8 text`);
  }
  if (text.includes("\0")) throw corrupt(label, `the ${what} contains a NUL character`);
  return text;
}

function corrupt(label: string, what: string): BlockError {
  return new BlockError("BLK_CORRUPT", `${label}: ${what}`, { node: label, operation: "open" });
}
