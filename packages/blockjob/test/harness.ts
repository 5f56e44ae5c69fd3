import { FakeClock } from "@blockmirror/ratelimit";
import {
  type CompleteOptions,
  type Job,
  type JobControl,
  type JobDriver,
  type JobEvent,
  JobManager,
  type JobManagerOptions,
  type JobOptions,
  type JobStatus,
  JobTransaction,
} from "../src/index.ts";

/** A promise that the test settles. */
export interface Gate {
  readonly promise: Promise<void>;
  open(): void;
  fail(error: unknown): void;
}

function noop(): void {}

export function createGate(): Gate {
  let open: () => void = noop;
  let fail: (error: unknown) => void = noop;
  const promise = new Promise<void>((resolve, reject) => {
    open = resolve;
    fail = reject;
  });
  // A gate that fails before anybody waits at it is no unhandled rejection.
  promise.catch(() => {});
  return { promise, open, fail };
}

/** What the test wants the driver's `run` to do next; polled by it every 10 ms. */
export interface Orders {
  ready: boolean;
  finish: boolean;
  fail: Error | undefined;
}

/**
 * A job type like a mirror in miniature: works until ordered, finishes when complete or soft cancel is asked for in READY,
 * and logs every hook that is called.
 */
export class TestDriver implements JobDriver<{ readonly passes: number }> {
  readonly type: string = "test";
  readonly calls: string[] = [];
  readonly orders: Orders = { ready: false, finish: false, fail: undefined };
  readonly abortGate: Gate = createGate();
  readonly finalizeGate: Gate = createGate();
  readonly prepareGate: Gate = createGate();
  control: JobControl | undefined;
  passes = 0;

  constructor() {
    this.abortGate.open();
    this.finalizeGate.open();
    this.prepareGate.open();
  }

  async run(job: JobControl): Promise<void> {
    this.control = job;
    this.calls.push("run");
    for (;;) {
      if (this.orders.fail !== undefined) throw this.orders.fail;
      if (job.isForceCancelled) return;
      if (this.orders.ready && !job.isReady) job.transitionToReady();
      if (this.orders.finish) return;
      if (job.isReady && (job.isCompleteRequested || job.isCancelRequested)) return;
      this.passes += 1;
      await job.sleep(10);
    }
  }

  pause(): void | Promise<void> {
    this.calls.push("pause");
  }

  resume(): void {
    this.calls.push("resume");
  }

  userResume(): void {
    this.calls.push("userResume");
  }

  cancel(force: boolean): boolean {
    this.calls.push(`cancel(${force})`);
    return this.control?.isReady !== true;
  }

  complete(options: CompleteOptions): void | Promise<void> {
    this.calls.push(`complete(${JSON.stringify(options)})`);
  }

  setSpeed(bytesPerSec: number): void {
    this.calls.push(`setSpeed(${bytesPerSec})`);
  }

  change(options: Readonly<Record<string, unknown>>): void | Promise<void> {
    this.calls.push(`change(${JSON.stringify(options)})`);
  }

  async finalize(): Promise<void> {
    this.calls.push("finalize");
    await this.finalizeGate.promise;
  }

  async prepare(): Promise<void> {
    this.calls.push("prepare");
    await this.prepareGate.promise;
  }

  commit(): void | Promise<void> {
    this.calls.push("commit");
  }

  async abort(): Promise<void> {
    this.calls.push("abort");
    await this.abortGate.promise;
  }

  clean(): void | Promise<void> {
    this.calls.push("clean");
  }

  details(): { readonly passes: number } {
    return { passes: this.passes };
  }
}

/** A manager on a clock of the test, which remembers events. */
export class Bench {
  readonly clock: FakeClock = new FakeClock();
  readonly manager: JobManager;
  readonly events: JobEvent[] = [];

  constructor(options: JobManagerOptions = {}) {
    this.manager = new JobManager({ clock: this.clock, ...options });
    this.manager.subscribe((event) => {
      this.events.push(event);
    });
  }

  /** The job and its driver, not started. */
  create(options: JobOptions = {}): {
    readonly job: Job<{ readonly passes: number }>;
    readonly driver: TestDriver;
  } {
    const driver = new TestDriver();
    return { job: this.manager.create(driver, { id: "job0", ...options }), driver };
  }

  start(options: JobOptions = {}): {
    readonly job: Job<{ readonly passes: number }>;
    readonly driver: TestDriver;
  } {
    const made = this.create(options);
    made.job.start();
    return made;
  }

  /** What happened, short: statuses as they are, events by name. All jobs or one. */
  story(id?: string): string[] {
    const story: string[] = [];
    for (const event of this.events) {
      const of = "id" in event.data ? event.data.id : event.data.device;
      if (id !== undefined && id !== of) continue;
      story.push(event.event === "JOB_STATUS_CHANGE" ? event.data.status : event.event);
    }
    return story;
  }

  /** Brings a fresh job into a status that a job can be seen in. */
  async jobIn(
    status: Exclude<JobStatus, "undefined">,
  ): Promise<{ readonly job: Job; readonly driver: TestDriver }> {
    const transaction = new JobTransaction();
    const made = this.create({
      autoFinalize: status !== "pending",
      autoDismiss: status !== "concluded",
      transaction,
    });
    const { job, driver } = made;
    if (status === "created") return made;
    if (status === "waiting") this.start({ id: "peer", transaction });
    job.start();
    const { orders } = driver;
    if (status === "ready" || status === "standby") orders.ready = true;
    await this.clock.advance(20);
    if (status === "paused" || status === "standby") job.pause();
    if (status === "aborting") {
      Object.assign(driver, { abortGate: createGate() });
      orders.fail = new Error("broken");
    }
    if (["waiting", "pending", "concluded", "null"].includes(status)) orders.finish = true;
    await this.clock.advance(20);
    if (job.status !== status) throw new Error(`the job is ${job.status}, not ${status}`);
    return made;
  }
}
