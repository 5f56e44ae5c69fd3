import type { BlockCommands, CommandHandlers } from "@blockmirror/qmp";
import type { DaemonParts } from "./daemon-parts.ts";
import { blockJobInfo, jobInfo } from "../jobs/job-info.ts";
import { safeInteger } from "../safe-integer.ts";

/** Looking at jobs, and their verbs under both of their names. */
export function jobCommands({ jobs }: DaemonParts): CommandHandlers<BlockCommands> {
  return {
    "query-jobs": () => jobs.list().map((entry) => jobInfo(entry)),
    "query-block-jobs": () =>
      jobs
        .list()
        .filter((entry) => entry.isBlockJob)
        .map((entry) => blockJobInfo(entry)),

    "job-pause": ({ id }) => jobs.find(id).job.pause(),
    "job-resume": ({ id }) => jobs.find(id).job.resume(),
    // Whoever wants the copy of a READY mirror and not the pivot says `block-job-cancel`: this one gives up.
    "job-cancel": ({ id }) => jobs.find(id).job.cancel({ force: true }),
    "job-complete": ({ id }) => jobs.find(id).job.complete(),
    "job-finalize": ({ id }) => jobs.find(id).job.finalize(),
    "job-dismiss": ({ id }) => jobs.find(id).job.dismiss(),

    "block-job-pause": ({ device }) => jobs.findBlockJob(device).job.pause(),
    "block-job-resume": ({ device }) => jobs.findBlockJob(device).job.resume(),
    "block-job-cancel": ({ device, force }) =>
      jobs.findBlockJob(device).job.cancel({ force: force ?? false }),
    "block-job-complete": ({ device }) => jobs.findBlockJob(device).job.complete(),
    "block-job-finalize": ({ id }) => jobs.findBlockJob(id).job.finalize(),
    "block-job-dismiss": ({ id }) => jobs.findBlockJob(id).job.dismiss(),
    "block-job-set-speed": ({ device, speed }) =>
      jobs.findBlockJob(device).job.setSpeed(safeInteger("speed", speed)),
    "block-job-change": ({ id, "copy-mode": copyMode }) => jobs.findBlockJob(id).job.change({ copyMode }),
  };
}
