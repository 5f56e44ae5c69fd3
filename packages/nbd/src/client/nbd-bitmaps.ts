import {
  BlockError,
  DEFAULT_BITMAP_GRANULARITY,
  ExtentFlag,
  ExtentList,
  type BitmapStore,
  type DeviceInfo,
  type StoredBitmap,
} from "@blockmirror/block-driver";
import { question } from "./request.ts";
import type { Session } from "./session.ts";
import { ALLOCATION } from "./status-contexts.ts";

/** Where a bitmap is loaded to. */
type Bits = Parameters<BitmapStore["load"]>[1];

/**
 * The server's dirty bitmaps of these names; undefined when none is asked for.
 * @throws BlockError `ENOENT` when the server has not all of them.
 */
export function openBitmaps(
  session: Session,
  info: DeviceInfo,
  names: readonly string[],
): BitmapStore | undefined {
  if (names.length === 0) return undefined;
  const { contextIds } = session.negotiated;
  const missing = names.find((_name, index) => contextIds[contextOf(index)] === undefined);
  if (missing !== undefined) {
    throw new BlockError("ENOENT", `the server of ${info.label} shows no dirty bitmap '${missing}'`, {
      node: info.label,
      operation: "open",
    });
  }
  return new NbdBitmaps(session, info, names);
}

/** Place of a bitmap's context behind that of the allocation. */
function contextOf(index: number): number {
  return ALLOCATION + 1 + index;
}

/** Dirty bitmaps of a server. It changes them as it likes; each loading sees them as they are then. */
class NbdBitmaps implements BitmapStore {
  readonly isReadOnly = true;
  readonly #session: Session;
  readonly #info: DeviceInfo;
  readonly #names: readonly string[];

  constructor(session: Session, info: DeviceInfo, names: readonly string[]) {
    this.#session = session;
    this.#info = info;
    this.#names = names;
  }

  /** The protocol tells no granularity, nor whether the server goes on recording. */
  list(): readonly StoredBitmap[] {
    return this.#names.map((name) => ({
      name,
      granularity: DEFAULT_BITMAP_GRANULARITY,
      recording: false,
      inconsistent: false,
    }));
  }

  async load(name: string, into: Bits): Promise<void> {
    const index = this.#names.indexOf(name);
    if (index < 0) throw this.#error("ENOENT", `was not opened with the bitmap '${name}'`);
    const { size, align } = this.#info;
    const extents = new ExtentList();
    for (let at = 0; at < size; at = extents.next) {
      await this.#session.submit(question(at, size - at, align.read, extents, contextOf(index)), undefined);
      for (let each = 0; each < extents.count; each += 1) {
        if (extents.flagsAt(each) !== ExtentFlag.Data) continue;
        into.set(extents.offsetAt(each), extents.lengthAt(each));
      }
    }
  }

  keep(): never {
    throw this.#error("ENOTSUP", "cannot keep bitmaps: those it has are its server's");
  }

  drop(): void {}

  #error(code: "ENOENT" | "ENOTSUP", text: string): BlockError {
    return new BlockError(code, `${this.#info.label} ${text}`, { node: this.#info.label });
  }
}
