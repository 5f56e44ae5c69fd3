import type { BlockEdge } from "../../../src/index.ts";
import type { ContentModel } from "../../../src/conformance/content-model.ts";
import { Random } from "../../../src/conformance/random.ts";

/** Size of the disk that the killed writer writes to. */
export const DISK_SIZE: number = 8 * 1024 * 1024;

/** Operation `number` of a sequence that a seed decides, so that writer and judge know it without talking. */
export class SequenceOperation {
  readonly #kind: "write" | "zero" | "unmap" | "discard";
  readonly #offset: number;
  readonly #length: number;
  readonly #data: Uint8Array;

  constructor(seed: number, number: number) {
    const random = new Random(seed * 100_003 + number);
    this.#kind = random.pick(["write", "write", "write", "write", "zero", "unmap", "discard"] as const);
    this.#length = 1 + random.below(random.below(4) === 0 ? 300_000 : 20_000);
    this.#offset = random.below(DISK_SIZE - this.#length);
    this.#data = new Uint8Array(this.#length).fill(1 + random.below(255));
  }

  async run(edge: BlockEdge): Promise<void> {
    if (this.#kind === "write") await edge.write(this.#offset, [this.#data]);
    else if (this.#kind === "discard") await edge.discard(this.#offset, this.#length);
    else await edge.writeZeroes(this.#offset, this.#length, { unmap: this.#kind === "unmap" });
  }

  /** It is done; `info` is that of the node. */
  apply(model: ContentModel, info: BlockEdge["info"]): void {
    if (this.#kind === "write") model.write(this.#offset, this.#data);
    else if (this.#kind === "discard") model.discard(this.#offset, this.#length, info);
    else model.zero(this.#offset, this.#length);
  }

  /** It may have been done, in part or not at all. */
  mayApply(model: ContentModel, info: BlockEdge["info"]): void {
    if (this.#kind === "write") model.mayWrite(this.#offset, this.#data);
    else if (this.#kind === "discard") model.mayDiscard(this.#offset, this.#length, info);
    else model.mayZero(this.#offset, this.#length);
  }
}
