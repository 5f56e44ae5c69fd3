import type { JobControl } from "@blockmirror/blockjob";
import { BackOff } from "./back-off.ts";
import type { FailedSide } from "./copy-engine-init.ts";
import type { ResolvedTuning } from "./options.ts";

/** A wait for a retry is cut into pieces of this, in milliseconds, so that a cancel is noticed. */
const SLICE_MS = 100;

/** What a {@link Failures} works with. */
export interface FailuresInit {
  readonly tuning: Pick<ResolvedTuning, "onSourceError" | "onTargetError">;
  /** The job; undefined before it runs. */
  readonly control: () => JobControl | undefined;
  /** How much was copied so far. */
  readonly copiedBytes: () => number;
  /** Told when an error is the end of the job. */
  readonly onFatal: () => void;
}

/** What the errors of a job lead to, by its policies: its end, a stop, or a retry that is not tried too soon. */
export class Failures {
  readonly #init: FailuresInit;
  readonly #backOff = new BackOff();
  #isClosed = false;
  #first: { readonly error: unknown } | undefined;

  constructor(init: FailuresInit) {
    this.#init = init;
  }

  /** Whether an error has been the end of the job. */
  get any(): boolean {
    return this.#first !== undefined;
  }

  /** @throws the error that is the end of the job, if there was one. */
  check(): void {
    if (this.#first !== undefined) throw this.#first.error;
  }

  /** The job is over; what fails from now on is nobody's concern. */
  close(): void {
    this.#isClosed = true;
  }

  /** An operation failed on one side; what it handled is dirty again. */
  note(side: FailedSide, error: unknown): void {
    if (this.#isClosed) return;
    const { tuning, onFatal } = this.#init;
    const control = this.#init.control();
    const policy = side === "read" ? tuning.onSourceError : tuning.onTargetError;
    const action = control?.handleError(error, { operation: side, policy }) ?? "report";
    if (action === "report") {
      // The first error is the job's; later ones are its echo (mirror rule S17.2).
      this.#first ??= { error };
      onFatal();
    } else if (action === "ignore") {
      this.#backOff.fail(control?.clock.now() ?? 0, this.#init.copiedBytes());
    }
  }

  /** Whether it is too early for a retry. */
  delayRetry({ clock }: JobControl): boolean {
    return this.#backOff.isWaiting(clock.now());
  }

  /** Waits for the time of the next retry, or a part of it. */
  async awaitRetry(job: JobControl): Promise<void> {
    await job.sleep(Math.min(SLICE_MS, this.#backOff.remainingMs(job.clock.now())));
  }
}
