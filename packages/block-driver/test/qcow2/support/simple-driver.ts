import { inflateRawSync, constants } from "node:zlib";
import {
  BYTE_ALIGNMENT,
  DEFAULT_LIMITS,
  DRIVER_CONTRACT_VERSION,
  ExtentFlag,
  iovCopy,
  iovLength,
  iovSlice,
  iovZero,
  option,
  optionSchema,
  type BlockChild,
  type BlockDevice,
  type BlockDriver,
  type ChildReference,
  type DeviceInfo,
  type ExtentList,
  type IoVec,
  type OpenContext,
  type ResizeOptions,
  type WriteOptions,
  type ZeroOptions,
} from "../../../src/index.ts";
import { Incompatible } from "../../../src/drivers/qcow2/format/constants.ts";
import { parseExtensions } from "../../../src/drivers/qcow2/format/extensions.ts";
import {
  checkHeader,
  geometryOf,
  hasFeature,
  parseHeader,
} from "../../../src/drivers/qcow2/format/header.ts";
import {
  ClusterType,
  clusterType,
  decodeCompressed,
  hostOffsetOf,
  subclusterType,
} from "../../../src/drivers/qcow2/format/l2-entry.ts";
import type { Image } from "../../../src/drivers/qcow2/image.ts";
import { readHost } from "../../../src/drivers/qcow2/metadata/host-read.ts";
import { L1Table } from "../../../src/drivers/qcow2/metadata/l1-table.ts";
import { L2Cache } from "../../../src/drivers/qcow2/metadata/l2-cache.ts";
import { ReadEpochs } from "../../../src/drivers/qcow2/metadata/read-epochs.ts";
import { Writer } from "../../../src/drivers/qcow2/write/writer.ts";

interface SimpleOptions {
  readonly file: ChildReference;
  readonly backing: ChildReference | null | undefined;
  readonly dataFile: ChildReference | null | undefined;
}

/** Writers of the images opened last, newest last, for tests that look at counters. */
export const openedWriters: Writer[] = [];

/**
 * The least that makes an image readable, one cluster at a time, around the real writer: tests of writing compare with a
 * reader that shares no cleverness with the driver's.
 */
export const simpleQcow2Driver: BlockDriver<SimpleOptions> = {
  name: "qcow2",
  kind: "format",
  contractVersion: DRIVER_CONTRACT_VERSION,
  options: optionSchema({
    file: option.child("the image"),
    backing: option.optionalChild("the backing file"),
    dataFile: option.optionalChild("the data file"),
  }),
  async open(options, context) {
    const file = await context.openChild(options.file, "file");
    const backing = isChild(options.backing)
      ? await context.openChild(options.backing, "backing")
      : undefined;
    const data = isChild(options.dataFile) ? await context.openChild(options.dataFile, "data") : file;
    return new SimpleDevice(await openImage(file, data, backing, context), context.readOnly);
  },
};

function isChild(reference: ChildReference | null | undefined): reference is ChildReference {
  return reference !== null && reference !== undefined;
}

async function openImage(
  file: BlockChild,
  data: BlockChild,
  backing: BlockChild | undefined,
  context: OpenContext,
): Promise<Image> {
  const label = context.nodeName;
  const head = new Uint8Array(Math.min(file.info.size, 65536));
  await file.read(0, [head]);
  const header = parseHeader(head, label);
  checkHeader(header, label, { writable: !context.readOnly, repair: false });
  const geometry = geometryOf(header);
  const first = new Uint8Array(geometry.clusterSize);
  await readHost(file, 0, [first]);
  const table = new Uint8Array(header.l1Entries * 8);
  await readHost(file, header.l1Offset, [table]);
  const l1 = new L1Table(table);
  const nameAt = header.backingNameOffset;
  return {
    label,
    file,
    data,
    hasDataFile: hasFeature(header.incompatible, Incompatible.DataFile),
    backing,
    geometry,
    header,
    extensions: parseExtensions(
      first,
      header.headerLength,
      nameAt === 0 ? geometry.clusterSize : nameAt,
      label,
    ),
    backingName:
      nameAt === 0
        ? undefined
        : new TextDecoder().decode(first.subarray(nameAt, nameAt + header.backingNameLength)),
    l1,
    l2: new L2Cache({
      file,
      geometry,
      l1,
      sliceBytes: Math.min(4096, geometry.clusterSize),
      budgetBytes: 1024 * 1024,
      label,
    }),
    virtualSize: header.size - (header.size % 512),
    report: (event) => context.report(event),
  };
}

class SimpleDevice implements BlockDevice {
  readonly #image: Image;
  readonly #epochs = new ReadEpochs();
  readonly #writer: Writer;
  readonly #readOnly: boolean;
  #info: DeviceInfo;

  constructor(image: Image, readOnly: boolean) {
    this.#image = image;
    this.#readOnly = readOnly;
    this.#writer = new Writer({
      image,
      epochs: this.#epochs,
      readGuest: (offset, into) => this.read(offset, into),
    });
    openedWriters.push(this.#writer);
    this.#info = this.#describe();
  }

  get info(): DeviceInfo {
    return this.#info;
  }

  async read(offset: number, into: IoVec): Promise<void> {
    const { geometry } = this.#image;
    const end = offset + iovLength(into);
    const epoch = this.#epochs.begin();
    try {
      for (let at = offset; at < end;) {
        const unit = geometry.subclusterSize;
        const to = Math.min(end, at - (at % unit) + unit);
        await this.#readPart(at, iovSlice(into, at - offset, to - at), to - at);
        at = to;
      }
    } finally {
      this.#epochs.end(epoch);
    }
  }

  status(offset: number, length: number, extents: ExtentList): void {
    extents.reset(offset);
    extents.append(length, ExtentFlag.Data);
  }

  write(offset: number, from: IoVec, options?: WriteOptions): ReturnType<Writer["write"]> {
    return this.#writer.write(offset, from, options);
  }

  writeZeroes(offset: number, length: number, options?: ZeroOptions): Promise<void> {
    return this.#writer.writeZeroes(offset, length, options);
  }

  discard(offset: number, length: number): Promise<void> {
    return this.#writer.discard(offset, length);
  }

  flush(): Promise<void> {
    return this.#writer.flush();
  }

  async resize(size: number, options?: ResizeOptions): Promise<void> {
    await this.#writer.resize(size, options);
    this.#info = this.#describe();
  }

  close(): Promise<void> {
    return this.#readOnly ? Promise.resolve() : this.#writer.close();
  }

  async #readPart(at: number, piece: IoVec, length: number): Promise<void> {
    const { geometry, l2, data, backing } = this.#image;
    const slice = await l2.get(at);
    const cluster = geometry.clusterStart(at);
    const stride = geometry.l2EntryBytes / 4;
    const index = slice === undefined ? 0 : stride * ((cluster - slice.guestOffset) / geometry.clusterSize);
    const [high = 0, low = 0, zero = 0, allocated = 0] =
      slice === undefined ? [] : slice.words.subarray(index, index + 4);
    const type = this.#typeOf(high, low, zero, allocated, (at - cluster) / geometry.subclusterSize);
    if (type === ClusterType.Normal) {
      await readHost(data, hostOffsetOf(high, low) + at - cluster, piece);
    } else if (type === ClusterType.Compressed) {
      const whole = await this.#inflate(high, low);
      iovCopy([whole.subarray(at - cluster, at - cluster + length)], piece);
    } else {
      const deferred = type === ClusterType.Unallocated || type === ClusterType.UnallocatedReserved;
      const shown = deferred ? Math.max(0, Math.min(length, (backing?.info.size ?? 0) - at)) : 0;
      if (shown > 0) await backing?.read(at, iovSlice(piece, 0, shown));
      iovZero(iovSlice(piece, shown, length - shown));
    }
  }

  #typeOf(high: number, low: number, zero: number, allocated: number, within: number): ClusterType {
    const { geometry, hasDataFile } = this.#image;
    return geometry.extendedL2
      ? subclusterType(high, low, zero, allocated, Math.floor(within), hasDataFile)
      : clusterType(high, low, hasDataFile);
  }

  async #inflate(high: number, low: number): Promise<Uint8Array> {
    const { geometry, file } = this.#image;
    const range = { offset: 0, length: 0, sectorStart: 0 };
    decodeCompressed(high, low, geometry, range);
    const stored = new Uint8Array(range.length);
    await readHost(file, range.offset, [stored]);
    return inflateRawSync(stored, {
      finishFlush: constants.Z_SYNC_FLUSH,
      maxOutputLength: geometry.clusterSize,
    });
  }

  #describe(): DeviceInfo {
    const { geometry, header, backing, backingName, label, virtualSize } = this.#image;
    const showsThrough = header.version < 3 && (backing !== undefined || backingName !== undefined);
    const changes = !this.#readOnly;
    return {
      driver: "qcow2",
      label,
      size: virtualSize,
      readOnly: this.#readOnly,
      align: { ...BYTE_ALIGNMENT, discard: geometry.clusterSize, allocation: geometry.clusterSize },
      max: DEFAULT_LIMITS,
      can: {
        write: changes,
        fua: changes,
        writeZeroes: changes ? "fast" : "no",
        unmap: changes,
        discard: !changes || showsThrough ? "no" : "zeroes",
        flush: changes,
        resize: changes ? "both" : "no",
        status: "none",
        copyRange: false,
        map: false,
      },
    };
  }
}
