import assert from "node:assert/strict";
import { inspect } from "node:util";
import type { DeviceInfo } from "../contract/device.ts";
import type { DeviceSpec } from "../contract/options.ts";
import { createDefaultRegistry } from "../default-registry.ts";
import { BlockError, type BlockErrorCode } from "../errors.ts";
import { BlockGraph } from "../graph/graph.ts";
import type { OpenGate } from "../graph/gate.ts";
import type { BlockEdge, BlockNode } from "../graph/node.ts";
import type { DriverRegistry } from "../registry.ts";

/** Storage made for one case. */
export interface ConformanceStorage {
  /** How it is opened, by a registry of the subject. */
  readonly spec: DeviceSpec;
  /** Takes it away after the case. */
  readonly dispose?: () => Promise<void> | void;
}

/** What a driver promises beyond what its `info` announces. */
export interface ConformanceFeatures {
  /** Opening the same spec again finds what was written. Default false. */
  readonly persistent?: boolean;
  /** New storage reads as zeroes. Default true. */
  readonly startsZero?: boolean;
  /** It can be opened with `readOnly`. Default true. */
  readonly readOnly?: boolean;
  /** It can be resized to multiples of this many bytes. Default: its block size, but at least 512. */
  readonly sizeUnit?: number;
  /**
   * The requests to its `file` child may be failed one by one. Default true. It takes part when the spec has an inline
   * `file`.
   */
  readonly faults?: boolean;
}

/** A driver to be tested, and how. */
export interface ConformanceSubject {
  /** For the names of the cases. */
  readonly name: string;
  /** Makes new storage of that size; called at least once per case. A format may round the size up. */
  readonly storage: (size: number) => Promise<ConformanceStorage>;
  /** Makes the registry to open with. Default: the drivers of this package. */
  readonly registry?: () => DriverRegistry;
  /** For images that name other images. Default: none is opened. */
  readonly gate?: OpenGate;
  /** Puts something above the node, through which all cases then run. */
  readonly wrap?: (graph: BlockGraph, node: BlockNode) => Promise<BlockNode>;
  readonly features?: ConformanceFeatures;
  /** Size of the storage in bytes. Default 266240, which is 65 x 4096. At least 65536. */
  readonly size?: number;
  /** Seed of all random choices. Default: `BLOCKMIRROR_SEED` from the environment, else 1. */
  readonly seed?: number;
}

/** One case: `run` resolves when it passes and rejects with an `AssertionError` (or what the driver threw) otherwise. */
export interface ConformanceCase {
  /** `subject: group: what is checked`; unique among the cases of a subject. */
  readonly name: string;
  readonly run: () => Promise<void>;
}

/** How a specimen is opened. */
export interface SpecimenInit {
  readonly readOnly?: boolean;
  /** Changes the spec before it is opened. */
  readonly change?: (spec: DeviceSpec) => DeviceSpec;
}

export const DEFAULT_SIZE: number = 65 * 4096;

/** What sizes of the device have to be multiples of. */
export function sizeUnit(subject: ConformanceSubject, info: DeviceInfo): number {
  return subject.features?.sizeUnit ?? Math.max(info.align.read, info.align.write, 512);
}

/** The seed of a subject's cases. */
export function seedOf(subject: ConformanceSubject): number {
  return subject.seed ?? Number(process.env["BLOCKMIRROR_SEED"] ?? 1);
}

/** A disk of the subject, open in a graph of its own, and a user of it. */
export class Specimen {
  readonly subject: ConformanceSubject;
  readonly graph: BlockGraph;
  /** The node that cases look at: the subject's, or what `wrap` put above it. */
  readonly node: BlockNode;
  readonly edge: BlockEdge;

  private constructor(subject: ConformanceSubject, graph: BlockGraph, node: BlockNode) {
    this.subject = subject;
    this.graph = graph;
    this.node = node;
    this.edge = graph.attach(node, {
      name: "the conformance kit",
      uses: node.info.readOnly ? ["read"] : ["read", "write", "resize"],
      shares: ["read"],
    });
  }

  /** Opens storage. Leaves nothing open when it fails. */
  static async open(
    subject: ConformanceSubject,
    storage: ConformanceStorage,
    init: SpecimenInit = {},
  ): Promise<Specimen> {
    const registry = (subject.registry ?? createDefaultRegistry)();
    const graph = new BlockGraph({ registry, ...(subject.gate !== undefined && { gate: subject.gate }) });
    const spec = init.change === undefined ? storage.spec : init.change(storage.spec);
    const node = await graph.open({ ...spec, ...(init.readOnly === true && { readOnly: true }) });
    try {
      const top = subject.wrap === undefined ? node : await subject.wrap(graph, node);
      return new Specimen(subject, graph, top);
    } catch (error) {
      await graph.closeAll();
      throw error;
    }
  }

  /** Reads a range into one new buffer. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    const buffer = new Uint8Array(length).fill(0x5a);
    await this.edge.read(offset, [buffer]);
    return buffer;
  }

  async close(): Promise<void> {
    await this.graph.closeAll();
  }
}

/** Makes storage, opens it, runs the case, and cleans up whatever happens. */
export async function withSpecimen(
  subject: ConformanceSubject,
  run: (specimen: Specimen, storage: ConformanceStorage) => Promise<void>,
  init: SpecimenInit = {},
): Promise<void> {
  await withStorage(subject, async (storage) => {
    const specimen = await Specimen.open(subject, storage, init);
    try {
      await run(specimen, storage);
    } finally {
      await specimen.close();
    }
  });
}

/** Makes storage, runs the case, and takes the storage away. */
export async function withStorage(
  subject: ConformanceSubject,
  run: (storage: ConformanceStorage) => Promise<void>,
): Promise<void> {
  const storage = await subject.storage(subject.size ?? DEFAULT_SIZE);
  try {
    await run(storage);
  } finally {
    await storage.dispose?.();
  }
}

/** Runs a case of random choices; its failure names the seed. */
export async function seeded(seed: number, run: (seed: number) => Promise<void>): Promise<void> {
  try {
    await run(seed);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    throw new assert.AssertionError({
      message: `with BLOCKMIRROR_SEED=${seed}: ${text}${error instanceof BlockError ? ` (${error.code})` : ""}`,
      ...(error instanceof assert.AssertionError && { actual: error.actual, expected: error.expected }),
    });
  }
}

/** Asserts that the request fails with that code, thrown or rejected. */
export async function rejects(
  codes: BlockErrorCode | readonly BlockErrorCode[],
  what: string,
  run: () => unknown,
): Promise<void> {
  const error = await caught(run);
  assert.ok(error !== undefined, `${what} should fail, but it succeeds`);
  assert.ok(
    error instanceof BlockError,
    `${what} should fail with a BlockError, not with: ${inspect(error)}`,
  );
  assert.ok(codes.includes(error.code), `${what} should fail with ${String(codes)}, not with ${error.code}`);
}

/** What a request failed with, thrown or rejected; undefined when it succeeded. */
export async function caught(run: () => unknown): Promise<unknown> {
  try {
    await run();
    return undefined;
  } catch (error) {
    return error ?? new Error("nothing");
  }
}

/** Asserts that two buffers are equal and says where they differ. */
export function sameBytes(actual: Uint8Array, expected: Uint8Array, what: string, offset = 0): void {
  assert.equal(actual.byteLength, expected.byteLength, what);
  if (Buffer.compare(actual, expected) === 0) return;
  const at = actual.findIndex((byte, index) => byte !== expected[index]);
  assert.fail(`${what}: byte ${offset + at} is ${String(actual[at])}, expected ${String(expected[at])}`);
}
