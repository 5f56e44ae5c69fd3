/**
 * Whether a job's driver can submit I/O, or change anything, at this moment. Drained sections wait for it to become quiet:
 * parked at a pause point, not executing at all, or draining by itself.
 *
 * From the moment when nothing but its end is to come, hooks of the driver follow each other, with nothing executing between
 * them: the job is not quiet then before it is over. Only for sections of those who are changing what it works on as well, it is
 * as before: they would wait for each other.
 */
export class Quiescence {
  readonly #waiters = new Set<{ readonly duringChange: boolean; readonly wake: () => void }>();
  #ending = false;
  #driverActive = false;
  #parked = false;
  #ownDrains = 0;

  /** `run` or `finalize` of the driver is executing, which includes sleeping and being parked. */
  get driverActive(): boolean {
    return this.#driverActive;
  }

  /** @param duringChange for a section of somebody who is in the middle of a change, too. */
  isQuiet(duringChange: boolean): boolean {
    if (this.#parked) return true;
    return (!this.#driverActive || this.#ownDrains > 0) && (duringChange || !this.#ending);
  }

  /** The job takes effect, or is undone: from now on, and until that is over. */
  setEnding(ending: boolean): void {
    this.#ending = ending;
    this.#tell();
  }

  setDriverActive(active: boolean): void {
    this.#driverActive = active;
    this.#tell();
  }

  setParked(parked: boolean): void {
    this.#parked = parked;
    this.#tell();
  }

  beginOwnDrain(): void {
    this.#ownDrains += 1;
    this.#tell();
  }

  endOwnDrain(): void {
    this.#ownDrains -= 1;
  }

  /** Resolves once quiet, or when {@link release} is called. */
  waitUntilQuiet(duringChange: boolean): Promise<void> {
    return new Promise<void>((wake) => {
      this.#waiters.add({ duringChange, wake });
    });
  }

  /** Nobody holds the job any more: whoever still waits for it to become quiet need not. */
  release(): void {
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const { wake } of waiters) wake();
  }

  #tell(): void {
    for (const waiter of this.#waiters) {
      if (!this.isQuiet(waiter.duringChange)) continue;
      this.#waiters.delete(waiter);
      waiter.wake();
    }
  }
}
