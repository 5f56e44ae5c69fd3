import { describe, expect, test } from "vitest";
import { ContentModel } from "../../../src/conformance/content-model.ts";
import { Random } from "../../../src/conformance/random.ts";
import {
  BlockError,
  FaultController,
  keepDirtyBitmap,
  type BlockEdge,
  type BlockGraph,
  type BlockNode,
  type FaultRule,
} from "../../../src/index.ts";
import { checkFile } from "../support/check.ts";
import { createImage } from "../support/create.ts";
import { openImage, read, withImage, type OpenImage } from "../support/open.ts";
import { scratchFiles } from "../support/scratch.ts";

const KIB = 1024;
const SEED = Number(process.env["BLOCKMIRROR_SEED"] ?? 3);
/** Runs for each kind of image; many by hand. */
const RUNS = Number(process.env["BLOCKMIRROR_DISTURBED"] ?? 25);
const STEPS = 14;
const SIZES = [96 * KIB, 40 * KIB + 512, 300 * KIB, 97 * KIB + 512] as const;
const at = scratchFiles();

const RULES: readonly FaultRule[] = [
  { error: "EIO" },
  { error: "EIO", times: 2 },
  { error: "ENOSPC", transferred: 700 },
  { operation: ["write", "resize"], error: "ENOSPC", times: 3 },
  { operation: "flush", error: "EIO" },
];

/** An image that is used, and what it must hold: now, and after whatever may happen. */
class Disturbed {
  readonly #graph: BlockGraph;
  readonly node: BlockNode;
  readonly edge: BlockEdge;
  readonly random: Random;
  readonly model: ContentModel;
  durable: ContentModel;

  constructor({ graph, node, edge }: OpenImage, random: Random) {
    this.#graph = graph;
    this.node = node;
    this.edge = edge;
    this.random = random;
    this.model = new ContentModel(new Uint8Array(node.size));
    this.durable = this.model.clone();
  }

  async step(): Promise<void> {
    const kind = this.random.below(12);
    if (kind === 0) return this.#resize();
    if (kind === 1) return this.#rename();
    if (kind <= 3) return this.#flush();
    return this.#change();
  }

  async #change(): Promise<void> {
    const { edge, model, random, node } = this;
    const { info } = node;
    const length = 1 + random.below(20_000);
    const offset = random.below(info.size - length);
    const data = random.bytes(length);
    const kind = random.pick(["write", "write", "write", "zero", "unmap", "discard"] as const);
    const done = await succeeds(async () => {
      if (kind === "write") await edge.write(offset, [data]);
      else if (kind === "discard") await edge.discard(offset, length);
      else await edge.writeZeroes(offset, length, { unmap: kind === "unmap" });
    });
    if (kind === "write") this.durable.mayWrite(offset, data);
    else if (kind === "discard") this.durable.mayDiscard(offset, length, info);
    else this.durable.mayZero(offset, length);
    if (done && kind === "write") model.write(offset, data);
    else if (done && kind === "discard") model.discard(offset, length, info);
    else if (done) model.zero(offset, length);
    else if (kind === "write") model.mayWrite(offset, data);
    else if (kind === "discard") model.mayDiscard(offset, length, info);
    else model.mayZero(offset, length);
  }

  async #resize(): Promise<void> {
    const size = this.random.pick(SIZES);
    const before = this.node.size;
    const done = await succeeds(() => this.edge.resize(size));
    expect([before, size]).toContain(this.node.size);
    if (done) expect(this.node.size).toBe(size);
    // The size is durable once it is there, and what a smaller disk lost never comes back.
    this.model.resize(this.node.size);
    this.durable.resize(this.node.size);
  }

  /** Names a backing file, or none, in a header of several sectors where the cluster has room. */
  async #rename(): Promise<void> {
    const name =
      this.random.below(2) === 0 ? null : { filename: "x".repeat(1 + this.random.below(100)), format: "raw" };
    await succeeds(() => this.#graph.changeBackingFile(this.node, name));
    await succeeds(() => this.#graph.changeBackingFile(this.node, null));
  }

  async #flush(): Promise<void> {
    if (await succeeds(async () => this.edge.flush())) this.durable = this.model.clone();
  }
}

/** Runs what may fail, as a driver may. */
async function succeeds(run: () => Promise<void>): Promise<boolean> {
  try {
    await run();
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(BlockError);
    return false;
  }
}

async function runOnce(options: Readonly<Record<string, unknown>>, seed: number): Promise<void> {
  const random = new Random(seed);
  const file = at(`${seed}.qcow2`);
  await createImage(file, SIZES[0], options);
  const controller = new FaultController();
  const opened = await openImage({ driver: "fault", controller, file: { driver: "file", filename: file } });
  const { graph, node } = opened;
  if (options["version"] !== "v2" && random.below(2) === 0) {
    keepDirtyBitmap(node, node.createDirtyBitmap({ name: "kept", granularity: 512 }));
  }
  const image = new Disturbed(opened, random);
  for (let step = 0; step < STEPS; step += 1) {
    if (random.below(3) === 0) {
      controller.clear();
      controller.add({ ...random.pick(RULES), nth: 1 + random.below(8) });
    }
    await image.step();
  }
  if (random.below(2) === 0) controller.clear();
  const { size } = node;
  const closed = await succeeds(() => graph.closeAll());
  controller.clear();
  const report = await checkFile(file);
  expect(report).toMatchObject({ corruptions: 0, checkErrors: 0 });
  await withImage(
    file,
    async ({ node: again, edge: reader }) => {
      const content = await read(reader, 0, again.size);
      if (again.size === size) {
        image.durable.check(0, content, "what was flushed");
        if (closed) image.model.check(0, content, "what was closed");
      }
      for (const bitmap of again.device.bitmaps?.list() ?? []) expect(bitmap.name).toBe("kept");
    },
    { backing: null },
  );
  await checkFile(file, { repair: "all" });
  expect(await checkFile(file)).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 });
}

describe.each([
  ["clusters of 512 bytes", { clusterSize: 512, refcountBits: 64 }],
  ["clusters of 4 KiB", { clusterSize: 4096, refcountBits: 1 }],
  ["subclusters", { clusterSize: 16_384, extendedL2: true }],
  ["version 2", { clusterSize: 512, version: "v2" }],
])("with %s, whatever fails and whatever is asked then", (_name, options) => {
  test("the image is in order and holds what was promised", async () => {
    for (let seed = SEED; seed < SEED + RUNS; seed += 1) {
      await runOnce(options, seed).catch((error: unknown) => {
        throw new Error(`BLOCKMIRROR_SEED=${seed}`, { cause: error });
      });
    }
  });
});
