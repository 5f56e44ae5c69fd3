import type { FileHandle } from "node:fs/promises";
import { ALL_PERMISSIONS, BlockGraph, DriverRegistry, type BlockEdge } from "@blockmirror/block-driver";
import { nbdDriver } from "@blockmirror/nbd";
import { DEMO_SIZE, fillBlock } from "./demo-image.ts";

/** Pause between two writes in milliseconds. */
const PAUSE_MS = 12;
const LARGEST_WRITE = 128 * 1024;
const SECTOR = 512;
/** Most writes go to this share of the disk, as they do on a real one: a few chunks are hot. */
const HOT_SHARE = 1 / 16;

/**
 * A program that uses the disk: it reaches it over NBD as a virtual machine would, keeps writing to it, and notes every
 * acknowledged write in a reference file of its own. Whatever disk it ends up on has to equal the reference.
 */
export class DemoWriter {
  readonly #graph: BlockGraph;
  readonly #disk: BlockEdge;
  readonly #reference: FileHandle;
  readonly #random: () => number;
  #stopping = false;
  #finished: Promise<void> | undefined;
  #writes = 0;
  #bytes = 0;

  private constructor(graph: BlockGraph, disk: BlockEdge, reference: FileHandle, random: () => number) {
    this.#graph = graph;
    this.#disk = disk;
    this.#reference = reference;
    this.#random = random;
  }

  /** Connects to an export; the writes begin with {@link start}. `reference` becomes the writer's. */
  static async connect(uri: string, reference: FileHandle, random: () => number): Promise<DemoWriter> {
    const graph = new BlockGraph({ registry: new DriverRegistry().register(nbdDriver) });
    const node = await graph.open({ driver: "nbd", uri });
    const disk = graph.attach(node, {
      name: "demo writer",
      uses: ["read", "write"],
      shares: ALL_PERMISSIONS,
    });
    return new DemoWriter(graph, disk, reference, random);
  }

  /** Acknowledged writes. */
  get writes(): number {
    return this.#writes;
  }

  /** Bytes of acknowledged writes. */
  get bytes(): number {
    return this.#bytes;
  }

  start(): void {
    this.#finished = this.#run();
    // Looked at by `stop`; until then a failure must not end the process.
    this.#finished.catch(() => {});
  }

  /** Lets the last write finish, flushes and detaches. Rejects if a write failed. */
  async stop(): Promise<void> {
    this.#stopping = true;
    try {
      await this.#finished;
      await this.#disk.flush();
    } finally {
      await this.#reference.close();
      await this.#graph.closeAll();
    }
  }

  async #run(): Promise<void> {
    const buffer = Buffer.alloc(LARGEST_WRITE);
    while (!this.#stopping) {
      const length = Math.ceil((this.#random() * LARGEST_WRITE) / SECTOR) * SECTOR;
      const area = this.#random() < 0.8 ? DEMO_SIZE * HOT_SHARE : DEMO_SIZE;
      const offset = Math.floor((this.#random() * (area - length)) / SECTOR) * SECTOR;
      await this.#write(offset, buffer.subarray(0, length), this.#random() < 0.1);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  async #write(offset: number, block: Buffer, zero: boolean): Promise<void> {
    if (zero) {
      block.fill(0);
      await this.#disk.writeZeroes(offset, block.byteLength, { unmap: true });
    } else {
      fillBlock(block, this.#random);
      await this.#disk.write(offset, [block]);
    }
    // Acknowledged: from here on it may not get lost.
    await this.#reference.write(block, 0, block.byteLength, offset);
    this.#writes += 1;
    this.#bytes += block.byteLength;
  }
}
