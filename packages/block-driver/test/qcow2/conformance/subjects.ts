import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DeviceSpec } from "../../../src/index.ts";
import type { ConformanceStorage, ConformanceSubject } from "../../../src/conformance/index.ts";
import { createImage, createOver } from "../support/create.ts";

/** In memory where the system has that: flushing to a disk is not what these cases are about. */
const SCRATCH = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

/** An image made with the given options, over a file of its own. */
export function imageSubject(
  name: string,
  options: Readonly<Record<string, unknown>>,
  changes: Partial<ConformanceSubject> = {},
): ConformanceSubject {
  return {
    name: `qcow2 ${name}`,
    storage: (size) => imageStorage(size, options),
    features: { persistent: true },
    ...changes,
  };
}

async function imageStorage(
  size: number,
  options: Readonly<Record<string, unknown>>,
): Promise<ConformanceStorage> {
  const directory = mkdtempSync(join(SCRATCH, "blockmirror-conformance-"));
  const filename = join(directory, "disk.qcow2");
  await createImage(filename, size, options);
  const spec: DeviceSpec = { driver: "qcow2", file: { driver: "file", filename } };
  return { spec, dispose: () => rmSync(directory, { recursive: true, force: true }) };
}

/** An overlay on a raw base whose content is not zero. */
export function overlaySubject(name: string, options: Readonly<Record<string, unknown>>): ConformanceSubject {
  return {
    name: `qcow2 ${name}`,
    features: { persistent: true, startsZero: false },
    async storage(size) {
      const directory = mkdtempSync(join(SCRATCH, "blockmirror-conformance-"));
      const base = join(directory, "base.raw");
      const filename = join(directory, "disk.qcow2");
      writeFileSync(base, Buffer.alloc(size, 0x5a));
      await createImage(filename, size, { ...options, backingFile: "base.raw", backingFormat: "raw" });
      return {
        spec: {
          driver: "qcow2",
          file: { driver: "file", filename },
          backing: { driver: "raw", file: { driver: "file", filename: base } },
        },
        dispose: () => rmSync(directory, { recursive: true, force: true }),
      };
    },
  };
}

/** An image whose data is in a file beside it. */
export function dataFileSubject(name: string, raw: boolean): ConformanceSubject {
  return {
    name: `qcow2 ${name}`,
    features: { persistent: true },
    async storage(size) {
      const directory = mkdtempSync(join(SCRATCH, "blockmirror-conformance-"));
      const filename = join(directory, "disk.qcow2");
      const data = { driver: "file", filename: join(directory, "disk.data") };
      writeFileSync(filename, "");
      writeFileSync(data.filename, "");
      await createOver({ driver: "file", filename }, size, { dataFile: data, dataFileRaw: raw });
      return {
        spec: { driver: "qcow2", file: { driver: "file", filename }, dataFile: data },
        dispose: () => rmSync(directory, { recursive: true, force: true }),
      };
    },
  };
}
