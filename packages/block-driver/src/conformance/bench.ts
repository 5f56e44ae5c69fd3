import assert from "node:assert/strict";
import type { DeviceInfo } from "../contract/device.ts";
import type { DeviceSpec } from "../contract/options.ts";
import { createDefaultRegistry } from "../default-registry.ts";
import { BlockError, type BlockErrorCode } from "../errors.ts";
import { BlockGraph } from "../graph/graph.ts";
import type { BlockEdge, BlockNode } from "../graph/node.ts";
import { ALL_PERMISSIONS } from "../graph/permissions.ts";
import { constrainedDriver } from "./constrained-driver.ts";
import { ContentModel } from "./content-model.ts";
import type { ConformanceSubject, PreparedDisk } from "./subject.ts";

/** Size in bytes of the disks of a subject that says nothing. */
export const DEFAULT_DISK_SIZE: number = 1024 * 1024;

/** One disk of a subject on the workbench: in a graph of its own, with one user that may do everything. */
export class Bench {
  readonly subject: ConformanceSubject;
  readonly graph: BlockGraph;
  readonly disk: PreparedDisk;
  /** Opens the disk; cases that put something below it change a copy. */
  readonly spec: DeviceSpec;
  #open: { readonly node: BlockNode; readonly edge: BlockEdge } | undefined;

  /** Benches are made by {@link withBench}. */
  constructor(subject: ConformanceSubject, graph: BlockGraph, disk: PreparedDisk) {
    this.subject = subject;
    this.graph = graph;
    this.disk = disk;
    this.spec = disk.spec;
  }

  /** The node of the disk. */
  get node(): BlockNode {
    return this.#opened.node;
  }

  /** The user of the disk. */
  get edge(): BlockEdge {
    return this.#opened.edge;
  }

  /** Facts of the device as they are now. */
  get info(): DeviceInfo {
    return this.node.info;
  }

  /** The unit of the device's allocation, or something like it where it has none. */
  get unit(): number {
    return this.info.align.allocation === 0 ? 4096 : this.info.align.allocation;
  }

  /** What a new disk of this size reads as. */
  model(): ContentModel {
    const { size } = this.info;
    const content = this.subject.content?.(size) ?? new Uint8Array(size);
    assert.equal(content.byteLength, size, "the subject's content has the size of its disk");
    return new ContentModel(content);
  }

  /** Opens the disk, by its own spec or another. */
  async open(spec: DeviceSpec = this.spec): Promise<void> {
    const node = await this.graph.open(spec);
    try {
      const claim = node.info.readOnly || !node.info.can.write ? (["read"] as const) : ALL_PERMISSIONS;
      this.#open = {
        node,
        edge: this.graph.attach(node, { name: "conformance kit", uses: claim, shares: ALL_PERMISSIONS }),
      };
    } catch (error) {
      await this.graph.close(node);
      throw error;
    }
  }

  /** Closes the disk; the graph and the nodes that the subject opened stay. */
  async close(): Promise<void> {
    const { node, edge } = this.#opened;
    this.#open = undefined;
    await this.graph.detach(edge);
    await this.graph.close(node);
  }

  /** Closes the disk and opens it again. */
  async reopen(spec: DeviceSpec = this.spec): Promise<void> {
    await this.close();
    await this.open(spec);
  }

  /** Reads a range into one buffer. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    // Never zero beforehand: a driver that leaves the buffer alone where there is a hole would pass.
    const bytes = new Uint8Array(length).fill(0xee);
    await this.edge.read(offset, [bytes]);
    return bytes;
  }

  /** Compares the whole device with the model. */
  async verify(model: ContentModel, what: string): Promise<void> {
    assert.equal(this.info.size, model.size, `${what}: the size`);
    const step = 1024 * 1024;
    for (let at = 0; at < model.size; at += step) {
      const length = Math.min(step, model.size - at);
      model.check(at, await this.read(at, length), what);
    }
  }

  get #opened(): { readonly node: BlockNode; readonly edge: BlockEdge } {
    if (this.#open === undefined) throw new Error("the disk is not open");
    return this.#open;
  }
}

/** Runs `work` on a new disk and cleans up after it, whatever happens. */
export async function withBench(
  subject: ConformanceSubject,
  size: number,
  work: (bench: Bench) => Promise<void>,
): Promise<void> {
  const registry = createDefaultRegistry().register(constrainedDriver);
  subject.register?.(registry);
  const graph = new BlockGraph({ registry, ...(subject.gate !== undefined && { gate: subject.gate }) });
  let disk: PreparedDisk | undefined;
  try {
    disk = await subject.prepare(graph, size);
    await work(new Bench(subject, graph, disk));
  } finally {
    // A device that met an injected failure may say so once more; the case has judged it already.
    await graph.closeAll().catch(() => {});
    await disk?.dispose?.();
  }
}

/** Expects the request to be refused with one of these codes, and hands the error back. */
export async function refuses(
  what: string,
  codes: readonly BlockErrorCode[],
  request: () => unknown,
): Promise<BlockError> {
  const error = await errorOf(request);
  assert.ok(error !== undefined, `${what} must be refused with ${codes.join(" or ")}, but succeeds`);
  assert.ok(error instanceof BlockError, `${what} must be refused with a BlockError, not ${String(error)}`);
  assert.ok(
    codes.includes(error.code),
    `${what} must be refused with ${codes.join(" or ")}, not ${error.code}: ${error.message}`,
  );
  return error;
}

/** What a request throws or rejects with; undefined when it succeeds. */
export async function errorOf(request: () => unknown): Promise<unknown> {
  try {
    await request();
    return undefined;
  } catch (error) {
    return error ?? new Error("rejected with nothing");
  }
}
