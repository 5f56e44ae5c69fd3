import assert from "node:assert/strict";
import type { DeviceInfo } from "../contract/device.ts";
import { ContentModel } from "./content-model.ts";
import { interestingRange, randomOperation } from "./operations.ts";
import { Random } from "./random.ts";
import {
  sameBytes,
  seeded,
  seedOf,
  sizeUnit,
  Specimen,
  withSpecimen,
  withStorage,
  type ConformanceCase,
  type ConformanceStorage,
  type ConformanceSubject,
} from "./subject.ts";

const RUNS = 4;
const STEPS = 150;

/** Cases that compare the device with plain memory, and cases at its limits. */
export function modelCases(subject: ConformanceSubject, info: DeviceInfo): readonly ConformanceCase[] {
  const seed = seedOf(subject);
  const cases: ConformanceCase[] = Array.from({ length: RUNS }, (_run, index) => ({
    name: `model: random operations equal memory (${index + 1})`,
    run: () =>
      seeded(seed, () =>
        withStorage(subject, (storage) => randomRun(subject, storage, new Random(seed * RUNS + index))),
      ),
  }));
  const writable = info.can.write && !info.readOnly;
  if (writable) {
    cases.push({
      name: "limits: the whole device at once, its last byte, and one byte more than a transfer",
      run: () => withSpecimen(subject, wholeDevice),
    });
  }
  if (writable && info.can.copyRange) {
    cases.push({ name: "model: a copy below has copied what it says", run: () => copyBelow(subject) });
  }
  if (writable && info.can.resize !== "no") {
    cases.push({
      name: "limits: space that is gained reads as zeroes",
      run: () => withSpecimen(subject, resizing),
    });
  }
  return cases;
}

async function randomRun(
  subject: ConformanceSubject,
  storage: ConformanceStorage,
  random: Random,
): Promise<void> {
  let specimen = await Specimen.open(subject, storage);
  try {
    const model = new ContentModel(await specimen.read(0, specimen.node.size));
    const recent: string[] = [];
    for (let step = 0; step < STEPS; step += 1) {
      const { info } = specimen.node;
      try {
        if (subject.features?.persistent === true && random.below(25) === 0) {
          recent.push("reopen");
          await specimen.close();
          specimen = await Specimen.open(subject, storage);
          assert.equal(specimen.node.size, model.size, "the size after it was opened again");
        } else if (info.can.resize !== "no" && !info.readOnly && random.below(20) === 0) {
          const size = newSize(random, info, sizeUnit(subject, info));
          recent.push(`resize ${size}`);
          await specimen.edge.resize(size);
          model.resize(size);
          assert.equal(specimen.node.size, size, "the size after resize");
        } else {
          const operation = randomOperation(random, info);
          recent.push(operation.text);
          await operation.run(specimen);
          operation.apply(model, info);
        }
        if (step % 10 === 9) model.check(0, await specimen.read(0, model.size), "the whole device");
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error);
        assert.fail(`${text}\nlast operations: ${recent.slice(-12).join(", ")}`);
      }
    }
    model.check(0, await specimen.read(0, model.size), "the whole device at the end");
  } finally {
    await specimen.close();
  }
}

function newSize(random: Random, info: DeviceInfo, unit: number): number {
  const { offset } = interestingRange(random, info);
  const size =
    info.can.resize === "both" && random.below(2) === 0 ? offset : info.size + random.below(20_000);
  // Neither so small that nothing happens any more nor ever larger.
  const bounded = Math.min(Math.max(size, 65_536), 1024 * 1024);
  return Math.max(Math.ceil(bounded / unit) * unit, info.can.resize === "grow" ? info.size : 0);
}

async function wholeDevice(specimen: Specimen): Promise<void> {
  const { edge, node } = specimen;
  const random = new Random(seedOf(specimen.subject));
  const { size } = node;
  const content = random.bytes(size);
  await edge.write(0, [content]);
  sameBytes(await specimen.read(0, size), content, "the whole device");
  content[size - 1] = 0x99;
  await edge.write(size - 1, [Uint8Array.of(0x99)]);
  sameBytes(await specimen.read(size - 1, 1), Uint8Array.of(0x99), "the last byte", size - 1);
  const { transfer } = node.info.max;
  if (transfer + 2 <= size) {
    const data = random.bytes(transfer + 1);
    await edge.write(1, [data]);
    content.set(data, 1);
    sameBytes(await specimen.read(1, transfer + 1), data, "one byte more than a transfer", 1);
  }
  sameBytes(await specimen.read(0, size), content, "the whole device");
  await edge.writeZeroes(0, size, { unmap: true });
  sameBytes(await specimen.read(0, size), new Uint8Array(size), "the whole device as zeroes");
}

async function resizing(specimen: Specimen): Promise<void> {
  const { edge, node } = specimen;
  const unit = sizeUnit(specimen.subject, node.info);
  const model = new ContentModel(new Random(3).bytes(node.size));
  const to = async (size: number): Promise<void> => {
    await edge.resize(size);
    model.resize(size);
    assert.equal(node.size, size, "size");
    model.check(0, await specimen.read(0, size), `after resize to ${size}`);
  };
  const { size } = node;
  await edge.write(0, [new Random(3).bytes(size)]);
  await to(size);
  await to(size + unit);
  await edge.write(size, [new Uint8Array(unit).fill(5)]);
  model.write(size, new Uint8Array(unit).fill(5));
  if (node.info.can.resize === "both") {
    await to(unit);
    await to(size + unit);
    await to(0);
  }
  await to(size + 100 * unit);
}

async function copyBelow(subject: ConformanceSubject): Promise<void> {
  await withSpecimen(subject, (source) =>
    withSpecimen(subject, async (target) => {
      const { size } = source.node;
      const model = new ContentModel(await target.read(0, size));
      const content = new Random(5).bytes(size);
      await source.edge.write(0, [content]);
      await source.edge.flush();
      const unit = Math.max(source.node.info.align.write, target.node.info.align.write, 4096);
      for (const [from, to, length] of [
        [0, 0, size - (size % unit)],
        [unit, 3 * unit, 2 * unit],
      ] as const) {
        const copied = await target.edge.copyFrom(to, source.edge, from, length);
        assert.ok(copied >= 0 && copied <= length, `copyFrom says ${copied} of ${length}`);
        // What was not copied is unknown: whoever asked writes it.
        await target.edge.write(to + copied, [content.subarray(from + copied, from + length)]);
        model.write(to + copied, content.subarray(from + copied, from + length));
        model.write(to, content.subarray(from, from + copied));
        model.check(0, await target.read(0, size), "after a copy below");
      }
    }),
  );
}
