import { mkdtempSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  ALL_PERMISSIONS,
  BlockGraph,
  createDefaultRegistry,
  directoryGate,
  type BlockNode,
} from "@blockmirror/block-driver";
import { JobManager } from "@blockmirror/blockjob";
import { expect } from "vitest";
import { startMirror, type Mirror, type MirrorTuning } from "../../src/index.ts";
import { MIB } from "./rig.ts";

/** Bytes of the disk in every image. */
export const SIZE = 8 * MIB;

/** Images in files, and a graph to open them in. */
export class Images {
  readonly directory = mkdtempSync(path.join(tmpdir(), "blockmirror-sync-"));
  readonly graph = new BlockGraph({ registry: createDefaultRegistry(), gate: directoryGate() });
  readonly jobs = new JobManager();

  path(name: string): string {
    return path.join(this.directory, name);
  }

  async create(name: string, options: Readonly<Record<string, unknown>> = {}): Promise<void> {
    writeFileSync(this.path(name), "");
    const file = { driver: "file", filename: this.path(name) };
    await this.graph.create("qcow2", { file, size: SIZE, ...options });
  }

  createRaw(name: string): void {
    writeFileSync(this.path(name), "");
    truncateSync(this.path(name), SIZE);
  }

  /** What a guest would read, from end to end. */
  async content(node: BlockNode): Promise<Buffer> {
    const bytes = Buffer.alloc(node.size);
    const edge = this.graph.attach(node, { name: "look", uses: ["read"], shares: ALL_PERMISSIONS });
    await edge.read(0, [bytes]);
    await this.graph.detach(edge);
    return bytes;
  }

  open(name: string, options: Readonly<Record<string, unknown>> = {}): Promise<BlockNode> {
    const driver = name.endsWith(".raw") ? "raw" : "qcow2";
    const file = { driver: "file", filename: this.path(name) };
    return this.graph.open({ driver, file, ...options });
  }

  /** Fills ranges of a node. */
  async fill(node: BlockNode, ranges: readonly (readonly [offset: number, length: number, value: number])[]) {
    const edge = this.graph.attach(node, { name: "fill", uses: ["write"], shares: ["read"] });
    for (const [offset, length, value] of ranges) await edge.write(offset, [Buffer.alloc(length, value)]);
    await edge.flush();
    await this.graph.detach(edge);
  }

  /** Mirrors, waits for READY, and finishes the copy without switching. */
  async copy(source: BlockNode, target: BlockNode, tuning: MirrorTuning): Promise<Mirror> {
    const mirror = await this.ready(source, target, tuning);
    mirror.job.cancel();
    expect(await mirror.job.done).toEqual({ outcome: "completed" });
    return mirror;
  }

  /** Mirrors until READY, or the end if that comes first. */
  async ready(
    source: BlockNode,
    target: BlockNode,
    tuning: MirrorTuning,
    replaces?: BlockNode,
  ): Promise<Mirror> {
    const { graph, jobs } = this;
    const ready = new Promise<void>((resolve) => {
      jobs.subscribe(({ event }) => {
        if (event === "BLOCK_JOB_READY") resolve();
      });
    });
    const mirror = await startMirror({
      id: "m0",
      graph,
      jobs,
      source,
      target,
      autoDismiss: false,
      ...(replaces !== undefined && { replaces }),
      ...tuning,
    });
    await Promise.race([ready, mirror.job.done]);
    return mirror;
  }

  async close(): Promise<void> {
    await this.jobs.close();
    await this.graph.closeAll();
  }
}
