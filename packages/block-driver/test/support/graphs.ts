import { expect } from "vitest";
import {
  BlockError,
  BlockGraph,
  createDefaultRegistry,
  FaultController,
  type BlockEdge,
  type BlockErrorCode,
  type BlockNode,
  type OpenGate,
  type ParentInit,
} from "../../src/index.ts";
import { layerDriver } from "./layer.ts";
import { strictDriver } from "./strict.ts";

const KIB = 1024;

/** A graph that knows the drivers of this package, and the two made for tests. */
export function makeGraph(gate?: OpenGate): BlockGraph {
  const registry = createDefaultRegistry().register(layerDriver).register(strictDriver);
  return new BlockGraph({ registry, ...(gate !== undefined && { gate }) });
}

/** A parent that does everything and tolerates everything, unless it says otherwise. */
export function parent(name: string, init: Partial<ParentInit> = {}): ParentInit {
  return {
    name,
    uses: ["read", "write", "resize"],
    shares: ["read", "write", "write-unchanged", "resize"],
    ...init,
  };
}

export interface Disturbed {
  readonly graph: BlockGraph;
  readonly node: BlockNode;
  readonly edge: BlockEdge;
  readonly controller: FaultController;
}

/** A node `disk` (a fault filter over memory) whose requests can be held and failed, and one user of it. */
export async function disturbed(size = 64 * KIB): Promise<Disturbed> {
  const graph = makeGraph();
  const controller = new FaultController();
  const node = await graph.open({
    driver: "fault",
    nodeName: "disk",
    controller,
    file: { driver: "memory", size },
  });
  return { graph, node, controller, edge: graph.attach(node, parent("user")) };
}

/** Expects a {@link BlockError} of that code, thrown or rejected, and hands it back. */
export async function failure(code: BlockErrorCode, run: () => unknown): Promise<BlockError> {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    expect(error.code, error.message).toBe(code);
    return error;
  }
  throw new Error(`expected ${code}, but it succeeded`);
}

/** `length` bytes of `value`. */
export function filled(length: number, value: number): Uint8Array {
  return new Uint8Array(length).fill(value);
}

/** Reads a range of an edge into one buffer. */
export async function readBytes(edge: BlockEdge, offset: number, length: number): Promise<Uint8Array> {
  const buffer = new Uint8Array(length).fill(0xee);
  await edge.read(offset, [buffer]);
  return buffer;
}

/** Lets everything that can run without the outside world run. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await Promise.resolve();
}

/** Whether the promise has settled by now, after {@link settle}. */
export async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const note = (): void => {
    settled = true;
  };
  promise.then(note, note);
  await settle();
  return settled;
}
