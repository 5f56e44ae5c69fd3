import { inMemory, runConformance, testRegistry } from "./subjects.ts";

await runConformance([
  { name: "memory", storage: inMemory() },
  { name: "raw over memory", storage: inMemory((file) => ({ driver: "raw", file })) },
  {
    name: "raw window into memory",
    storage: async (size) => ({
      spec: { driver: "raw", offset: 1000, size, file: { driver: "memory", size: size + 5000 } },
    }),
  },
  { name: "fault without rules", storage: inMemory((file) => ({ driver: "fault", file })) },
  {
    name: "raw over fault",
    storage: inMemory((file) => ({ driver: "raw", file: { driver: "fault", file } })),
  },
  {
    name: "the pattern of the README",
    registry: testRegistry,
    features: { startsZero: false },
    storage: async (size) => ({ spec: { driver: "pattern", size } }),
  },
]);
