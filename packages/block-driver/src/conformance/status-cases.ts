import assert from "node:assert/strict";
import type { DeviceInfo } from "../contract/device.ts";
import { ExtentFlag, ExtentList } from "../contract/extents.ts";
import { skipFilters } from "../graph/topology.ts";
import { isZero } from "../io/zero-page.ts";
import { interestingRange, randomOperation } from "./operations.ts";
import { Random } from "./random.ts";
import {
  sameBytes,
  seeded,
  seedOf,
  withSpecimen,
  type ConformanceCase,
  type ConformanceSubject,
  type Specimen,
} from "./subject.ts";

const KINDS: number = ExtentFlag.Data | ExtentFlag.Zero | ExtentFlag.Deferred;

/** Cases about block status: it covers, it is ordered and merged, and it tells the truth. */
export function statusCases(subject: ConformanceSubject, info: DeviceInfo): readonly ConformanceCase[] {
  const seed = seedOf(subject);
  const cases: ConformanceCase[] = [1, 2, 1024].map((capacity) => ({
    name: `status: truthful, ordered and merged in lists of ${capacity}`,
    run: () =>
      seeded(seed, () =>
        withSpecimen(subject, (specimen) => truthful(specimen, new Random(seed + capacity), capacity)),
      ),
  }));
  cases.push({
    name: "status: requests may overlap",
    run: () =>
      seeded(seed, () => withSpecimen(subject, (specimen) => overlapping(specimen, new Random(seed)))),
  });
  if (info.can.lend) {
    cases.push({
      name: "status: what is lent is the same bytes",
      run: () => seeded(seed, () => withSpecimen(subject, (specimen) => lending(specimen, new Random(seed)))),
    });
  }
  const { can } = info;
  if (can.status === "exact" && can.unmap && !info.readOnly) {
    cases.push({
      name: "status: what was unmapped is not called data",
      run: () => withSpecimen(subject, unmapped),
    });
  }
  return cases;
}

/** Space that was given back, and status that misses nothing stored as a hole: then there is a hole. */
async function unmapped({ edge, node }: Specimen): Promise<void> {
  const { align, size } = node.info;
  const unit = Math.max(65_536, align.allocation, align.zero);
  await edge.write(0, [new Uint8Array(size).fill(1)]);
  await edge.writeZeroes(0, size, { unmap: true });
  await edge.flush();
  const extents = new ExtentList();
  // Not the ends: they may share a unit of what is below with their neighbours.
  const end = size - (size % unit) - unit;
  for (let at = unit; at < end; at = extents.next) {
    await edge.status(at, end - at, extents);
    assert.ok(extents.next > at, `status from ${at} makes progress`);
    extents.clip(end);
    for (let index = 0; index < extents.count; index += 1) {
      const isData = (extents.flagsAt(index) & ExtentFlag.Data) !== 0;
      assert.ok(
        !isData,
        `${extents.offsetAt(index)} was unmapped and is called data by a device of exact status`,
      );
    }
  }
}

async function scatter(specimen: Specimen, random: Random, operations = 40): Promise<void> {
  for (let index = 0; index < operations; index += 1) {
    await randomOperation(random, specimen.node.info).run(specimen);
  }
}

async function truthful(specimen: Specimen, random: Random, capacity: number): Promise<void> {
  const { node } = specimen;
  for (let round = 0; round < 4; round += 1) {
    if (round > 0) await scatter(specimen, random);
    const content = await specimen.read(0, node.size);
    for (const precise of [true, false]) {
      await checkRange(specimen, 0, node.size, content, capacity, precise);
      for (let sample = 0; sample < 8; sample += 1) {
        const { offset, length } = interestingRange(random, node.info);
        if (length > 0) await checkRange(specimen, offset, length, content, capacity, precise);
      }
    }
  }
}

/** Scans a range from answer to answer, and checks each. */
async function checkRange(
  specimen: Specimen,
  offset: number,
  length: number,
  content: Uint8Array,
  capacity: number,
  precise: boolean,
): Promise<void> {
  const extents = new ExtentList(capacity);
  const end = offset + length;
  for (let at = offset; at < end; at = extents.next) {
    // What an earlier answer left in the list must not matter.
    extents.reset(0);
    extents.append(1, ExtentFlag.Zero);
    await specimen.edge.status(at, end - at, extents, { precise });
    checkAnswer(specimen, extents, at, content);
    await checkDeferred(specimen, extents, content);
    await checkHostBytes(specimen, extents, content);
  }
}

function checkAnswer(specimen: Specimen, extents: ExtentList, start: number, content: Uint8Array): void {
  const { info } = specimen.node;
  const where = `status from ${start}`;
  assert.ok(extents.next > start, `${where} makes progress: it ends at ${extents.next}`);
  assert.ok(
    extents.next <= info.size,
    `${where} ends at ${extents.next}, beyond the ${info.size} bytes of the device`,
  );
  assert.ok(extents.count >= 1 && extents.count <= extents.capacity, `${where} has ${extents.count} extents`);
  let at = start;
  for (let index = 0; index < extents.count; index += 1) {
    const flags = extents.flagsAt(index);
    const length = extents.lengthAt(index);
    assert.equal(extents.offsetAt(index), at, `${where}: extent ${index} begins where the one before ends`);
    assert.ok(length > 0, `${where}: extent ${index} is not empty`);
    const kind = flags & KINDS;
    assert.ok(
      kind === ExtentFlag.Data || kind === ExtentFlag.Zero || kind === ExtentFlag.Deferred,
      `${where}: extent ${index} is data, zero or deferred, not ${flags}`,
    );
    assert.equal(extents.depthAt(index), 0, `${where}: a layer speaks for itself`);
    if (info.can.status === "none")
      assert.equal(kind, ExtentFlag.Data, `${where}: without status all is data`);
    if (kind === ExtentFlag.Zero) {
      const reads = content.subarray(at, at + length);
      assert.ok(isZero(reads), `${where}: ${at}+${length} is called zero and does not read as zeroes`);
    }
    if (index > 0 && (flags & (ExtentFlag.HostOffset | ExtentFlag.Compressed)) === 0) {
      assert.notEqual(extents.flagsAt(index - 1), flags, `${where}: equal neighbours at ${at} are merged`);
    }
    at += length;
  }
  assert.equal(at, extents.next, `${where}: the extents cover the answer`);
}

/** What is deferred reads as the backing node, and as zeroes beyond its end or where there is none. */
async function checkDeferred({ node }: Specimen, extents: ExtentList, content: Uint8Array): Promise<void> {
  const layer = skipFilters(node);
  const backing = layer.child("backing");
  for (let index = 0; index < extents.count; index += 1) {
    if ((extents.flagsAt(index) & ExtentFlag.Deferred) === 0) continue;
    const offset = extents.offsetAt(index);
    assert.equal(layer.kind, "format", `status at ${offset}: a ${layer.kind} has nothing to defer to`);
    const bytes = new Uint8Array(extents.lengthAt(index));
    const inside = backing === undefined ? 0 : Math.min(bytes.byteLength, backing.info.size - offset);
    if (inside > 0) await backing?.read(offset, [bytes.subarray(0, inside)]);
    sameBytes(
      content.subarray(offset, offset + bytes.byteLength),
      bytes,
      "what an extent leaves to the backing node",
      offset,
    );
  }
}

/** Where an extent says which bytes below hold it, they do. */
async function checkHostBytes(specimen: Specimen, extents: ExtentList, content: Uint8Array): Promise<void> {
  const layer = skipFilters(specimen.node);
  const child = layer.child("data") ?? layer.child("file");
  if (child === undefined) return;
  for (let index = 0; index < extents.count; index += 1) {
    const flags = extents.flagsAt(index);
    if ((flags & ExtentFlag.HostOffset) === 0) continue;
    if ((flags & ExtentFlag.Compressed) !== 0 || (flags & ExtentFlag.Data) === 0) continue;
    const offset = extents.offsetAt(index);
    const bytes = new Uint8Array(extents.lengthAt(index));
    await child.read(extents.hostOffsetAt(index), [bytes]);
    sameBytes(
      bytes,
      content.subarray(offset, offset + bytes.byteLength),
      "the host range of an extent",
      offset,
    );
  }
}

async function overlapping(specimen: Specimen, random: Random): Promise<void> {
  await scatter(specimen, random);
  const content = await specimen.read(0, specimen.node.size);
  await Promise.all(
    Array.from({ length: 16 }, () => {
      const offset = random.below(specimen.node.size);
      return checkRange(specimen, offset, specimen.node.size - offset, content, 1 + random.below(8), true);
    }),
  );
}

async function lending(specimen: Specimen, random: Random): Promise<void> {
  const { node } = specimen;
  await scatter(specimen, random);
  const content = await specimen.read(0, node.size);
  for (let sample = 0; sample < 50; sample += 1) {
    const { offset, length } = interestingRange(random, node.info);
    if (length === 0) continue;
    let borrowed = 0;
    const used = await node.device.lend?.(offset, length, async (storage, at, lent) => {
      borrowed += 1;
      assert.ok(lent >= 1 && lent <= length, `lend ${offset}+${length} offers ${lent} bytes`);
      const bytes = new Uint8Array(lent);
      await storage.read(at, [bytes]);
      sameBytes(bytes, content.subarray(offset, offset + lent), `lend ${offset}+${length}`, offset);
      return lent - 1;
    });
    assert.ok(borrowed <= 1, "a range is lent once at most");
    assert.ok(borrowed === 1 || used === 0, "what was not lent was not used");
  }
}
