import type { JobVerb } from "../job-source/job-source.ts";
import type { PeerJob } from "./peer-answers.ts";

/** A command with the arguments that name the job. */
export interface VerbCommand {
  readonly command: string;
  readonly args: Readonly<Record<string, unknown>>;
}

/** Since QEMU 3.0, for jobs of every kind. */
const JOB_COMMANDS: Readonly<Record<Exclude<JobVerb, "set-speed">, string>> = {
  pause: "job-pause",
  resume: "job-resume",
  complete: "job-complete",
  cancel: "job-cancel",
  finalize: "job-finalize",
  dismiss: "job-dismiss",
};

/**
 * The command for a verb. Cancelling a block job goes by `block-job-cancel`: only that can end a READY mirror and keep
 * its copy, where `job-cancel` always throws it away.
 * @param commands - what the peer has; undefined when that is not known yet.
 */
export function verbCommand(
  verb: JobVerb,
  job: PeerJob,
  commands: ReadonlySet<string> | undefined,
): VerbCommand {
  if (verb === "set-speed") return { command: "block-job-set-speed", args: { device: job.id } };
  if (verb === "cancel" && job.isBlockJob) return { command: "block-job-cancel", args: { device: job.id } };
  const command = JOB_COMMANDS[verb];
  if (commands === undefined || commands.has(command) || !job.isBlockJob) {
    return { command, args: { id: job.id } };
  }
  // Before 3.0 there were only block jobs, named by their device.
  const older = `block-${command}`;
  const byId = verb === "finalize" || verb === "dismiss";
  return { command: older, args: byId ? { id: job.id } : { device: job.id } };
}
