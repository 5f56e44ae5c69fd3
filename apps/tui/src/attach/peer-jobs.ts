import type { BlockJobEventData, JobEvent, JobSnapshot } from "../job-source/job-source.ts";
import type { ExtraDetails } from "./extra-details.ts";
import type { PeerJob } from "./peer-answers.ts";
import { jobOf } from "./peer-events.ts";
import { isPaused, peerJobSnapshot } from "./peer-job-snapshot.ts";
import type { JobSides } from "./peer-nodes.ts";

/** Jobs that ended and that the peer has forgotten are shown until dismissed, but not without bound. */
const MOST_ENDED = 100;

interface Entry {
  job: PeerJob;
  readonly firstSeenMs: number;
  updatedAtMs: number;
  errorCount: number;
  /** Sides whose errors it was seen to ignore. */
  readonly ignores: Set<"read" | "write">;
  pausedMs: number;
  sides: JobSides | undefined;
  extra: ExtraDetails;
  /** How it ended, by the event that told so. */
  outcome: { readonly cancelled: boolean; readonly data: BlockJobEventData } | undefined;
  endedMs: number | undefined;
  /** The peer knows it no more; only we still show it. */
  forgotten: boolean;
  /** The user dismissed it: when the peer knows it no more, neither do we. */
  dismissed: boolean;
}

/**
 * The jobs of one peer as answers and events tell them. Most peers forget a job the moment it ends; here it stays, with
 * its outcome, until it is dismissed.
 */
export class PeerJobs {
  readonly #endpoint: string;
  readonly #entries = new Map<string, Entry>();

  /** @param endpoint - name of the peer, for the snapshots. */
  constructor(endpoint: string) {
    this.#endpoint = endpoint;
  }

  /** Takes an answer about all jobs. */
  update(jobs: readonly PeerJob[], nowMs: number): void {
    const present = new Set(jobs.map(({ id }) => id));
    for (const job of jobs) this.#take(job, nowMs);
    for (const [id, entry] of this.#entries) {
      if (present.has(id) || entry.forgotten) continue;
      if (entry.outcome === undefined || entry.dismissed) this.#entries.delete(id);
      else this.#remember(entry, nowMs);
    }
    this.#dropOldest();
  }

  /** Takes an event. An end that it tells is kept for when the peer forgets the job. */
  note(event: JobEvent): void {
    const entry = this.#entries.get(jobOf(event));
    if (entry === undefined || entry.forgotten) return;
    // What it says next must not contradict what has been heard.
    if (event.event === "JOB_STATUS_CHANGE" && event.data.status !== "null") {
      entry.job = { ...entry.job, status: event.data.status };
    }
    if (event.event === "BLOCK_JOB_ERROR") {
      entry.errorCount += 1;
      if (event.data.action === "ignore") entry.ignores.add(event.data.operation);
    }
    if (event.event === "BLOCK_JOB_COMPLETED") end(entry, { cancelled: false, data: event.data });
    if (event.event === "BLOCK_JOB_CANCELLED") end(entry, { cancelled: true, data: event.data });
  }

  /** Takes what is known about the images of jobs. */
  describe(sides: ReadonlyMap<string, JobSides>): void {
    for (const [id, entry] of this.#entries) entry.sides = sides.get(id) ?? entry.sides;
  }

  /** Takes what only our own daemon tells. */
  enrich(details: ReadonlyMap<string, ExtraDetails>): void {
    for (const [id, entry] of this.#entries) entry.extra = details.get(id) ?? {};
  }

  /** True when there were jobs, and all have ended as far as was heard. */
  get allEnded(): boolean {
    const entries = [...this.#entries.values()];
    return (
      entries.length > 0 &&
      entries.every(({ job, outcome }) => outcome !== undefined || job.status === "concluded")
    );
  }

  /** The peer has ended: it knows no job any more, and those that have ended are only ours to show. */
  peerEnded(nowMs: number): void {
    for (const entry of this.#entries.values()) {
      if (entry.outcome !== undefined) this.#remember(entry, nowMs);
      entry.forgotten ||= entry.job.status === "concluded";
    }
  }

  /** True when a job is shown whose images nobody has asked for yet. */
  get lacksSides(): boolean {
    return [...this.#entries.values()].some((entry) => entry.sides === undefined && !entry.forgotten);
  }

  /** The peer's last word on a job; undefined when there is none, or when only we still show it. */
  find(id: string): PeerJob | undefined {
    const entry = this.#entries.get(id);
    return entry === undefined || entry.forgotten ? undefined : entry.job;
  }

  /** Takes away a job that only we still show. False when it is not one of those. */
  forget(id: string): boolean {
    return this.#entries.get(id)?.forgotten === true && this.#entries.delete(id);
  }

  /** The peer has accepted to forget a job, so that it need not be remembered here. */
  dismissed(id: string): void {
    const entry = this.#entries.get(id);
    if (entry !== undefined) entry.dismissed = true;
  }

  snapshot(id: string, nowMs: number): JobSnapshot | undefined {
    const entry = this.#entries.get(id);
    return entry === undefined ? undefined : this.#snapshotOf(entry, nowMs);
  }

  list(nowMs: number): readonly JobSnapshot[] {
    return Array.from(this.#entries.values(), (entry) => this.#snapshotOf(entry, nowMs));
  }

  #snapshotOf(entry: Entry, nowMs: number): JobSnapshot {
    const snapshot = peerJobSnapshot(entry.job, entry, this.#endpoint, entry.updatedAtMs, nowMs);
    return { ...snapshot, ...entry.extra };
  }

  #take(job: PeerJob, nowMs: number): void {
    const known = this.#entries.get(job.id);
    if (known === undefined || known.forgotten) {
      // A new job took the name of one that ended.
      this.#entries.delete(job.id);
      this.#entries.set(job.id, {
        job,
        firstSeenMs: nowMs,
        updatedAtMs: nowMs,
        errorCount: 0,
        ignores: new Set(),
        pausedMs: 0,
        sides: undefined,
        extra: {},
        outcome: undefined,
        endedMs: job.status === "concluded" ? nowMs : undefined,
        forgotten: false,
        dismissed: false,
      });
      return;
    }
    if (isPaused(known.job)) known.pausedMs += nowMs - known.updatedAtMs;
    if (job.status === "concluded") known.endedMs ??= nowMs;
    known.job = job;
    known.updatedAtMs = nowMs;
  }

  #remember(entry: Entry, nowMs: number): void {
    if (entry.outcome === undefined) return;
    end(entry, entry.outcome);
    entry.job = { ...entry.job, status: "concluded", busy: false, paused: false, ready: false };
    entry.endedMs ??= nowMs;
    entry.updatedAtMs = nowMs;
    entry.forgotten = true;
  }

  #dropOldest(): void {
    const ended = [...this.#entries].filter(([, entry]) => entry.forgotten);
    for (const [id] of ended.slice(0, Math.max(0, ended.length - MOST_ENDED))) this.#entries.delete(id);
  }
}

/** Notes how a job ended at once: a peer that ends with its job answers no more, and the job must not look done. */
function end(entry: Entry, outcome: NonNullable<Entry["outcome"]>): void {
  const { cancelled, data } = outcome;
  entry.outcome = outcome;
  entry.job = {
    ...entry.job,
    offset: data.offset,
    length: data.len,
    error: cancelled ? "Operation canceled" : data.error,
  };
}
