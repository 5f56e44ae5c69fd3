import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import assert from "node:assert/strict";
import type { ConformanceSubject } from "../../../src/conformance/index.ts";
import { runConformance } from "../../conformance/subjects.ts";
import { checkFile } from "../support/check.ts";
import { createImage } from "../support/create.ts";
import { createDefaultRegistry } from "../../../src/index.ts";

interface Variant {
  readonly name: string;
  readonly create?: Readonly<Record<string, unknown>>;
  /** Over a raw backing file that is shorter than the image. */
  readonly backing?: boolean;
  readonly dataFile?: "plain" | "raw";
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
  { name: "qcow2 with clusters of 4 KiB over a backing file", create: { clusterSize: 4096 }, backing: true },
  { name: "qcow2 with clusters of 2 MiB", create: { clusterSize: 2 * 1024 * 1024 } },
  { name: "qcow2 with subclusters", create: { clusterSize: 16384, extendedL2: true }, faults: "long" },
  { name: "qcow2 with subclusters over a backing file", create: { extendedL2: true }, backing: true },
  { name: "qcow2 version 2", create: { version: "v2", clusterSize: 4096 } },
  { name: "qcow2 version 2 over a backing file", create: { version: "v2" }, backing: true },
  { name: "qcow2 with a data file", dataFile: "plain" },
  { name: "qcow2 with a raw data file", dataFile: "raw" },
];

/** In memory where the system has that: flushing to a disk is not what these cases are about. */
const SCRATCH = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

/** Images in a directory of their own; afterwards each must be in order. */
function subject(variant: Variant): ConformanceSubject {
  const { name, create = {}, backing, dataFile } = variant;
  const faults =
    variant.faults === "always" || (variant.faults === "long" && process.env["BLOCKMIRROR_LONG"] === "1");
  return {
    name,
    registry: createDefaultRegistry,
    features: { persistent: true, startsZero: backing !== true, sizeUnit: 512, faults },
    storage: async (size) => {
      const directory = mkdtempSync(join(SCRATCH, "blockmirror-qcow2-"));
      const file = join(directory, "disk.qcow2");
      const data = { driver: "file", filename: join(directory, "disk.data") };
      const base = { driver: "file", filename: join(directory, "base.raw") };
      if (dataFile !== undefined) writeFileSync(data.filename, "");
      await createImage(file, size, {
        ...create,
        ...(dataFile !== undefined && { dataFile: data, dataFileRaw: dataFile === "raw" }),
      });
      if (backing === true) writeFileSync(base.filename, Buffer.alloc(size - 70_144, 0x77));
      return {
        spec: {
          driver: "qcow2",
          file: { driver: "file", filename: file },
          ...(backing === true && { backing: { ...base, readOnly: true } }),
          ...(dataFile !== undefined && { dataFile: data }),
        },
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
