import type { FakeJobScript } from "../../src/job-source/fake-job.ts";
import type { FakeJobSource } from "../../src/job-source/fake-job-source.ts";

const MiB = 2 ** 20;
const GiB = 2 ** 30;

function nodes(name: string, size: number): Pick<FakeJobScript, "source" | "target"> {
  return {
    source: { name: "node0", driver: "qcow2", size, filename: `/var/lib/images/${name}.qcow2` },
    target: { name: "node1", driver: "qcow2", size, filename: `/mnt/new-array/${name}-copy.qcow2` },
  };
}

/** Jobs in every interesting condition after a few simulated seconds. */
const sampleJobs: readonly FakeJobScript[] = [
  {
    id: "vm-database",
    size: 64 * GiB,
    copyRateBytesPerSec: 412 * MiB,
    dirtyRateBytesPerSec: 18 * MiB,
    copiedShare: 0.42,
    sparseShare: 0.1,
    ...nodes("database", 64 * GiB),
  },
  {
    id: "vm-mail-archive-2019",
    size: 20 * GiB,
    copyRateBytesPerSec: 300 * MiB,
    speed: 50 * MiB,
    copiedShare: 0.17,
    ...nodes("mail-archive-2019", 20 * GiB),
  },
  {
    id: "vm-web-01",
    size: 8 * GiB,
    copyRateBytesPerSec: 250 * MiB,
    dirtyRateBytesPerSec: 2 * MiB,
    copiedShare: 0.99,
    ...nodes("web-01", 8 * GiB),
  },
  {
    id: "vm-queue",
    size: 16 * GiB,
    copyRateBytesPerSec: 80 * MiB,
    dirtyRateBytesPerSec: 120 * MiB,
    copiedShare: 0.6,
    ...nodes("queue", 16 * GiB),
  },
  {
    id: "vm-build",
    size: 40 * GiB,
    copyRateBytesPerSec: 200 * MiB,
    copiedShare: 0.73,
    failure: { atShare: 0.731, action: "stop", ioStatus: "nospace" },
    ...nodes("build", 40 * GiB),
  },
  {
    id: "snapshot-commit",
    type: "commit",
    size: 2 * GiB,
    copyRateBytesPerSec: 900 * MiB,
    copiedShare: 0.5,
    autoFinalize: false,
    ...nodes("overlay", 2 * GiB),
  },
  {
    id: "vm-legacy",
    size: 4 * GiB,
    copyRateBytesPerSec: 200 * MiB,
    copiedShare: 0.3,
    failure: {
      atShare: 0.31,
      action: "report",
      operation: "read",
      error: { code: "EIO", message: "read of source failed at offset 1.2 GiB; check the disk" },
    },
    ...nodes("legacy", 4 * GiB),
  },
];

/** Adds {@link sampleJobs} to a source. */
export function addSampleJobs(source: FakeJobSource): void {
  for (const script of sampleJobs) source.add(script);
}
