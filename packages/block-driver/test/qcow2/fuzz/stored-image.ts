import {
  BlockGraph,
  createDefaultRegistry,
  type BlockEdge,
  type BlockNode,
  type DeviceSpec,
} from "../../../src/index.ts";
import { parent } from "../../support/graphs.ts";

/** Longest image that is looked at as a whole. */
const MOST_BYTES = 64 * 1024 * 1024;

/**
 * A file in memory, and the graph it is in. The gate of the graph refuses every name, and says which it was asked for:
 * nothing outside can be opened.
 */
export class StoredImage {
  readonly graph: BlockGraph;
  readonly asked: string[] = [];
  readonly #file: BlockNode;

  private constructor(graph: BlockGraph, file: BlockNode, asked: string[]) {
    this.graph = graph;
    this.#file = file;
    this.asked = asked;
  }

  static async of(bytes: Uint8Array): Promise<StoredImage> {
    const asked: string[] = [];
    const graph = new BlockGraph({
      registry: createDefaultRegistry(),
      gate: async ({ reference }) => {
        asked.push(reference.name);
        return { deny: "nothing is opened here" };
      },
    });
    const file = await graph.open({ driver: "memory", nodeName: "file", size: bytes.length });
    const image = new StoredImage(graph, file, asked);
    await image.use(async (edge) => {
      await edge.write(0, [bytes]);
    });
    return image;
  }

  /** What the file holds. */
  async bytes(): Promise<Uint8Array> {
    return this.use(async (edge) => {
      const bytes = new Uint8Array(Math.min(MOST_BYTES, edge.info.size));
      await edge.read(0, [bytes]);
      return bytes;
    });
  }

  /** Uses the file itself. */
  async use<T>(run: (edge: BlockEdge) => Promise<T>): Promise<T> {
    return this.#attached(this.#file, run);
  }

  /** Opens the image, uses it, closes it. */
  async open<T>(
    options: Partial<DeviceSpec>,
    run: (edge: BlockEdge, node: BlockNode) => Promise<T>,
  ): Promise<T> {
    const node = await this.graph.open({ ...options, driver: "qcow2", nodeName: "disk", file: "file" });
    try {
      return await this.#attached(node, (edge) => run(edge, node));
    } finally {
      await this.graph.close(node);
    }
  }

  async close(): Promise<void> {
    await this.graph.closeAll();
  }

  async #attached<T>(node: BlockNode, run: (edge: BlockEdge) => Promise<T>): Promise<T> {
    const uses = node.info.readOnly ? (["read"] as const) : (["read", "write", "resize"] as const);
    const edge = this.graph.attach(node, parent("fuzzer", { uses }));
    try {
      return await run(edge);
    } finally {
      await this.graph.detach(edge);
    }
  }
}
