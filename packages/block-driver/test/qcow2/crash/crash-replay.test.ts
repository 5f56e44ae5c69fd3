import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { lacksPeers } from "@blockmirror/peers";
import { describe, expect, test } from "vitest";
import { ContentModel } from "../../../src/conformance/content-model.ts";
import { Random } from "../../../src/conformance/random.ts";
import { checkQcow2 } from "../../../src/drivers/qcow2/tools.ts";
import { BlockGraph, type BlockEdge, type DeviceInfo } from "../../../src/index.ts";
import { Recording, recordingDriver } from "../../support/recording.ts";
import "../../support/seed.ts";
import { createImage } from "../support/create.ts";
import { createDefaultRegistry } from "../../../src/index.ts";
import { qemuCheck } from "../support/qemu-img.ts";
import { scratchFiles } from "../support/scratch.ts";
import { crashedFile } from "./replay.ts";

/** Many L2 tables where clusters are small, so that most flushes link a new one. */
const SIZE = 257 * 4096;
const SEED = Number(process.env["BLOCKMIRROR_SEED"] ?? 22);
/** A long run by hand; a few moments in CI. */
const MOMENTS = Number(process.env["BLOCKMIRROR_CRASH_MOMENTS"] ?? 40);
const BATCHES = 24;

const at = scratchFiles();

/** What the disk may hold after a crash before event `index`. */
interface Milestone {
  readonly index: number;
  readonly model: ContentModel;
}

interface Run {
  readonly before: Uint8Array;
  readonly recording: Recording;
  /** Operations in the order in which they began. */
  readonly begun: readonly { readonly index: number; readonly allow: (model: ContentModel) => void }[];
  /** Flushes that succeeded, by the events there were then. */
  readonly durable: readonly Milestone[];
}

/** A graph with a memory disk named `disk` of that content. */
async function overMemory(content: Uint8Array): Promise<BlockGraph> {
  const graph = new BlockGraph({ registry: createDefaultRegistry().register(recordingDriver) });
  const node = await graph.open({ driver: "memory", nodeName: "disk", size: content.length });
  const file = graph.attach(node, { name: "test", uses: ["write"], shares: ["read"] });
  await file.write(0, [content]);
  await graph.detach(file);
  return graph;
}

/** Checks the image on `disk`, which nobody has open. */
async function mustBeSound(graph: BlockGraph, when: string): Promise<void> {
  const disk = graph.find("disk");
  assert(disk !== undefined);
  const file = graph.attach(disk, { name: "check", uses: ["read"], shares: ["read"] });
  const report = await checkQcow2(file);
  await graph.detach(file);
  expect(report.corruptions, `corruptions ${when}`).toBe(0);
  expect(report.checkErrors, `check errors ${when}`).toBe(0);
}

async function emptyImage(options: Readonly<Record<string, unknown>>): Promise<Uint8Array> {
  const filename = at("empty.qcow2");
  await createImage(filename, SIZE, options);
  return readFileSync(filename);
}

/** The image in a file that is longer, as a device or a file somebody crashed on would be: full of old metadata. */
function withLeftovers(image: Uint8Array, random: Random): Uint8Array {
  const file = new Uint8Array(Math.ceil(image.length / 65_536) * 65_536 + 768 * 1024);
  file.fill(0x80);
  for (let at = 0; at < file.length; at += 8) file[at + 5] = random.below(8);
  file.set(image);
  // What belongs to the last cluster of the image is zero.
  file.fill(0, image.length, Math.ceil(image.length / 65_536) * 65_536);
  return file;
}

/** Runs random operations, a few at a time on parts of the disk of their own, and flushes now and then. */
async function record(
  options: Readonly<Record<string, unknown>>,
  seed: number,
  leftovers: boolean,
): Promise<Run> {
  const random = new Random(seed);
  const empty = await emptyImage(options);
  const before = leftovers ? withLeftovers(empty, random) : empty;
  const graph = await overMemory(before);
  const recording = new Recording();
  const node = await graph.open({
    driver: "qcow2",
    file: { driver: "recording", recording, file: "disk" },
  });
  const edge = graph.attach(node, { name: "guest", uses: ["read", "write", "resize"], shares: ["read"] });
  const { info } = node;
  const model = new ContentModel(new Uint8Array(SIZE));
  const begun: { index: number; allow: (model: ContentModel) => void }[] = [];
  const durable: Milestone[] = [{ index: 0, model: model.clone() }];
  for (let batch = 0; batch < BATCHES; batch += 1) {
    const parts = 1 + random.below(4);
    await Promise.all(
      Array.from({ length: parts }, (_unused, part) => {
        const operation = boundedOperation(random, info, part, parts);
        begun.push({ index: recording.events.length, allow: (other) => operation.mayApply(other, info) });
        return operation.run(edge).then(() => operation.apply(model, info));
      }),
    );
    if (random.below(3) === 0) {
      await edge.flush();
      durable.push({ index: recording.events.length, model: model.clone() });
    }
  }
  await graph.closeAll();
  return { before, recording, begun, durable };
}

interface BoundedOperation {
  readonly run: (edge: BlockEdge) => Promise<void>;
  readonly apply: (model: ContentModel, info: DeviceInfo) => void;
  readonly mayApply: (model: ContentModel, info: DeviceInfo) => void;
}

/** A write, zeroing or discard within part `part` of `parts`, so that the batch has one outcome. */
function boundedOperation(random: Random, info: DeviceInfo, part: number, parts: number): BoundedOperation {
  const size = info.size - (info.size % parts);
  const start = (part * size) / parts;
  const length = 1 + random.below(Math.min(size / parts, 40_000));
  const offset = start + random.below(size / parts - length + 1);
  const kind = random.below(6);
  if (kind === 0) {
    return {
      run: async (edge) => edge.discard(offset, length),
      apply: (model) => model.discard(offset, length, info),
      mayApply: (model) => model.mayDiscard(offset, length, info),
    };
  }
  if (kind <= 2) {
    const unmap = kind === 1;
    return {
      run: async (edge) => edge.writeZeroes(offset, length, { unmap }),
      apply: (model) => model.zero(offset, length),
      mayApply: (model) => model.mayZero(offset, length),
    };
  }
  const data = random.bytes(length);
  return {
    run: async (edge) => edge.write(offset, [data]),
    apply: (model) => model.write(offset, data),
    mayApply: (model) => model.mayWrite(offset, data),
  };
}

/** The image a crash left must have no corruption, open, and hold what was flushed. */
async function mustSurvive(content: Uint8Array, run: Run, upTo: number): Promise<void> {
  const graph = await overMemory(content);
  await mustBeSound(graph, "after the crash");
  const node = await graph.open({ driver: "qcow2", file: "disk" });
  const edge = graph.attach(node, { name: "guest", uses: ["read", "write"], shares: ["read"] });
  const last = run.durable.findLast(({ index }) => index <= upTo);
  assert(last !== undefined);
  const model = last.model.clone();
  const previous = run.begun.filter(({ index }) => index <= upTo && index >= last.index);
  for (const { allow } of previous) allow(model);
  const found = new Uint8Array(SIZE);
  await edge.read(0, [found]);
  model.check(0, found, `after a crash at event ${upTo}`);
  // It can be written to, and is in order after that.
  await edge.write(1000, [new Uint8Array(5000).fill(9)]);
  await edge.writeZeroes(SIZE - 70_000, 65_000, { unmap: true });
  await graph.detach(edge);
  await graph.close(node);
  await mustBeSound(graph, "after going on");
  await graph.closeAll();
}

const VARIANTS: readonly (readonly [
  name: string,
  options: Readonly<Record<string, unknown>>,
  leftovers: boolean,
])[] = [
  ["clusters of 512 bytes", { clusterSize: 512 }, false],
  ["clusters of 512 bytes in a file full of leftovers", { clusterSize: 512 }, true],
  ["clusters of 4 KiB", { clusterSize: 4096 }, true],
  ["clusters of 64 KiB", {}, false],
  ["subclusters", { clusterSize: 16384, extendedL2: true }, true],
  ["refcounts of one bit", { clusterSize: 512, refcountBits: 1 }, false],
  ["refcounts of 64 bits", { clusterSize: 512, refcountBits: 64 }, true],
  ["version 2", { clusterSize: 512, version: "v2" }, false],
];

describe.each(VARIANTS)("a crash while writing an image with %s", (_name, options, leftovers) => {
  test("leaves no corruption and what was flushed", async () => {
    const run = await record(options, SEED, leftovers);
    const { events } = run.recording;
    const random = new Random(SEED + 1);
    const barriers = events.flatMap((event, index) => (event.type === "flush" ? [index, index + 1] : []));
    for (let moment = 0; moment < MOMENTS; moment += 1) {
      // Around every barrier, and anywhere between.
      const upTo = random.below(2) === 0 ? random.pick(barriers) : random.below(events.length + 1);
      const fate = random.pick(["all", "none", "random", "random", "random"] as const);
      const content = crashedFile(run.before, events, upTo, fate, random);
      try {
        await mustSurvive(content, run, upTo);
      } catch (error) {
        throw new Error(
          `BLOCKMIRROR_SEED=${SEED}, moment ${moment}: event ${upTo} of ${events.length}, ${fate}: ${String(error)}`,
          { cause: error },
        );
      }
    }
  });

  test.skipIf(lacksPeers("qemu-img"))("leaves an image that qemu-img accepts too", async () => {
    const run = await record(options, SEED + 100, leftovers);
    const random = new Random(SEED + 2);
    const { events } = run.recording;
    for (let sample = 0; sample < 4; sample += 1) {
      const upTo = random.below(events.length + 1);
      const filename = at("crashed.qcow2");
      writeFileSync(filename, crashedFile(run.before, events, upTo, "random", random));
      const report = await qemuCheck(filename);
      expect(report.corruptions ?? 0).toBe(0);
      expect(report["check-errors"]).toBe(0);
    }
  });
});

test.each([
  ["clusters of 512 bytes", { clusterSize: 512 }],
  ["version 2", { clusterSize: 512, version: "v2" }],
  ["subclusters", { clusterSize: 16384, extendedL2: true }],
])("a crash while an image is resized leaves one size or the other (%s)", async (_name, options) => {
  const random = new Random(SEED + 3);
  const before = await emptyImage(options);
  const graph = await overMemory(before);
  const recording = new Recording();
  const node = await graph.open({ driver: "qcow2", file: { driver: "recording", recording, file: "disk" } });
  const edge = graph.attach(node, { name: "guest", uses: ["read", "write", "resize"], shares: ["read"] });
  const { events } = recording;
  const kept = 30_000;
  const sizes = [2 * SIZE, 40 * SIZE, 70_144, 3 * SIZE, 40_448];
  await edge.write(0, [new Uint8Array(SIZE).fill(1)]);
  await edge.flush();
  const start = events.length;
  for (const size of sizes) {
    await edge.resize(size);
    await edge.write(kept, [random.bytes(Math.min(size - kept, 100_000))]);
  }
  await graph.closeAll();
  for (let moment = 0; moment < MOMENTS; moment += 1) {
    const upTo = start + random.below(events.length + 1 - start);
    const crashed = await overMemory(
      crashedFile(before, events, upTo, random.pick(["all", "none", "random", "random"]), random),
    );
    await mustBeSound(crashed, `after event ${upTo} of ${events.length}`);
    const again = await crashed.open({ driver: "qcow2", file: "disk" });
    expect([SIZE, ...sizes]).toContain(again.size);
    const reader = crashed.attach(again, {
      name: "guest",
      uses: ["read", "write", "resize"],
      shares: ["read"],
    });
    const found = new Uint8Array(kept);
    await reader.read(0, [found]);
    expect(found.every((byte) => byte === 1)).toBe(true);
    // Whatever was cut off or half resized does not come back.
    await reader.resize(again.size + 200 * 512);
    const gained = new Uint8Array(200 * 512).fill(7);
    await reader.read(again.size - gained.length, [gained]);
    expect(gained.every((byte) => byte === 0)).toBe(true);
    await crashed.detach(reader);
    await crashed.close(again);
    await mustBeSound(crashed, "after going on");
    await crashed.closeAll();
  }
});
