import path from "node:path";
import { DRIVER_CONTRACT_VERSION, type BlockDriver } from "../../contract/driver.ts";
import { fileCreateOptions, fileOptions, type FileCreateOptions, type FileOptions } from "./file-options.ts";
import type { FileDriverInit } from "./host.ts";

/**
 * Makes a `file` driver. Programs want {@link fileDriver}; this is for those that need the baseline without native help,
 * or that fail system calls on purpose to see what happens.
 */
export function createFileDriver(init: FileDriverInit = {}): BlockDriver<FileOptions, FileCreateOptions> {
  return {
    name: "file",
    kind: "protocol",
    contractVersion: DRIVER_CONTRACT_VERSION,
    options: fileOptions,
    createOptions: fileCreateOptions,
    // Loaded by the first file, as the other drivers do it, so that registering a driver costs next to nothing.
    async open(given, context) {
      const { openFileDevice } = await import("./open-device.ts");
      return openFileDevice(init, given, context);
    },
    async create({ filename, ...rest }, { signal }) {
      const { createFile } = await import("./create-file.ts");
      await createFile(init, { ...rest, filename: path.resolve(filename), signal });
    },
  };
}

/**
 * The `file` driver: a regular file or a block device, byte for byte.
 *
 * Reads and writes of any alignment; short transfers and interruptions are continued. A read beyond the end of a file
 * that another program shortened fails with `EIO`. After a failed flush every request fails with `BLK_FENCED`, because
 * what the kernel still held may be lost. With the optional `koffi` package on Linux it also finds holes, zeroes and
 * discards ranges, copies inside the kernel, and locks images against QEMU; without, it is as correct, only coarser.
 */
export const fileDriver: BlockDriver<FileOptions, FileCreateOptions> = createFileDriver();
