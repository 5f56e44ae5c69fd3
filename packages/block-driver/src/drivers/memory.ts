import { DRIVER_CONTRACT_VERSION, type BlockDriver } from "../contract/driver.ts";
import { BYTE_ALIGNMENT, DEFAULT_LIMITS, type BlockDevice, type DeviceInfo } from "../contract/device.ts";
import { ExtentFlag, type ExtentList } from "../contract/extents.ts";
import type { IoVec } from "../contract/io.ts";
import { option, optionSchema } from "../contract/options.ts";

/** Options of the `memory` driver. */
export interface MemoryOptions {
  /** Size in bytes. */
  readonly size: number;
}

/** Unit of allocation in bytes: what was never written takes no memory and is a hole. */
const PAGE_SIZE = 4096;

/**
 * A disk in memory, sparse, that answers every request synchronously. For tests, and for scratch disks that end with the
 * program.
 *
 * Limitations: the content is gone when the device is closed; a flush makes nothing durable.
 */
export const memoryDriver: BlockDriver<MemoryOptions> = {
  name: "memory",
  kind: "protocol",
  contractVersion: DRIVER_CONTRACT_VERSION,
  options: optionSchema({ size: option.bytes("size of the disk") }),
  open: (options, context) =>
    Promise.resolve(new MemoryDevice(options.size, context.nodeName, context.readOnly)),
};

/** The device of {@link memoryDriver}; also usable by itself. */
export class MemoryDevice implements BlockDevice {
  readonly #pages = new Map<number, Uint8Array>();
  #info: DeviceInfo;

  constructor(size: number, label = "memory", readOnly = false) {
    this.#info = {
      driver: "memory",
      label,
      size,
      readOnly,
      align: BYTE_ALIGNMENT,
      max: DEFAULT_LIMITS,
      can: {
        write: true,
        fua: true,
        writeZeroes: "fast",
        unmap: true,
        discard: "zeroes",
        flush: true,
        resize: "both",
        status: "exact",
        copyRange: false,
        lend: false,
      },
    };
  }

  get info(): DeviceInfo {
    return this.#info;
  }

  /** Bytes of memory that hold data. */
  get allocatedBytes(): number {
    return this.#pages.size * PAGE_SIZE;
  }

  read(offset: number, into: IoVec): void {
    let at = offset;
    for (const piece of into) {
      for (let done = 0; done < piece.byteLength;) {
        const within = at % PAGE_SIZE;
        const take = Math.min(PAGE_SIZE - within, piece.byteLength - done);
        const page = this.#pages.get((at - within) / PAGE_SIZE);
        if (page === undefined) piece.fill(0, done, done + take);
        else piece.set(page.subarray(within, within + take), done);
        done += take;
        at += take;
      }
    }
  }

  write(offset: number, from: IoVec): void {
    let at = offset;
    for (const piece of from) {
      for (let done = 0; done < piece.byteLength;) {
        const within = at % PAGE_SIZE;
        const take = Math.min(PAGE_SIZE - within, piece.byteLength - done);
        this.#page((at - within) / PAGE_SIZE).set(piece.subarray(done, done + take), within);
        done += take;
        at += take;
      }
    }
  }

  writeZeroes(offset: number, length: number): void {
    const end = offset + length;
    for (const number of this.#pagesWithin(offset, end)) {
      const start = number * PAGE_SIZE;
      if (start >= offset && start + PAGE_SIZE <= end) this.#pages.delete(number);
      else this.#pages.get(number)?.fill(0, Math.max(0, offset - start), Math.min(PAGE_SIZE, end - start));
    }
  }

  discard(offset: number, length: number): void {
    this.writeZeroes(offset, length);
  }

  /** Nothing here outlives the program, so everything is as durable as it will be. */
  flush(): void {}

  status(offset: number, length: number, extents: ExtentList): void {
    extents.reset(offset);
    const end = offset + length;
    for (const number of this.#pagesWithin(offset, end)) {
      const start = Math.max(offset, number * PAGE_SIZE);
      const hole = start - extents.next;
      if (hole > 0 && !extents.append(hole, ExtentFlag.Zero)) return;
      if (!extents.append(Math.min(end, (number + 1) * PAGE_SIZE) - start, ExtentFlag.Data)) return;
    }
    extents.append(end - extents.next, ExtentFlag.Zero);
  }

  async resize(size: number): Promise<void> {
    // What lies beyond the new end must not come back when the disk grows again.
    if (size < this.#info.size) this.writeZeroes(size, this.#info.size - size);
    this.#info = { ...this.#info, size };
  }

  /** The content is only here, so the device stays and changes its mode. */
  reopen(readOnly: boolean): Promise<BlockDevice> {
    this.#info = { ...this.#info, readOnly };
    return Promise.resolve(this);
  }

  async close(): Promise<void> {
    this.#pages.clear();
  }

  #page(number: number): Uint8Array {
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = new Uint8Array(PAGE_SIZE);
      this.#pages.set(number, page);
    }
    return page;
  }

  /** The numbers of the pages that exist and touch `[offset, end)`, ascending. */
  #pagesWithin(offset: number, end: number): readonly number[] {
    const first = Math.floor(offset / PAGE_SIZE);
    const count = Math.ceil(end / PAGE_SIZE) - first;
    // Whichever is less work: looking at every page of the range, or at every page there is.
    if (this.#pages.size < count) {
      return [...this.#pages.keys()]
        .filter((number) => number >= first && number < first + count)
        .sort((a, b) => a - b);
    }
    const found: number[] = [];
    for (let number = first; number < first + count; number += 1)
      if (this.#pages.has(number)) found.push(number);
    return found;
  }
}
