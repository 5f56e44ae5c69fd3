import {
  BACKING_CLAIM,
  type BlockEdge,
  type BlockGraph,
  type BlockNode,
  type NamedBacking,
  NO_CLAIM,
} from "@blockmirror/block-driver";
import { everyStep } from "./every-step.ts";

/**
 * A change of what an image stands on, in the graph and in what the image records. Until it is settled it can be taken back,
 * as a whole.
 */
export class BackingChange {
  readonly #graph: BlockGraph;
  readonly #image: BlockNode;
  /** What the image stood on before it was led elsewhere, and what keeps that open: nobody else may need it. */
  #stood: { readonly on: BlockNode | null; readonly keeper: BlockEdge | undefined } | undefined;
  /** What the image recorded before. */
  #recorded: { readonly name: NamedBacking | null } | undefined;

  constructor(graph: BlockGraph, image: BlockNode) {
    this.#graph = graph;
    this.#image = image;
  }

  /** Makes the image record `name`, or nothing for null. @throws BlockError as `BlockGraph.changeBackingFile`. */
  async record(name: NamedBacking | null): Promise<void> {
    // Noted first: a step that fails may have reached the image all the same.
    this.#recorded ??= { name: this.#image.info.namedBacking ?? null };
    await record(this.#graph, this.#image, name);
  }

  /** Makes the image stand on `backing`, or on nothing for null. @throws BlockError as `BlockGraph.setBacking`. */
  async lead(backing: BlockNode | null): Promise<void> {
    this.#keep();
    await this.#graph.setBacking(this.#image, backing);
  }

  /** Makes the image stand on the file that it records. @throws BlockError as `BlockGraph.openBacking`. */
  async openRecorded(): Promise<void> {
    this.#keep();
    await this.#graph.openBacking(this.#image);
  }

  /** Others may change what the image stands on from now on, until the image is led back. */
  letGo(): void {
    const edge = this.#image.child("backing");
    if (edge !== undefined) this.#graph.reclaim(edge, NO_CLAIM);
  }

  /** Takes everything back. @throws BlockError whatever that meets. */
  async undo(): Promise<void> {
    const [stood, recorded] = [this.#stood, this.#recorded];
    this.#recorded = undefined;
    await everyStep([
      () => (stood === undefined ? undefined : this.#leadBack(stood.on)),
      () => (recorded === undefined ? undefined : record(this.#graph, this.#image, recorded.name)),
      () => this.settle(),
    ]);
  }

  /** There is no way back any more: what nobody else needs is closed. */
  async settle(): Promise<void> {
    const keeper = this.#stood?.keeper;
    this.#stood = undefined;
    this.#recorded = undefined;
    if (keeper !== undefined) await this.#graph.detach(keeper);
  }

  async #leadBack(to: BlockNode | null): Promise<void> {
    await this.#graph.setBacking(this.#image, to);
    const edge = this.#image.child("backing");
    if (edge !== undefined) this.#graph.reclaim(edge, BACKING_CLAIM);
  }

  #keep(): void {
    if (this.#stood !== undefined) return;
    const on = this.#image.child("backing")?.node ?? null;
    const parent = { name: `change of what '${this.#image.name}' stands on` };
    const keeper = on === null ? undefined : this.#graph.attach(on, { ...parent, ...NO_CLAIM });
    this.#stood = { on, keeper };
  }
}

/** Also for an image that was opened read-only. */
async function record(graph: BlockGraph, image: BlockNode, name: NamedBacking | null): Promise<void> {
  const { readOnly } = image.info;
  if (readOnly) await graph.reopen(image, { readOnly: false });
  try {
    if (image.device.changeBackingFile !== undefined) await graph.changeBackingFile(image, name);
  } finally {
    if (readOnly) await graph.reopen(image, { readOnly: true });
  }
}
