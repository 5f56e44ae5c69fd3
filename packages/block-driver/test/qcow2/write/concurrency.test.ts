import { describe, expect, test } from "vitest";
import { ContentModel } from "../../../src/conformance/content-model.ts";
import { Random } from "../../../src/conformance/random.ts";
import type { DeviceInfo } from "../../../src/index.ts";
import { checkQcow2 } from "../../../src/index.ts";
import { viewOf } from "../../../src/drivers/qcow2/format/u64.ts";
import { makeGraph, parent } from "../../support/graphs.ts";
import { checkFile } from "../support/check.ts";
import { createImage } from "../support/create.ts";
import { openImage, read, type OpenImage } from "../support/open.ts";
import { scratchFiles } from "../support/scratch.ts";

const KIB = 1024;
const SIZE = 1024 * KIB;
const SEED = Number(process.env["BLOCKMIRROR_SEED"] ?? 17);
/** Rounds for each kind of image; more by hand. */
const ROUNDS = Number(process.env["BLOCKMIRROR_ROUNDS"] ?? 1);
const WORKERS = 12;
const STEPS = 25;
const at = scratchFiles();

/** Many users at once, on the same ranges: each request leaves its own bytes or somebody else's, never a third thing. */
async function storm(image: OpenImage, seed: number): Promise<void> {
  const { edge, node } = image;
  const { info } = node;
  const model = new ContentModel(await read(edge, 0, SIZE));
  await Promise.all(
    Array.from({ length: WORKERS }, async (_unused, worker) => {
      const random = new Random(seed * 1000 + worker);
      for (let step = 0; step < STEPS; step += 1) await act(image, random, model, info);
    }),
  );
  model.check(0, await read(edge, 0, SIZE), `BLOCKMIRROR_SEED=${seed}`);
}

async function act(
  { edge }: OpenImage,
  random: Random,
  model: ContentModel,
  info: DeviceInfo,
): Promise<void> {
  // A few hot places, so that requests meet.
  const length = 1 + random.below(random.below(3) === 0 ? 120_000 : 9000);
  const offset = Math.min(SIZE - length, random.below(6) * 150_000 + random.below(5000));
  const kind = random.below(10);
  if (kind === 0) await edge.flush();
  else if (kind === 1) {
    await read(edge, offset, length);
  } else if (kind === 2) {
    model.mayDiscard(offset, length, info);
    await edge.discard(offset, length);
  } else if (kind <= 4) {
    model.mayZero(offset, length);
    await edge.writeZeroes(offset, length, { unmap: kind === 3 });
  } else {
    const data = new Uint8Array(length).fill(1 + random.below(255));
    model.mayWrite(offset, data);
    await edge.write(offset, [data]);
  }
}

/** Writes until the refcount table has to grow, and flushes when so many microtasks have passed. False when it was over by then. */
async function flushWhileTableGrows(microtasks: number): Promise<boolean> {
  const graph = makeGraph();
  const memory = await graph.open({ driver: "memory", nodeName: "file", size: 4096 * KIB });
  // One cluster of refcount table, for 2 MiB of file.
  await graph.create("qcow2", { file: "file", size: 512 * KIB, clusterSize: 512, refcountBits: 64 });
  const node = await graph.open({ driver: "qcow2", file: "file" });
  const edge = graph.attach(node, parent("guest"));
  await edge.resize(4096 * KIB);
  await edge.write(0, [new Uint8Array(1800 * KIB).fill(1)]);
  await edge.flush();
  let isWriting = true;
  const writing = Promise.resolve(edge.write(1800 * KIB, [new Uint8Array(200 * KIB).fill(2)])).finally(
    () => (isWriting = false),
  );
  for (let passed = 0; passed < microtasks; passed += 1) await Promise.resolve();
  const wasWriting = isWriting;
  const flushing = edge.flush();
  await writing;
  await flushing;
  await graph.detach(edge);
  await graph.close(node);
  const file = graph.attach(memory, parent("check"));
  expect(await checkQcow2(file)).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 });
  expect(viewOf(await read(file, 0, 64)).getUint32(56)).toBeGreaterThan(1);
  await graph.closeAll();
  return wasWriting;
}

describe("a refcount table that grows", () => {
  test("is not written in its old place with entries it has no room for, whenever somebody flushes", async () => {
    let microtasks = 0;
    while (await flushWhileTableGrows(microtasks)) microtasks += 1;
    expect(microtasks).toBeGreaterThan(10);
  });
});

describe("requests that meet", () => {
  test.each([
    ["clusters of 512 bytes", { clusterSize: 512 }],
    ["clusters of 4 KiB", { clusterSize: 4096, refcountBits: 1 }],
    ["clusters of 64 KiB", {}],
    ["subclusters", { clusterSize: 16384, extendedL2: true }],
    ["version 2", { clusterSize: 512, version: "v2" }],
  ])("leave an image in order, with contents that somebody wrote (%s)", async (_name, options) => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const filename = at(`disk-${round}.qcow2`);
      await createImage(filename, SIZE, options);
      // A cache that holds a part of the tables, so that slices come and go.
      const image = await openImage(filename, { cacheSize: 8192 });
      await storm(image, SEED + round);
      await storm(image, SEED + 50 + round);
      await image.close();
      expect(await checkFile(filename), `BLOCKMIRROR_SEED=${SEED + round}`).toMatchObject({
        corruptions: 0,
        leaks: 0,
        checkErrors: 0,
      });
    }
  });
});
