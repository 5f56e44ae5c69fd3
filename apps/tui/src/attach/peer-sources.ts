import type { ImageFormat } from "../images/image-format.ts";
import type { JobNode } from "../job-source/job-source.ts";
import { describeNodes, readBlockGraph, readDrives } from "./peer-nodes.ts";
import type { QmpPeer } from "./qmp-peer.ts";

/** Drivers of QEMU that show their only child's content unchanged. */
const FILTERS: ReadonlySet<string> = new Set([
  "blkdebug",
  "compress",
  "copy-on-read",
  "preallocate",
  "throttle",
]);
/** Drivers of QEMU that images begin with; others reach the storage of these. */
const FORMATS: ReadonlySet<string> = new Set([...FILTERS, "raw", "qcow2"]);
/** Filters above each other that are looked through; an odd peer's nodes may lead in a circle. */
const MOST_FILTERS = 32;

/** What a mirror on a peer can copy. */
export interface PeerSource {
  /** The node that its name means. */
  readonly node: JobNode;
  /** The format of its image, below filters, where a new file can have it as well. */
  readonly format: ImageFormat;
  /** What the image stands on; undefined for nothing. */
  readonly backing: JobNode | undefined;
  /** The peer tells what its nodes stand on. */
  readonly tellsBacking: boolean;
}

/** The disks of a peer, by the names of nodes or, of machines, of their drives. */
export class PeerSources {
  readonly #peer: QmpPeer;

  constructor(peer: QmpPeer) {
    this.#peer = peer;
  }

  /** What `name` means to the peer, or undefined. */
  async find(name: string): Promise<PeerSource | undefined> {
    const nodes = await this.#nodes();
    const node = nodes.get(name) ?? nodes.get((await this.#drives()).get(name) ?? "");
    if (node === undefined) return undefined;
    const below = await this.#graph();
    let image = node;
    for (let depth = 0; depth < MOST_FILTERS && FILTERS.has(image.driver ?? ""); depth += 1)
      image = nodes.get(below?.get(image.name)?.get("file") ?? "") ?? image;
    const backing = below?.get(image.name)?.get("backing");
    return {
      node,
      format: image.driver === "qcow2" ? "qcow2" : "raw",
      backing: backing === undefined ? undefined : (nodes.get(backing) ?? { name: backing }),
      tellsBacking: below !== undefined,
    };
  }

  /** Whether there is a node of this name. */
  async has(name: string): Promise<boolean> {
    return (await this.#nodes()).has(name);
  }

  /** Names to choose from, the likeliest first: what a machine's devices use, then nodes that somebody has named. */
  async names(): Promise<readonly string[]> {
    const [nodes, drives] = [await this.#nodes(), await this.#drives()];
    const named = [...nodes.values()].filter(({ name }) => !name.startsWith("#"));
    const inOrder = [...named.filter(isImage), ...named.filter((node) => !isImage(node))];
    return [...new Set([...drives.keys(), ...inOrder.map(({ name }) => name)])];
  }

  async #nodes(): Promise<ReadonlyMap<string, JobNode>> {
    return describeNodes(await this.#peer.execute("query-named-block-nodes", { flat: true }));
  }

  /** Storage daemons have no drives, and no word for them. */
  async #drives(): Promise<ReadonlyMap<string, string>> {
    return readDrives(await this.#peer.execute("query-block").catch(() => []));
  }

  /** Undefined when the peer does not tell; QEMU calls the question unstable. */
  async #graph(): Promise<ReadonlyMap<string, ReadonlyMap<string, string>> | undefined> {
    const answer = await this.#peer.execute("x-debug-query-block-graph").catch(() => undefined);
    return answer === undefined ? undefined : readBlockGraph(answer).ofNodes;
  }
}

function isImage({ driver }: JobNode): boolean {
  return FORMATS.has(driver ?? "");
}
