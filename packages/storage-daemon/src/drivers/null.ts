import {
  BYTE_ALIGNMENT,
  DEFAULT_LIMITS,
  DRIVER_CONTRACT_VERSION,
  ExtentFlag,
  iovZero,
  option,
  optionSchema,
  type BlockDevice,
  type BlockDriver,
  type DeviceInfo,
  type ExtentList,
  type IoVec,
} from "@blockmirror/block-driver";

/** Options of the `null-co` driver. */
export interface NullOptions {
  /** Size in bytes. */
  readonly size: number;
  /** Whether reads give zeroes; otherwise they leave the buffer as it is. */
  readonly "read-zeroes": boolean;
}

const DEFAULT_SIZE = 1024 * 1024 * 1024;

/** A disk that forgets what is written to it, for tests and measurements. */
export const nullDriver: BlockDriver<NullOptions> = {
  name: "null-co",
  kind: "protocol",
  contractVersion: DRIVER_CONTRACT_VERSION,
  options: optionSchema({
    size: option.integer("size of the disk", DEFAULT_SIZE),
    "read-zeroes": option.boolean("reads give zeroes", false),
  }),
  open: async (options, context) => new NullDevice(options, context.readOnly),
};

class NullDevice implements BlockDevice {
  readonly info: DeviceInfo;
  readonly #readsZeroes: boolean;

  constructor(options: NullOptions, readOnly: boolean) {
    this.#readsZeroes = options["read-zeroes"];
    this.info = {
      driver: "null-co",
      label: "null-co",
      size: options.size,
      readOnly,
      allocatedSize: 0,
      align: BYTE_ALIGNMENT,
      max: DEFAULT_LIMITS,
      can: {
        write: true,
        fua: true,
        writeZeroes: "fast",
        unmap: true,
        discard: "hint",
        flush: true,
        resize: "no",
        status: this.#readsZeroes ? "exact" : "none",
        copyRange: false,
        lend: false,
      },
    };
  }

  read(_offset: number, into: IoVec): void {
    // Buffers may hold anything, other images' data too: without `read-zeroes` they are not ours to show either.
    iovZero(into);
  }

  write(): void {}

  writeZeroes(): void {}

  discard(): void {}

  flush(): void {}

  status(offset: number, length: number, extents: ExtentList): void {
    extents.reset(offset);
    extents.append(length, this.#readsZeroes ? ExtentFlag.Zero : ExtentFlag.Data);
  }

  async close(): Promise<void> {}
}
