import { isWellFormedJobId, type JobManager } from "@blockmirror/blockjob";
import { commandError, type QmpInteger } from "@blockmirror/qmp";
import { safeInteger } from "../safe-integer.ts";

/** Arguments that every command which starts a job takes. */
export interface JobArguments {
  readonly "job-id"?: string;
  readonly speed?: QmpInteger;
  readonly "auto-finalize"?: boolean;
  readonly "auto-dismiss"?: boolean;
}

/**
 * Checks the arguments of a new job. No node here has a guest's device above it that could lend the job its name, so an
 * id has to be given.
 *
 * @throws QmpError of class `GenericError`.
 */
export function jobOptions(
  args: JobArguments,
  jobs: JobManager,
): {
  readonly id: string;
  readonly speed: number;
  readonly autoFinalize: boolean;
  readonly autoDismiss: boolean;
} {
  const id = args["job-id"] ?? "";
  if (!isWellFormedJobId(id)) throw commandError(`Invalid job ID '${id}'`);
  if (jobs.find(id) !== undefined) throw commandError(`Job ID '${id}' already in use`);
  const speed = safeInteger("speed", args.speed ?? 0);
  if (speed < 0) throw commandError("Parameter 'speed' expects a non-negative value");
  return {
    id,
    speed,
    autoFinalize: args["auto-finalize"] ?? true,
    autoDismiss: args["auto-dismiss"] ?? true,
  };
}
