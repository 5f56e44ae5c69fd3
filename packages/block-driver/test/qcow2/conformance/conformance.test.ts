import { runConformance } from "../../conformance/subjects.ts";
import { dataFileSubject, imageSubject, overlaySubject } from "./subjects.ts";

await runConformance([
  imageSubject("v3", {}),
  imageSubject("v2", { version: "v2" }),
  imageSubject("clusters of 512 bytes", { clusterSize: 512 }),
  imageSubject("clusters of 4 KiB, refcounts of 1 bit", { clusterSize: 4096, refcountBits: 1 }),
  imageSubject("clusters of 2 MiB, refcounts of 64 bits", { clusterSize: 2 * 1024 * 1024, refcountBits: 64 }),
  imageSubject("subclusters", { extendedL2: true, clusterSize: 16384 }),
  overlaySubject("overlay", { clusterSize: 4096 }),
  overlaySubject("overlay with subclusters", { extendedL2: true }),
  dataFileSubject("data file", false),
  dataFileSubject("raw data file", true),
]);
