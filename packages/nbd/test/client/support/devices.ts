import {
  BlockGraph,
  createDefaultRegistry,
  type BlockEdge,
  type BlockNode,
  type DriverRegistry,
} from "@blockmirror/block-driver";
import { createNbdDriver, type NbdDriverInit } from "../../../src/index.ts";

/** The drivers of block-driver and ours. */
export function nbdRegistry(init?: NbdDriverInit): DriverRegistry {
  return createDefaultRegistry().register(createNbdDriver(init));
}

/** An open nbd node, and a user of it. */
export interface OpenNbd extends AsyncDisposable {
  readonly graph: BlockGraph;
  readonly node: BlockNode;
  readonly edge: BlockEdge;
}

/** Opens an nbd node; closing it is the caller's, and a close that fails is not an error of `await using`. */
export async function openNbd(
  options: Readonly<Record<string, unknown>>,
  init?: NbdDriverInit,
): Promise<OpenNbd> {
  const graph = new BlockGraph({ registry: nbdRegistry(init) });
  const node = await graph.open({ driver: "nbd", ...options });
  const uses = node.info.readOnly ? (["read"] as const) : (["read", "write"] as const);
  const edge = graph.attach(node, { name: "the test", uses: [...uses], shares: ["read"] });
  return {
    graph,
    node,
    edge,
    [Symbol.asyncDispose]: async () => {
      await graph.closeAll().catch(() => undefined);
    },
  };
}

/** Reads a range into a new buffer. */
export async function readBytes(edge: BlockEdge, offset: number, length: number): Promise<Uint8Array> {
  const buffer = new Uint8Array(length).fill(0x5a);
  await edge.read(offset, [buffer]);
  return buffer;
}
