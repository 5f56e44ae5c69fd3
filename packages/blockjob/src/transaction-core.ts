import type { JobCore } from "./job-core.ts";
import { RunControl } from "./run-control.ts";

/**
 * Where a transaction stands. `running`: some member still works, or all wait for `finalize`. `finalizing`: the drivers
 * catch up; can still be cancelled. `switching`: results take effect; no way back by verb. `aborting`: members are being
 * stopped. `settling`: ends are being told.
 */
type TransactionPhase = "running" | "finalizing" | "switching" | "aborting" | "settling";

/**
 * The course that the jobs of a transaction take together, from the start of each to the end of all: who waits for whom,
 * when results take effect, and who is taken down with whom.
 */
export class TransactionCore {
  readonly #members: JobCore[] = [];
  #phase: TransactionPhase = "running";
  #finalizeRequested = false;

  /** Number of jobs in it. */
  get size(): number {
    return this.#members.length;
  }

  /** Users are being switched: cancelling is over. */
  get isSwitching(): boolean {
    return this.#phase === "switching" || this.#phase === "settling";
  }

  /** @throws TypeError when the jobs in it are past their work already. */
  requireOpen(id: string): void {
    if (this.#phase !== "running" || this.#members.some((member) => member.runFinished)) {
      throw new TypeError(`job '${id}' cannot join a transaction whose jobs have ended`);
    }
  }

  /** A new member, after {@link requireOpen}. */
  add(core: JobCore): void {
    this.#members.push(core);
  }

  /** The member was discarded before it started. */
  remove(core: JobCore): void {
    this.#members.splice(this.#members.indexOf(core), 1);
    if (this.#phase === "running") this.#proceedWhenAllWait();
  }

  /** Enters `run`; returns when that reached its first wait. */
  start(core: JobCore): void {
    core.markStarted();
    core.transition("running");
    void this.#run(core, new RunControl(core, () => this.#finalizesAtOnce(core)));
  }

  #finalizesAtOnce(core: JobCore): boolean {
    return core.autoFinalize && this.#members.length === 1;
  }

  /** The `finalize` verb, from any member; the first one counts for all. */
  finalize(): void {
    if (this.#phase !== "running") return;
    this.#finalizeRequested = true;
    if (this.#members.every((member) => member.status === "pending")) void this.#finalizeAll();
  }

  /** A member failed or was force-cancelled and `run` will not tell: stop everybody, then undo. */
  abort(origin: JobCore): void {
    if (this.#phase !== "running" && this.#phase !== "finalizing") return;
    const isFinalizing = this.#phase === "finalizing";
    this.#phase = "aborting";
    this.#beginEnding();
    if (origin.failure !== undefined) origin.transition("aborting");
    this.#cancelOthers(origin);
    // The finalize hooks of the drivers are still executing; #finalizeAll goes on when they have noticed.
    if (!isFinalizing) this.#settleWhenAllStopped();
  }

  async #run(core: JobCore, control: RunControl): Promise<void> {
    core.quiescence.setDriverActive(true);
    try {
      // Without a pause to take, `run` is entered before `start` returns, so that its first steps precede any request.
      if (core.shouldPause) await control.pausePoint();
      if (!core.forceCancelled) await core.driver.run(control);
    } catch (error) {
      core.fail(error);
    }
    core.runFinished = true;
    core.pauseReasons.user = false;
    // Whoever waits for the job to become quiet would be told so between `run` and what follows it at once.
    if (core.outcome !== "completed" || this.#finalizesAtOnce(core)) core.quiescence.setEnding(true);
    core.quiescence.setDriverActive(false);
    this.#runEnded(core);
  }

  #runEnded(core: JobCore): void {
    if (this.#phase === "aborting") {
      this.#settleWhenAllStopped();
    } else if (core.outcome === "completed") {
      core.transition("waiting");
      this.#proceedWhenAllWait();
    } else {
      this.abort(core);
    }
  }

  /** All done: PENDING, and on to finalization unless somebody wants to decide when. */
  #proceedWhenAllWait(): void {
    const members = [...this.#members];
    if (members.length === 0 || this.#phase !== "running") return;
    if (!members.every((member) => member.status === "waiting")) return;
    for (const member of members) {
      member.transition("pending");
      // Listeners may call verbs: a force-cancel ends this here.
      if (this.#hasLeft("running")) return;
      if (!member.autoFinalize)
        member.emit({ event: "BLOCK_JOB_PENDING", data: { type: member.driver.type, id: member.id } });
      if (this.#hasLeft("running")) return;
    }
    if (this.#finalizeRequested || members.every((member) => member.autoFinalize)) void this.#finalizeAll();
  }

  async #finalizeAll(): Promise<void> {
    this.#phase = "finalizing";
    const members = [...this.#members];
    await this.#awaitRelease(members);
    await Promise.all(members.map((member) => this.#finalizeOne(member)));
    if (members.every((member) => member.outcome === "completed")) await this.#prepareAll(members);
    if (members.some((member) => member.outcome !== "completed")) await this.#settleAborted();
    else await this.#settleAll(members);
  }

  /**
   * Waits until no drained section holds any of them. Later nobody waits for one: it may be that of another member, which ends
   * with all of them, and whoever begins one waits. A job that is finalized at once may be held by its own.
   */
  async #awaitRelease(members: readonly JobCore[]): Promise<void> {
    const isHeld = (member: JobCore): boolean =>
      member.shouldPause && !member.forceCancelled && !this.#finalizesAtOnce(member);
    for (let held = members.find(isHeld); held !== undefined; held = members.find(isHeld)) {
      await held.wakeup.sleep(undefined);
    }
    this.#beginEnding();
  }

  #beginEnding(): void {
    for (const { quiescence } of this.#members) quiescence.setEnding(true);
  }

  async #finalizeOne(member: JobCore): Promise<void> {
    const { driver, quiescence } = member;
    if (driver.finalize === undefined || member.forceCancelled) return;
    quiescence.setDriverActive(true);
    try {
      await driver.finalize(new RunControl(member, () => true));
    } catch (error) {
      member.fail(error);
    }
    quiescence.setDriverActive(false);
    if (member.outcome !== "completed") this.abort(member);
  }

  async #prepareAll(members: readonly JobCore[]): Promise<void> {
    this.#phase = "switching";
    for (const member of members) {
      try {
        await member.driver.prepare?.();
      } catch (error) {
        member.fail(error);
        this.#cancelOthers(member);
        return;
      }
    }
  }

  #cancelOthers(origin: JobCore): void {
    for (const member of this.#members) {
      if (member !== origin && member.failure === undefined && !member.forceCancelled) {
        member.requestCancel(true);
      }
    }
  }

  #settleWhenAllStopped(): void {
    if (this.#members.every((member) => member.runFinished || !member.started)) void this.#settleAborted();
  }

  async #settleAborted(): Promise<void> {
    for (const member of this.#members) {
      member.runFinished = true;
      member.transition("aborting");
    }
    await this.#settleAll(this.#members);
  }

  async #settleAll(members: readonly JobCore[]): Promise<void> {
    this.#phase = "settling";
    for (const member of members) await member.settle();
  }

  /** Apart, because a call made since may have moved on and the compiler cannot know. */
  #hasLeft(phase: TransactionPhase): boolean {
    return this.#phase !== phase;
  }
}
