import { realpath } from "node:fs/promises";
import path from "node:path";
import {
  backingChain,
  BlockError,
  skipFilters,
  type BlockGraph,
  type BlockNode,
  type NamedBacking,
} from "@blockmirror/block-driver";
import { BackingChange } from "./backing-change.ts";
import { namesClosedBacking } from "./initial-scan.ts";
import type { ResolvedTuning } from "./options.ts";

/** What a {@link TargetBacking} is made from. */
export interface TargetBackingInit {
  readonly graph: BlockGraph;
  readonly tuning: Pick<ResolvedTuning, "sync" | "backingMode">;
  readonly source: BlockNode;
  readonly target: BlockNode;
  /** The node that the target takes the place of, where that is not the source. */
  readonly replaces: BlockNode | undefined;
}

/**
 * What the target stands on, by the job's backing mode. With `source-chain` that is, for sync `full`, nothing; for `top` the
 * source's backing node, from the start, so that what the copy leaves out is never taken for zeroes; and for `none` the source
 * itself, from the moment when its users have left it.
 */
export class TargetBacking {
  readonly #init: TargetBackingInit;
  readonly #image: BlockNode;
  readonly #change: BackingChange;
  /** What the target is to stand on; null: nothing; undefined: what it stands on already. */
  readonly #wanted: BlockNode | null | undefined;

  /** @throws BlockError `EINVAL` when the target cannot stand on what it has to, or not record it. */
  constructor(init: TargetBackingInit) {
    this.#init = init;
    this.#image = skipFilters(init.target);
    this.#change = new BackingChange(init.graph.changing(), this.#image);
    this.#wanted = wantedBacking(init);
    this.#check();
  }

  /**
   * While the job runs the target does not show what it does not hold: it cannot fill the rest of a cluster, and only whole
   * ones may be written to it (mirror rules S9.1 and S10.1).
   */
  get isClosed(): boolean {
    if (isNode(this.#wanted)) return this.#comesLast;
    return namesClosedBacking(this.#image);
  }

  /** Before anything is copied. @throws BlockError as `BlockGraph.setBacking`. */
  async begin(): Promise<void> {
    if (!this.#comesLast && isNode(this.#wanted)) await this.#change.lead(this.#wanted);
  }

  /** When completing is asked for. @throws BlockError whatever opening the backing file that the target records meets. */
  async ready(): Promise<void> {
    if (this.#init.tuning.backingMode === "open-chain") await this.#change.openRecorded();
  }

  /** The copy is complete: the target records what it stands on afterwards. `switches`: users are led to it. */
  async finish(switches: boolean): Promise<void> {
    const wanted = this.#wanted;
    if (wanted === undefined || (this.#comesLast && !switches)) return;
    if (wanted === null) {
      if (this.#image.info.namedBacking !== undefined) await this.#change.record(null);
      if (this.#image.child("backing") !== undefined) await this.#change.lead(null);
      return;
    }
    const name = await nameToRecord(this.#image, wanted);
    if (name !== undefined) await this.#change.record(name);
  }

  /** The users of the source are led to the target, and held. @throws BlockError as `BlockGraph.setBacking`. */
  async switched(): Promise<void> {
    if (this.#comesLast && isNode(this.#wanted)) await this.#change.lead(this.#wanted);
  }

  /** Before the users are led back to what the target stands on. */
  letGo(): void {
    if (this.#comesLast) this.#change.letGo();
  }

  /** The job did not succeed. @throws BlockError whatever putting the target back meets. */
  async undo(): Promise<void> {
    await this.#change.undo();
  }

  /** The job is over. */
  async settle(): Promise<void> {
    await this.#change.settle();
  }

  get #comesLast(): boolean {
    const { sync, backingMode } = this.#init.tuning;
    return backingMode === "source-chain" && sync === "none";
  }

  #check(): void {
    const { graph, source, target } = this.#init;
    const wanted = this.#wanted;
    if (wanted === undefined) return;
    const { driver, namedBacking } = this.#image.info;
    if (isNode(wanted)) {
      const takesBacking =
        graph.registry.has(driver) && graph.registry.get(driver).options.fields["backing"] !== undefined;
      if (!takesBacking) {
        throw refusal(
          target,
          `target '${target.name}' is ${driver}, which cannot stand on '${wanted.name}'; use qcow2, or sync full`,
        );
      }
      if (backingChain(source).includes(this.#image)) {
        throw refusal(
          target,
          `target '${target.name}' is below '${source.name}' and cannot stand on '${wanted.name}'`,
        );
      }
    }
    if (namedBacking !== undefined && this.#image.device.changeBackingFile === undefined) {
      throw refusal(
        target,
        `target '${target.name}' records a backing file, and its driver ${driver} cannot change that; use another backing mode`,
      );
    }
  }
}

function wantedBacking({ tuning, source, replaces }: TargetBackingInit): BlockNode | null | undefined {
  if (tuning.backingMode !== "source-chain") return undefined;
  if (tuning.sync === "none") return replaces ?? source;
  return tuning.sync === "top" ? (skipFilters(source).child("backing")?.node ?? null) : null;
}

function isNode(wanted: BlockNode | null | undefined): wanted is BlockNode {
  return wanted !== undefined && wanted !== null;
}

/**
 * What the image should record for `backing`: undefined when it does so already, or when there is no name to record. A name
 * that leads to the same file stays as it is, relative or not.
 */
async function nameToRecord(image: BlockNode, backing: BlockNode): Promise<NamedBacking | undefined> {
  const { filename } = backing.info;
  const named = image.info.namedBacking?.filename;
  if (filename === undefined || filename === named) return undefined;
  if (named !== undefined && image.info.filename !== undefined) {
    const recorded = path.resolve(path.dirname(image.info.filename), named);
    if ((await realName(recorded)) === (await realName(filename))) return undefined;
  }
  return { filename, format: skipFilters(backing).info.driver };
}

async function realName(filename: string): Promise<string> {
  try {
    return await realpath(filename);
  } catch {
    // Not a file, or not here: then the name is all there is to compare.
    return filename;
  }
}

function refusal(target: BlockNode, message: string): BlockError {
  return new BlockError("EINVAL", message, { node: target.name, operation: "mirror" });
}
