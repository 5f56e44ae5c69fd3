import { createFileDriver, DriverRegistry, faultDriver, rawDriver } from "../../src/index.ts";
import { inFile, runConformance } from "./subjects.ts";

const features = { persistent: true };
const baseline = (): DriverRegistry =>
  new DriverRegistry()
    .register(createFileDriver({ native: false }))
    .register(rawDriver)
    .register(faultDriver);

await runConformance([
  { name: "file", features, storage: inFile() },
  { name: "raw over file", features, storage: inFile((file) => ({ driver: "raw", file })) },
  { name: "file without native help", features, registry: baseline, storage: inFile() },
  {
    name: "raw over file without native help",
    features,
    registry: baseline,
    storage: inFile((file) => ({ driver: "raw", file })),
  },
]);
