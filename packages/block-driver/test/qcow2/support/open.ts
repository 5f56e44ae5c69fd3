import { BlockGraph, type BlockEdge, type BlockNode, type DeviceSpec } from "../../../src/index.ts";
import { recordingDriver } from "../../support/recording.ts";
import { createDefaultRegistry } from "../../../src/index.ts";

/** An open image and a guest that uses it. */
export interface OpenImage {
  readonly graph: BlockGraph;
  readonly node: BlockNode;
  readonly edge: BlockEdge;
  readonly close: () => Promise<void>;
}

/** Opens the image in a file, or in whatever `file` is; `options` are the driver's. */
export async function openImage(
  file: string | DeviceSpec,
  options: Readonly<Record<string, unknown>> = {},
): Promise<OpenImage> {
  const registry = createDefaultRegistry().register(recordingDriver);
  const graph = new BlockGraph({ registry });
  const spec = typeof file === "string" ? { driver: "file", filename: file } : file;
  const node = await graph.open({ driver: "qcow2", file: spec, ...options });
  const edge = graph.attach(node, {
    name: "guest",
    uses: node.info.readOnly ? ["read"] : ["read", "write", "resize"],
    shares: ["read"],
  });
  return { graph, node, edge, close: () => graph.closeAll() };
}

/** Opens, runs, and closes whatever happens. */
export async function withImage<T>(
  file: string | DeviceSpec,
  run: (image: OpenImage) => Promise<T>,
  options: Readonly<Record<string, unknown>> = {},
): Promise<T> {
  const image = await openImage(file, options);
  try {
    return await run(image);
  } finally {
    await image.close();
  }
}

export async function read(edge: BlockEdge, offset: number, length: number): Promise<Uint8Array> {
  const buffer = new Uint8Array(length).fill(0xee);
  await edge.read(offset, [buffer]);
  return buffer;
}
