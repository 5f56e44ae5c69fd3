/**
 * Whether a job's driver can submit I/O at this moment. Drained sections wait for it to become quiet: parked at a pause
 * point, not executing at all, or draining by itself.
 */
export class Quiescence {
  readonly #waiters = new Set<() => void>();
  #driverActive = false;
  #parked = false;
  #ownDrains = 0;

  /** `run` or `finalize` of the driver is executing, which includes sleeping and being parked. */
  get driverActive(): boolean {
    return this.#driverActive;
  }

  get isQuiet(): boolean {
    return !this.#driverActive || this.#parked || this.#ownDrains > 0;
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
  waitUntilQuiet(): Promise<void> {
    return new Promise<void>((resolve) => {
      this.#waiters.add(resolve);
    });
  }

  /** Nobody holds the job any more: whoever still waits for it to become quiet need not. */
  release(): void {
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const resolve of waiters) resolve();
  }

  #tell(): void {
    if (this.isQuiet) this.release();
  }
}
