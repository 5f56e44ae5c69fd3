import type { Job, JobDriver, JobManager, JobOptions } from "@blockmirror/blockjob";

/**
 * A job that fails as soon as it runs. Some commands succeed and leave it to the job to find that it cannot work: clients
 * learn it from the job's events and its `error`.
 */
export function startFailingJob(jobs: JobManager, type: string, reason: string, options: JobOptions): Job {
  const driver: JobDriver = {
    type,
    run: () => Promise.reject(new Error(reason)),
  };
  const job = jobs.create(driver, options);
  job.start();
  return job;
}
