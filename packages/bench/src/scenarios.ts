import { daemonStart } from "./daemon/start.ts";
import { hbitmap } from "./hbitmap/scenario.ts";
import { nbdGuestLatency } from "./nbd/guest-latency.ts";
import { nbdIdle } from "./nbd/idle.ts";
import { nbdMirrorToQemuNbd } from "./nbd/mirror-to-qemu-nbd.ts";
import { jobsAuto } from "./jobs/auto.ts";
import { jobsGuest, jobsWriteBlocking } from "./jobs/guest.ts";
import { jobsMany } from "./jobs/many.ts";
import { jobsCommit, jobsTop } from "./jobs/overlay.ts";
import { qcow2Copies } from "./qcow2/copies.ts";
import { qcow2Open } from "./qcow2/open.ts";
import {
  nbdCopyIn,
  nbdCopyOut,
  nbdQcow2Randread,
  nbdQcow2Randwrite,
  nbdRandread,
  nbdRandwrite,
} from "./nbd/serve.ts";
import { rawFull } from "./raw/full.ts";
import { rawLimited } from "./raw/limited.ts";
import { rawMemory } from "./raw/memory.ts";
import { rawSparse } from "./raw/sparse.ts";
import type { Scenario } from "./scenario.ts";

/** Everything `npm run bench` can measure, in the order it does. */
export const SCENARIOS: readonly Scenario[] = [
  rawFull,
  rawSparse,
  rawLimited,
  rawMemory,
  ...qcow2Copies,
  qcow2Open,
  daemonStart,
  jobsTop,
  jobsCommit,
  jobsGuest,
  jobsWriteBlocking,
  jobsAuto,
  jobsMany,
  nbdMirrorToQemuNbd,
  nbdRandread,
  nbdRandwrite,
  nbdQcow2Randread,
  nbdQcow2Randwrite,
  nbdCopyOut,
  nbdCopyIn,
  nbdGuestLatency,
  nbdIdle,
  hbitmap,
];
