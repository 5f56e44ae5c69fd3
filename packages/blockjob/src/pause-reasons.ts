/**
 * Why a job should pause. Reasons are kept apart, so that the end of one never lifts another; their sum is QEMU's pause
 * count. A job has to pause while the sum is above zero.
 */
export class PauseReasons {
  /** A job is created paused; starting it lifts this. */
  notStarted = true;
  /** The user's pause, or the stop on an error, which only the user lifts. At most one. */
  user = false;
  /** Drained sections that hold the job. */
  drains = 0;

  get count(): number {
    return (this.notStarted ? 1 : 0) + (this.user ? 1 : 0) + this.drains;
  }
}
