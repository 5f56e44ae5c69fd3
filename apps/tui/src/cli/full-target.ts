import { isNoSpace } from "@blockmirror/blockjob";
import type { EngineJob } from "../engine/engine-job.ts";

/**
 * What to do about a job that failed because its target is full; undefined for other failures.
 * @param again - how it is started again, behind "make room there".
 * @param policyFlag - the option that says what the job does about errors of its target.
 */
export function remedyForFullTarget(
  { request }: EngineJob,
  reason: Error | undefined,
  again: string,
  policyFlag: string,
): string | undefined {
  if (!isNoSpace(reason)) return undefined;
  // Where the job was past the point of a pause it had to fail, whatever was asked for.
  const pauses = request.onTargetError === "report" ? `; with ${policyFlag} enospc it pauses instead` : "";
  return `make room there${again}${pauses}`;
}
