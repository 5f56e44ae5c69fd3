import { requirePeer, run } from "@blockmirror/peers";

/** What every fio of a test writes: `jobs` connections, each over its own stretch of `size` bytes, every block once. */
export interface Workload {
  readonly jobs: number;
  /** Bytes of each job. */
  readonly size: number;
  /** Bytes per second of each job; without, as fast as it can. */
  readonly rate?: number;
  readonly seed: number;
}

function workload({ jobs, size, seed }: Workload): readonly string[] {
  const place = [`--size=${size}`, `--offset_increment=${size}`, `--numjobs=${jobs}`, "--group_reporting"];
  const pattern = ["--rw=randwrite", "--bs=16k", `--randseed=${seed}`, "--randrepeat=1"];
  return ["--name=w", ...place, ...pattern, "--verify=crc32c", "--verify_fatal=1", "--thread"];
}

/** A fio that writes through an export, reads back what it wrote while it goes on, and once more at the end. */
export class Fio {
  /** Rejects when a block did not read back as it was written, or a request failed. */
  readonly done: Promise<void>;
  isRunning = true;

  constructor(uri: string, work: Workload, cwd: string) {
    const through = ["--ioengine=nbd", `--uri=${uri}`, "--iodepth=8"];
    const verify = ["--verify_backlog=64", "--do_verify=1", "--verify_state_save=0"];
    const rate = work.rate === undefined ? [] : [`--rate=${work.rate},${work.rate}`];
    this.done = run(requirePeer("fio"), [...workload(work), ...through, ...verify, ...rate], { cwd }).then(
      () => {
        this.isRunning = false;
      },
    );
    // It is awaited at the end of the test; failing earlier must not end the process.
    this.done.catch(() => undefined);
  }
}

/** Whether everything that such a fio wrote is in a raw image, as fio itself judges. */
export async function holdsAllOf(work: Workload, filename: string, cwd: string): Promise<boolean> {
  const check = ["--ioengine=psync", `--filename=${filename}`, "--verify_only=1", "--verify_state_load=0"];
  const { exitCode, stderr } = await run(requirePeer("fio"), [...workload(work), ...check], {
    cwd,
    // The number of jobs that failed.
    allowedExitCodes: Array.from({ length: work.jobs + 1 }, (_job, index) => index),
  });
  if (exitCode !== 0 && !stderr.includes("verify: bad")) throw new Error(`fio did not verify: ${stderr}`);
  return exitCode === 0;
}
