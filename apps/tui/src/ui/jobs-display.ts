import type { ExportSource } from "../exports/export-source.ts";
import type { JobSource } from "../job-source/job-source.ts";
import { countClients, ExportsModel, type ExportView } from "./model/export-view.ts";
import { freezeSample, JobsModel, type JobsSample, type JobView } from "./model/job-view.ts";
import { matchesFilter, sortJobs } from "./model/order.ts";
import type { UiState } from "./state/ui-state.ts";

const STALE_AFTER_MS = 10_000;

/** What is looked at, and what of it is shown: the latest samples, or frozen ones; filtered and in order. */
export class JobsDisplay {
  readonly #source: JobSource;
  readonly #model = new JobsModel();
  readonly #exportsModel: ExportsModel | undefined;
  #live: JobsSample = { atMs: 0, jobs: [] };
  #views: ReadonlyMap<string, JobView> = new Map();
  #frozen: JobsSample | undefined;
  #exports: readonly ExportView[] | undefined;
  #frozenExports: readonly ExportView[] | undefined;
  #visible: readonly JobView[] = [];

  constructor(source: JobSource, exports: ExportSource | undefined) {
    this.#source = source;
    if (exports !== undefined) this.#exportsModel = new ExportsModel(exports);
  }

  /** The latest view of every job, by id; freezing does not hold it. */
  get views(): ReadonlyMap<string, JobView> {
    return this.#views;
  }

  /** What is shown, unfiltered. */
  get sample(): JobsSample {
    return this.#frozen ?? this.#live;
  }

  /** What is shown, filtered and in order. */
  get visible(): readonly JobView[] {
    return this.#visible;
  }

  /** The exports that are shown; undefined when there is nothing that exports. */
  get exports(): readonly ExportView[] | undefined {
    return this.#frozenExports ?? this.#exports;
  }

  /** Ids of what is shown, in order. */
  get order(): string[] {
    return this.#visible.map((view) => view.snapshot.id);
  }

  /** Jobs that have not ended, shown or not. */
  get liveJobs(): number {
    return this.#live.jobs.filter((view) => !view.concluded).length;
  }

  /** Jobs whose target is a copy by now, if they are cancelled. */
  get readyJobs(): number {
    return this.#live.jobs.filter((view) => view.snapshot.ready && !view.concluded).length;
  }

  /** Clients of all exports. */
  get clients(): number {
    return countClients(this.#exports ?? []);
  }

  /** Looks at jobs and exports now. */
  look(nowMs: number): void {
    const { state } = this.#source.endpoint;
    const staleAfterMs = state === "dead" || state === "ended" ? -1 : STALE_AFTER_MS;
    this.#live = this.#model.sample(this.#source.list(), nowMs, staleAfterMs);
    this.#views = new Map(this.#live.jobs.map((view) => [view.snapshot.id, view]));
    this.#exports = this.#exportsModel?.sample(nowMs);
  }

  /** Holds what is shown as it is, or lets it go on. */
  freeze(frozen: boolean): void {
    this.#frozen = frozen ? freezeSample(this.#live) : undefined;
    this.#frozenExports = frozen ? this.#exports : undefined;
  }

  /** Filters and sorts what is shown. */
  arrange({ filter, sort }: Pick<UiState, "filter" | "sort">): void {
    const shown = this.sample.jobs;
    this.#visible = sortJobs(
      filter === "" ? shown : shown.filter((view) => matchesFilter(view, filter)),
      sort,
    );
  }
}
