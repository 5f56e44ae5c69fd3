import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import assert from "node:assert/strict";
import type { ConformanceSubject } from "../../../src/conformance/index.ts";
import { runConformance } from "../../conformance/subjects.ts";
import { checkFile } from "../support/check.ts";
import { createImage } from "../support/create.ts";
import { withImage } from "../support/open.ts";
import { createDefaultRegistry, type DeviceSpec } from "../../../src/index.ts";

interface Variant {
  readonly name: string;
  readonly create?: Readonly<Record<string, unknown>>;
  /** Over a backing file that is shorter than the image: a raw one, or a chain of two qcow2 images, each shorter again, on one. */
  readonly backing?: "raw" | "chain";
  readonly dataFile?: "plain" | "raw";
  /** Below a filter that keeps in the image what is read from its backing file. */
  readonly copyOnRead?: boolean;
  /** Failing every request below takes long where requests are many: those with BLOCKMIRROR_LONG=1 only. */
  readonly faults?: "always" | "long";
}

const VARIANTS: readonly Variant[] = [
  { name: "qcow2", faults: "always" },
  {
    name: "qcow2 with small clusters and refcounts of one bit",
    create: { clusterSize: 512, refcountBits: 1 },
  },
  {
    name: "qcow2 with small clusters and refcounts of 64 bits",
    create: { clusterSize: 512, refcountBits: 64 },
  },
  { name: "qcow2 with clusters of 4 KiB over a backing file", create: { clusterSize: 4096 }, backing: "raw" },
  { name: "qcow2 with clusters of 2 MiB", create: { clusterSize: 2 * 1024 * 1024 } },
  { name: "qcow2 with subclusters", create: { clusterSize: 16384, extendedL2: true }, faults: "long" },
  { name: "qcow2 with subclusters over a backing file", create: { extendedL2: true }, backing: "raw" },
  { name: "qcow2 version 2", create: { version: "v2", clusterSize: 4096 } },
  { name: "qcow2 version 2 over a backing file", create: { version: "v2" }, backing: "raw" },
  { name: "qcow2 on a chain of qcow2", create: { clusterSize: 8192 }, backing: "chain" },
  {
    name: "qcow2 with subclusters on a chain of qcow2",
    create: { clusterSize: 32_768, extendedL2: true },
    backing: "chain",
  },
  { name: "qcow2 version 2 on a chain of qcow2", create: { version: "v2" }, backing: "chain" },
  { name: "qcow2 on a chain of qcow2, copying on reads", backing: "chain", copyOnRead: true },
  {
    name: "qcow2 with subclusters over a backing file, copying on reads",
    create: { extendedL2: true },
    backing: "raw",
    copyOnRead: true,
  },
  { name: "qcow2 with a data file", dataFile: "plain" },
  { name: "qcow2 with a raw data file", dataFile: "raw" },
];

/** In memory where the system has that: flushing to a disk is not what these cases are about. */
const SCRATCH = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

/** Images below one of `size` bytes, with data here and there, and what opens them. */
async function makeBelow(directory: string, kind: "raw" | "chain", size: number): Promise<DeviceSpec> {
  const raw = join(directory, "base.raw");
  writeFileSync(raw, Buffer.alloc(size - 70_144, 0x77));
  let below: DeviceSpec = { driver: "file", filename: raw, readOnly: true };
  if (kind === "raw") return below;
  for (const [index, clusterSize] of [512, 65_536].entries()) {
    const filename = join(directory, `layer${index}.qcow2`);
    const length = size - 40_960 + 20_480 * index;
    await createImage(filename, length, { clusterSize });
    const file = { driver: "file", filename };
    await withImage(
      file,
      async ({ edge }) => {
        for (let at = index * 7_000; at + 3_000 < length; at += 90_001 + index * 11_003) {
          await edge.write(at, [Buffer.alloc(3_000, 0x81 + index)]);
          await edge.writeZeroes(at + 1_000, 777);
        }
        await edge.writeZeroes(Math.floor(length / 2), 70_000, { unmap: true });
      },
      { backing: below },
    );
    below = { driver: "qcow2", readOnly: true, file: { ...file, readOnly: true }, backing: below };
  }
  return below;
}

/** Images in a directory of their own; afterwards each must be in order. */
function subject(variant: Variant): ConformanceSubject {
  const { name, create = {}, backing, dataFile } = variant;
  const faults =
    variant.faults === "always" || (variant.faults === "long" && process.env["BLOCKMIRROR_LONG"] === "1");
  return {
    name,
    registry: createDefaultRegistry,
    features: { persistent: true, startsZero: backing === undefined, sizeUnit: 512, faults },
    storage: async (size) => {
      const directory = mkdtempSync(join(SCRATCH, "blockmirror-qcow2-"));
      const file = join(directory, "disk.qcow2");
      const data = { driver: "file", filename: join(directory, "disk.data") };
      if (dataFile !== undefined) writeFileSync(data.filename, "");
      await createImage(file, size, {
        ...create,
        ...(dataFile !== undefined && { dataFile: data, dataFileRaw: dataFile === "raw" }),
      });
      const below = backing === undefined ? undefined : await makeBelow(directory, backing, size);
      const image = {
        driver: "qcow2",
        file: { driver: "file", filename: file },
        ...(below !== undefined && { backing: below }),
        ...(dataFile !== undefined && { dataFile: data }),
      };
      return {
        spec: variant.copyOnRead === true ? { driver: "copy-on-read", file: image } : image,
        dispose: async () => {
          try {
            const report = await checkFile(file);
            assert.equal(report.corruptions, 0, "corruptions found by a check afterwards");
            if (!faults) assert.equal(report.leaks, 0, "leaks found by a check afterwards");
          } finally {
            rmSync(directory, { recursive: true });
          }
        },
      };
    },
  };
}

await runConformance(VARIANTS.map(subject));
