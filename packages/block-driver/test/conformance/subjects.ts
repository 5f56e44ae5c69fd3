import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, test } from "vitest";
import {
  conformanceCases,
  type ConformanceStorage,
  type ConformanceSubject,
} from "../../src/conformance/index.ts";
import { createDefaultRegistry, type DeviceSpec, type DriverRegistry } from "../../src/index.ts";
import { patternDriver } from "../examples/pattern.ts";
import { strictDriver } from "../support/strict.ts";

type Wrap = (file: DeviceSpec) => DeviceSpec;
const itself: Wrap = (file) => file;

/** The drivers of this package and those made for tests. */
export function testRegistry(): DriverRegistry {
  return createDefaultRegistry().register(strictDriver).register(patternDriver);
}

/** New memory disks, with something around them. */
export function inMemory(wrap: Wrap = itself): ConformanceSubject["storage"] {
  return async (size) => ({ spec: wrap({ driver: "memory", size }) });
}

/** New files, with something around them. */
export function inFile(wrap: Wrap = itself): ConformanceSubject["storage"] {
  return async (size): Promise<ConformanceStorage> => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), "blockmirror-conformance-"));
    const filename = path.join(directory, "disk.raw");
    fs.writeFileSync(filename, "");
    fs.truncateSync(filename, size);
    return {
      spec: wrap({ driver: "file", filename }),
      dispose: () => fs.rmSync(directory, { recursive: true }),
    };
  };
}

/** Turns the cases of subjects into tests. */
export async function runConformance(subjects: readonly ConformanceSubject[]): Promise<void> {
  for (const subject of subjects) {
    const cases = await conformanceCases(subject);
    describe(subject.name, () => {
      for (const { name, run } of cases) test(name, run);
    });
  }
}
