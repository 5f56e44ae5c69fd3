import { BlockError } from "../../../errors.ts";
import { ExtensionType, GAP_EXTENSION, Limits } from "./constants.ts";
import { viewOf } from "./u64.ts";

/** One header extension (qcow2 specification, "Header extensions"). */
export interface Extension {
  /** One of {@link ExtensionType}, or a number unknown here. */
  readonly type: number;
  /** Its payload, without padding. */
  readonly data: Uint8Array;
}

/**
 * Parses the extensions in `[start, end)` of `cluster`, the header cluster of an image. Unknown ones are kept, so that
 * a rewritten header loses nothing.
 * @throws BlockError `BLK_CORRUPT` when one crosses the end, when there are more than 256, or when two of a known type
 * contradict each other.
 */
export function parseExtensions(
  cluster: Uint8Array,
  start: number,
  end: number,
  label: string,
): readonly Extension[] {
  const view = viewOf(cluster);
  const extensions: Extension[] = [];
  for (let at = start; at < end;) {
    if (end - at < 8) throw corrupt(label, "the header extensions end within an extension");
    const type = view.getUint32(at);
    const length = view.getUint32(at + 4);
    const payload = at + 8;
    if (length > end - payload) {
      throw corrupt(label, `the header extension 0x${type.toString(16)} is too large`);
    }
    if (type === ExtensionType.End) break;
    at = payload + Math.ceil(length / 8) * 8;
    if (type === GAP_EXTENSION) continue;
    if (extensions.length === Limits.extensions) throw corrupt(label, "too many header extensions");
    add(extensions, { type, data: cluster.slice(payload, payload + length) }, label);
  }
  return extensions;
}

const KNOWN_TYPES: ReadonlySet<number> = new Set(Object.values(ExtensionType));

function add(extensions: Extension[], extension: Extension, label: string): void {
  const twin = KNOWN_TYPES.has(extension.type) ? findExtension(extensions, extension.type) : undefined;
  if (twin === undefined) {
    extensions.push(extension);
    return;
  }
  if (!sameBytes(twin, extension.data)) {
    throw corrupt(label, `two header extensions 0x${extension.type.toString(16)} contradict each other`);
  }
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}

function corrupt(label: string, what: string): BlockError {
  return new BlockError("BLK_CORRUPT", `${label}: ${what}`, { node: label, operation: "open" });
}

/** The payload of the first extension of `type`, if there is one. */
export function findExtension(extensions: readonly Extension[], type: number): Uint8Array | undefined {
  return extensions.find((extension) => extension.type === type)?.data;
}

/** `extensions` with the one of `type` replaced, added, or (with `undefined`) removed. */
export function withExtension(
  extensions: readonly Extension[],
  type: number,
  data: Uint8Array | undefined,
): readonly Extension[] {
  const others = extensions.filter((extension) => extension.type !== type);
  return data === undefined ? others : [...others, { type, data }];
}

/** Bytes that {@link encodeExtensions} makes of `extensions`, the end marker included. */
function extensionsLength(extensions: readonly Extension[]): number {
  return extensions.reduce((sum, { data }) => sum + 8 + Math.ceil(data.length / 8) * 8, 8);
}

/** The extensions with their padding and the end marker. */
export function encodeExtensions(extensions: readonly Extension[]): Uint8Array {
  const bytes = new Uint8Array(extensionsLength(extensions));
  const view = viewOf(bytes);
  let at = 0;
  for (const { type, data } of extensions) {
    view.setUint32(at, type);
    view.setUint32(at + 4, data.length);
    bytes.set(data, at + 8);
    at += 8 + Math.ceil(data.length / 8) * 8;
  }
  return bytes;
}
