import type { BlockEdge, BlockNode } from "@blockmirror/block-driver";
import type { Job, JobManager, JobOutcome } from "@blockmirror/blockjob";
import type { Mirror } from "@blockmirror/mirror";
import { commandError } from "@blockmirror/qmp";
import { loadJobs, type CopyingJobs } from "./load-jobs.ts";

/** What a job works on, by the names that QMP gives to the edges. */
export interface JobNodes {
  readonly source?: BlockNode;
  readonly target?: BlockNode;
}

/** A job as the daemon knows it. */
export interface JobEntry {
  readonly id: string;
  readonly job: Job;
  /** Block jobs are in `query-block-jobs`, have `block-job-` verbs and BLOCK_JOB events; creating an image is none. */
  readonly isBlockJob: boolean;
  readonly mirror: Mirror | undefined;
  /** How it ended; undefined before. */
  readonly outcome: JobOutcome | undefined;
  /** What QMP calls the job's edge to a node. */
  roleOf(node: BlockNode): string;
}

/** How the parents that jobs attach are named. */
const JOB_PARENT = /^[a-z-]+ job '(.*)'$/;

/** The jobs of a daemon, and what they work on. */
export class BlockJobs {
  readonly manager: JobManager;
  readonly #entries: Map<string, MutableEntry> = new Map();
  readonly #onEnd: () => Promise<void>;
  /** Commands that are about to start a job. */
  readonly #starting: Set<Promise<void>> = new Set();
  #isClosing = false;
  /** What follows the ends of jobs and is not over yet. */
  readonly #releasing: Set<Promise<void>> = new Set();

  /** @param onEnd called after each job's end, when its nodes are released; must not reject. */
  constructor(manager: JobManager, onEnd: () => Promise<void>) {
    this.manager = manager;
    this.#onEnd = onEnd;
    manager.subscribe(({ event, data }) => {
      if (event === "JOB_STATUS_CHANGE" && data.status === "null") this.#entries.delete(data.id);
    });
  }

  /** Keeps what is known of a job beyond what the manager knows, until it is gone. */
  register(
    job: Job,
    options: { readonly isBlockJob?: boolean; readonly mirror?: Mirror; readonly nodes?: JobNodes } = {},
  ): void {
    const entry = new MutableEntry(job, options.isBlockJob !== false, options.mirror, options.nodes ?? {});
    // A job may be over by the time that it is registered.
    if (this.manager.find(job.id) === job) this.#entries.set(job.id, entry);
    const releasing = job.done.then(async ({ outcome }) => {
      entry.outcome = outcome;
      await this.#onEnd();
      this.#releasing.delete(releasing);
    });
    this.#releasing.add(releasing);
  }

  /** @throws QmpError when the daemon ends: a job that began now would be cut off, or go on when all else has ended. */
  mustBeOpen(): void {
    if (this.#isClosing) throw commandError("No job can be started: the daemon ends");
  }

  /**
   * Runs a command that starts a job, when what makes jobs is loaded: nothing changes between the command's checks and the
   * start. @throws QmpError when the daemon ends; otherwise what the command throws.
   */
  async start(command: (jobs: CopyingJobs) => Promise<void>): Promise<void> {
    this.mustBeOpen();
    const starting = loadJobs().then(command);
    this.#starting.add(starting);
    try {
      await starting;
    } finally {
      this.#starting.delete(starting);
    }
  }

  /** Ends every job, those that are being started as well, and waits until their nodes are released. May be called again. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await this.manager.close();
    // One may have been waiting for guests' requests.
    await Promise.allSettled(this.#starting);
    await this.manager.close();
    await Promise.all(this.#releasing);
  }

  /** Every job that has not been dismissed, newest first. */
  list(): JobEntry[] {
    const entries: JobEntry[] = [];
    for (const job of this.manager.list().toReversed()) {
      const entry = this.#entries.get(job.id);
      entries.push(entry?.job === job ? entry : new MutableEntry(job, true, undefined, {}));
    }
    return entries;
  }

  /** @throws QmpError of class `GenericError`, which is what `job-` commands answer with. */
  find(id: string): JobEntry {
    const entry = this.list().find((each) => each.id === id);
    if (entry === undefined) throw commandError("Job not found");
    return entry;
  }

  /** @throws QmpError of class `DeviceNotActive`, which is what `block-job-` commands answer with. */
  findBlockJob(id: string): JobEntry {
    const entry = this.list().find((each) => each.id === id && each.isBlockJob);
    if (entry === undefined) throw commandError(`Block job '${id}' not found`, "DeviceNotActive");
    return entry;
  }

  /** The job whose edge this is, or undefined. */
  userOf(edge: BlockEdge): JobEntry | undefined {
    const id = JOB_PARENT.exec(edge.parentName)?.[1];
    return id === undefined ? undefined : this.list().find((entry) => entry.id === id);
  }

  /** The job that reads the node, so that the node may not go, or undefined. */
  blockerOf(node: BlockNode): JobEntry | undefined {
    for (const entry of this.list()) {
      if (entry.outcome === undefined && entry.roleOf(node) === "source") return entry;
    }
    return undefined;
  }
}

class MutableEntry implements JobEntry {
  readonly job: Job;
  readonly isBlockJob: boolean;
  readonly mirror: Mirror | undefined;
  readonly #nodes: JobNodes;
  outcome: JobOutcome | undefined;

  constructor(job: Job, isBlockJob: boolean, mirror: Mirror | undefined, nodes: JobNodes) {
    this.job = job;
    this.isBlockJob = isBlockJob;
    this.mirror = mirror;
    this.#nodes = nodes;
  }

  get id(): string {
    return this.job.id;
  }

  roleOf(node: BlockNode): string {
    if (node === this.#nodes.source) return "source";
    return node === this.#nodes.target ? "target" : "main node";
  }
}
