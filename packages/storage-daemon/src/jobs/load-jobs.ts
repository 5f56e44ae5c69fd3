import type * as copying from "@blockmirror/mirror";

/** The package of the jobs that copy. */
export type CopyingJobs = typeof copying;

/** Loads the jobs that copy: a daemon has to answer soon after its start, and its first job comes later. */
export function loadJobs(): Promise<CopyingJobs> {
  return import("@blockmirror/mirror");
}
