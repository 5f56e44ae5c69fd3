import {
  ALL_PERMISSIONS,
  BlockGraph,
  createDefaultRegistry,
  DRIVER_CONTRACT_VERSION,
  FaultController,
  MemoryDevice,
  option,
  optionSchema,
  PassThroughDevice,
  type BlockDriver,
  type BlockEdge,
  type BlockNode,
} from "@blockmirror/block-driver";
import { JobManager, type JobEvent } from "@blockmirror/blockjob";
import { FakeClock } from "@blockmirror/ratelimit";
import { startMirror, type Mirror, type MirrorOptions } from "../../src/index.ts";
import { LendingDevice, type CopyPolicy } from "./lending-device.ts";
import { SlowDevice } from "./slow-device.ts";

export const KIB = 1024;
export const MIB: number = 1024 * 1024;

/** How long each half of a request takes on a slow device, in milliseconds of the fake clock. */
export type Latency = () => number;

/** Settings of a {@link Rig}. */
export interface RigOptions {
  /** Bytes of source and target. */
  readonly size: number;
  /** Bytes of the target, where they differ. */
  readonly targetSize?: number;
  /** Latency of each half of each request; default none. */
  readonly latency?: Latency;
  readonly targetReadOnly?: boolean;
  /** Source and target can copy by themselves, as far as this says. Default: they cannot. */
  readonly copiesBelow?: CopyPolicy;
}

/**
 * A source and a target in memory, each below a fault filter and a slow filter, with a job manager on a fake clock.
 * Everything is deterministic.
 */
export class Rig {
  readonly clock = new FakeClock({ turnsPerStep: 3 });
  readonly events: JobEvent[] = [];
  readonly jobs: JobManager;
  readonly graph: BlockGraph;
  readonly sourceFaults: FaultController;
  readonly targetFaults: FaultController;
  readonly #options: RigOptions;
  #source: BlockNode | undefined;
  #target: BlockNode | undefined;

  constructor(options: RigOptions) {
    this.#options = options;
    this.jobs = new JobManager({ clock: this.clock });
    this.jobs.subscribe((event) => this.events.push(event));
    this.graph = new BlockGraph({ registry: createDefaultRegistry().register(this.#slowDriver()) });
    const timer = (delayMs: number): Promise<void> =>
      new Promise((resolve) => {
        this.clock.schedule(delayMs, resolve);
      });
    this.sourceFaults = new FaultController({ timer });
    this.targetFaults = new FaultController({ timer });
  }

  get source(): BlockNode {
    if (this.#source === undefined) throw new Error("open the rig first");
    return this.#source;
  }

  get target(): BlockNode {
    if (this.#target === undefined) throw new Error("open the rig first");
    return this.#target;
  }

  async open(): Promise<this> {
    const { size, targetSize = size, targetReadOnly = false } = this.#options;
    this.#source = await this.#openSide("source", size, this.sourceFaults, false);
    this.#target = await this.#openSide("target", targetSize, this.targetFaults, targetReadOnly);
    return this;
  }

  /** Starts a mirror from source to target as job `m0`. */
  mirror(options: Partial<MirrorOptions> = {}): Promise<Mirror> {
    return this.clock.run(
      startMirror({
        id: "m0",
        graph: this.graph,
        jobs: this.jobs,
        source: this.source,
        target: this.target,
        autoDismiss: false,
        ...options,
      }),
    );
  }

  /** Attaches a guest; attach it before the mirror starts, as a guest would be there first. */
  guest(node: BlockNode = this.source): BlockEdge {
    return this.graph.attach(node, { name: "guest", uses: ["read", "write"], shares: ALL_PERMISSIONS });
  }

  /** What is stored, read behind everybody's back. */
  content(side: "source" | "target"): Buffer {
    const device = this.memory(side);
    const bytes = Buffer.alloc(device.info.size);
    device.read(0, [bytes]);
    return bytes;
  }

  /** Puts bytes into the storage behind everybody's back, before a job starts. */
  fill(side: "source" | "target", offset: number, length: number, value: number): void {
    this.memory(side).write(offset, [Buffer.alloc(length, value)]);
  }

  memory(side: "source" | "target"): MemoryDevice {
    const device = this.graph.find(`${side}-memory`)?.device;
    if (!(device instanceof MemoryDevice)) throw new Error(`no memory device '${side}'`);
    return device;
  }

  /** Lets time pass until the promise settles. */
  run<T>(promise: Promise<T>, limitMs?: number): Promise<T> {
    return this.clock.run(promise, limitMs);
  }

  /** Lets time pass until an event of that name has come. */
  async until(name: JobEvent["event"]): Promise<void> {
    if (this.events.some((event) => event.event === name)) return;
    await this.clock.run(
      new Promise<void>((resolve) => {
        const unsubscribe = this.jobs.subscribe((event) => {
          if (event.event !== name) return;
          unsubscribe();
          resolve();
        });
      }),
    );
  }

  /** Names of the events so far, and the status of status changes. */
  history(): readonly string[] {
    return this.events.map((event) =>
      event.event === "JOB_STATUS_CHANGE" ? event.data.status : event.event,
    );
  }

  async #openSide(
    name: string,
    size: number,
    controller: FaultController,
    readOnly: boolean,
  ): Promise<BlockNode> {
    await this.graph.open({ driver: "memory", nodeName: `${name}-memory`, size });
    await this.graph.open({ driver: "fault", nodeName: `${name}-fault`, file: `${name}-memory`, controller });
    return this.graph.open({ driver: "slow", nodeName: name, file: `${name}-fault`, readOnly });
  }

  #pause(): Promise<void> {
    const delayMs = this.#options.latency?.() ?? 0;
    return new Promise((resolve) => {
      this.clock.schedule(delayMs, resolve);
    });
  }

  #slowDriver(): BlockDriver<{ readonly file: string | { readonly driver: string } }> {
    const { latency, copiesBelow } = this.#options;
    return {
      name: "slow",
      kind: "filter",
      contractVersion: DRIVER_CONTRACT_VERSION,
      options: optionSchema({ file: option.child("what is slow") }),
      open: async (options, context) => {
        const child = await context.openChild(options.file, "filtered");
        if (copiesBelow !== undefined) return new LendingDevice(child, copiesBelow, () => this.#pause());
        return latency === undefined
          ? new PassThroughDevice("slow", child)
          : new SlowDevice(child, () => this.#pause());
      },
    };
  }
}

/** A rig, opened. */
export function openRig(options: RigOptions): Promise<Rig> {
  return new Rig(options).open();
}

/** Deterministic numbers in [0, 1). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
