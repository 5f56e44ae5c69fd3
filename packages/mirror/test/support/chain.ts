import {
  ALL_PERMISSIONS,
  BlockGraph,
  createDefaultRegistry,
  FaultController,
  type BlockEdge,
  type BlockNode,
} from "@blockmirror/block-driver";
import { JobManager, type JobEvent } from "@blockmirror/blockjob";
import { FakeClock } from "@blockmirror/ratelimit";
import { startCommit, type CommitOptions, type Mirror } from "../../src/index.ts";

/** Sizes in bytes of the images of a {@link Chain}, from the base up. */
export interface ChainOptions {
  readonly base: number;
  readonly overlays: readonly number[];
  /** Default: the base is open for reading only, as a backing file is. */
  readonly baseReadOnly?: boolean;
  readonly topReadOnly?: boolean;
}

/**
 * qcow2 overlays `overlay0`, `overlay1` … on a raw `base`, all in memory, the storage of the base and of the top below a
 * fault filter. Jobs run on a fake clock.
 */
export class Chain {
  readonly clock = new FakeClock({ turnsPerStep: 3 });
  readonly jobs: JobManager = new JobManager({ clock: this.clock });
  readonly events: JobEvent[] = [];
  readonly graph = new BlockGraph({ registry: createDefaultRegistry() });
  readonly baseFaults = new FaultController();
  readonly topFaults = new FaultController();
  #top: BlockNode | undefined;

  constructor() {
    this.jobs.subscribe((event) => this.events.push(event));
  }

  get top(): BlockNode {
    if (this.#top === undefined) throw new Error("open the chain first");
    return this.#top;
  }

  get base(): BlockNode {
    return this.node("base");
  }

  async open(options: ChainOptions): Promise<this> {
    const { graph } = this;
    await graph.open({ driver: "memory", nodeName: "base-memory", size: options.base });
    await graph.open({
      driver: "fault",
      nodeName: "base-fault",
      controller: this.baseFaults,
      file: "base-memory",
    });
    await graph.open({
      driver: "raw",
      nodeName: "base",
      file: "base-fault",
      readOnly: options.baseReadOnly ?? true,
    });
    let below = "base";
    for (const [index, size] of options.overlays.entries()) {
      const nodeName = `overlay${index}`;
      const isTop = index === options.overlays.length - 1;
      await graph.open({ driver: "memory", nodeName: `${nodeName}-memory`, size: 0 });
      await graph.create("qcow2", { file: `${nodeName}-memory`, size });
      const file = isTop ? `${nodeName}-fault` : `${nodeName}-memory`;
      if (isTop) {
        const controller = this.topFaults;
        await graph.open({ driver: "fault", nodeName: file, controller, file: `${nodeName}-memory` });
      }
      this.#top = await graph.open({
        driver: "qcow2",
        nodeName,
        file,
        backing: below,
        ...(isTop && options.topReadOnly === true && { readOnly: true }),
      });
      below = nodeName;
    }
    return this;
  }

  node(name: string): BlockNode {
    const found = this.graph.find(name);
    if (found === undefined) throw new Error(`no node '${name}'`);
    return found;
  }

  /** Writes behind the jobs' back, before a job starts. */
  async fill(name: string, offset: number, length: number, value: number): Promise<void> {
    await this.node(name).write(offset, [Buffer.alloc(length, value)]);
  }

  guest(node: BlockNode = this.top): BlockEdge {
    return this.graph.attach(node, { name: "guest", uses: ["read", "write"], shares: ALL_PERMISSIONS });
  }

  commit(options: Partial<CommitOptions> = {}): Promise<Mirror> {
    return this.clock.run(
      startCommit({
        id: "c0",
        graph: this.graph,
        jobs: this.jobs,
        top: this.top,
        base: this.base,
        autoDismiss: false,
        ...options,
      }),
    );
  }

  run<T>(promise: Promise<T>, limitMs?: number): Promise<T> {
    return this.clock.run(promise, limitMs);
  }

  /** Lets time pass until an event of that name has come. */
  async until(name: JobEvent["event"]): Promise<void> {
    if (this.events.some((event) => event.event === name)) return;
    await this.run(
      new Promise<void>((resolve) => {
        const unsubscribe = this.jobs.subscribe((event) => {
          if (event.event !== name) return;
          unsubscribe();
          resolve();
        });
      }),
    );
  }

  /** What a node shows. */
  async content(node: BlockNode): Promise<Buffer> {
    const edge = this.graph.attach(node, { name: "look", uses: ["read"], shares: ALL_PERMISSIONS });
    const bytes = Buffer.alloc(node.size);
    await edge.read(0, [bytes]);
    await this.graph.detach(edge);
    return bytes;
  }
}

/** A chain, opened. */
export function openChain(options: ChainOptions): Promise<Chain> {
  return new Chain().open(options);
}
