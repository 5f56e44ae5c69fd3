import { PassThroughDevice, type DeviceSpec } from "../../src/index.ts";
import type { ConformanceSubject } from "../../src/conformance/index.ts";
import { inFile, inMemory, runConformance, testRegistry } from "./subjects.ts";

/** Everything the block layer can be asked to emulate is asked of it by some `strict` device. */
const everything = {
  flush: true,
  fua: true,
  writeZeroes: "fast",
  unmap: true,
  discard: "zeroes",
  resize: "both",
};
const strict =
  (options: Readonly<Record<string, unknown>>) =>
  (file: DeviceSpec): DeviceSpec => ({ driver: "strict", later: true, ...options, file });

const blocks512 = strict({
  can: { ...everything, fua: false },
  align: { read: 512, write: 512, zero: 512, discard: 4096 },
});
const blocks4096 = strict({
  can: everything,
  align: { read: 4096, write: 4096, zero: 8192, discard: 4096 },
  max: { transfer: 8192, iovecs: 3 },
});
const filtered: Pick<ConformanceSubject, "wrap"> = {
  wrap: (graph, node) =>
    graph.insertFilter(node, {
      nodeName: "filter",
      device: (child) => new PassThroughDevice("pass", child),
    }),
};

await runConformance(
  [
    { name: "blocks of 512 bytes", storage: inMemory(blocks512) },
    { name: "blocks of 4096 bytes, small transfers and vectors", storage: inMemory(blocks4096) },
    {
      name: "blocks of 4096 bytes below raw",
      features: { sizeUnit: 4096 },
      storage: inMemory((file) => ({ driver: "raw", file: blocks4096(file) })),
    },
    { name: "only the required members and write", storage: inMemory(strict({})) },
    { name: "only the required members", storage: inMemory(strict({ can: { write: false } })) },
    {
      name: "zero writes announced and refused",
      storage: inMemory(strict({ can: { writeZeroes: "slow" }, zeroRefuses: true })),
    },
    { name: "memory below a filter", storage: inMemory(), ...filtered },
    { name: "blocks of 512 bytes below a filter", storage: inMemory(blocks512), ...filtered },
    { name: "file below a filter", storage: inFile(), features: { persistent: true }, ...filtered },
  ].map((subject) => ({ registry: testRegistry, ...subject })),
);
