import assert from "node:assert/strict";
import type { DeviceInfo } from "../contract/device.ts";
import { Random } from "./random.ts";
import { contradiction, type RegisterEvent } from "./register-history.ts";
import {
  sameBytes,
  seeded,
  seedOf,
  withSpecimen,
  type ConformanceCase,
  type ConformanceSubject,
  type Specimen,
} from "./subject.ts";

const BLOCKS = 12;
const WORKERS = 64;
const REQUESTS_EACH = 6;

/** Cases with many requests in flight. */
export function concurrencyCases(subject: ConformanceSubject, info: DeviceInfo): readonly ConformanceCase[] {
  const reading: ConformanceCase = {
    name: "concurrency: 64 readers in flight find the same content",
    run: () => withSpecimen(subject, readers),
  };
  if (!info.can.write || info.readOnly) return [reading];
  const seed = seedOf(subject);
  const cases = Array.from({ length: 3 }, (_run, index): ConformanceCase => ({
    name: `concurrency: overlapping requests are linearizable block by block (${index + 1})`,
    run: () =>
      seeded(seed, () =>
        withSpecimen(subject, (specimen) => overlapping(specimen, new Random(seed * 3 + index))),
      ),
  }));
  return [
    reading,
    ...cases,
    {
      name: "concurrency: 64 neighbours in flight, with flushes between, all end up where they belong",
      run: () => withSpecimen(subject, neighbours),
    },
  ];
}

async function readers({ edge, node }: Specimen): Promise<void> {
  const content = new Uint8Array(node.size);
  await edge.read(0, [content]);
  await Promise.all(
    Array.from({ length: WORKERS }, async (_worker, index) => {
      const offset = (index * 3001) % (node.size - 5000);
      const buffer = new Uint8Array(5000);
      await edge.read(offset, [buffer], { batch: index % 2 === 0 });
      sameBytes(buffer, content.subarray(offset, offset + 5000), `reader ${index}`, offset);
    }),
  );
}

/** Pieces of uneven length, so that they share blocks; every fourth one is followed by a flush. */
async function neighbours(specimen: Specimen): Promise<void> {
  const { edge, node } = specimen;
  const random = new Random(seedOf(specimen.subject));
  const length = Math.floor((node.size - 100) / WORKERS);
  const content = new Uint8Array(node.size);
  await edge.read(0, [content]);
  const pending = Array.from({ length: WORKERS }, async (_worker, index) => {
    const offset = 33 + index * length;
    if (index % 5 === 4) {
      content.fill(0, offset, offset + length);
      await edge.writeZeroes(offset, length);
    } else {
      const data = random.bytes(length);
      content.set(data, offset);
      await edge.write(offset, random.pieces(data), { fua: index % 7 === 0, batch: index % 3 === 0 });
    }
    if (index % 4 === 0) await edge.flush();
  });
  await Promise.all(pending);
  sameBytes(await specimen.read(0, node.size), content, "after 64 neighbours");
}

/** Every request has a value of its own, so that each byte read tells which write it comes from. */
async function overlapping(specimen: Specimen, random: Random): Promise<void> {
  const { edge, node } = specimen;
  const { align, can } = node.info;
  const block = Math.max(512, align.write, align.zero);
  const discards = can.discard === "zeroes" && align.discard <= block;
  assert.ok(block * BLOCKS <= node.size, `${BLOCKS} blocks of ${block} bytes fit into the device`);
  let now = 0;
  let value = 0;
  // Bytes in the middle and at both ends of each block, each a register of its own.
  const places = Array.from({ length: BLOCKS }, (_block, index) =>
    [0, block / 2 - 1, block - 1].map((within) => index * block + within),
  ).flat();
  const histories = new Map(places.map((place): [number, RegisterEvent[]] => [place, []]));
  const note = (offset: number, length: number, event: (place: number) => RegisterEvent): void => {
    for (const place of places) {
      if (place >= offset && place < offset + length) histories.get(place)?.push(event(place));
    }
  };
  const change = async (offset: number, length: number, mine: number, run: () => unknown): Promise<void> => {
    const start = (now += 1);
    await run();
    const end = (now += 1);
    note(offset, length, () => ({ kind: "write", value: mine, start, end }));
  };
  const read = async (offset: number, length: number): Promise<void> => {
    const buffer = new Uint8Array(length);
    const start = (now += 1);
    await edge.read(offset, [buffer]);
    const end = (now += 1);
    note(offset, length, (place) => ({ kind: "read", value: buffer[place - offset] ?? 0, start, end }));
  };
  await change(0, BLOCKS * block, 255, () => edge.write(0, [new Uint8Array(BLOCKS * block).fill(255)]));
  // Zero is one value like any other: each block is zeroed or discarded at most once.
  const zeroable = new Set(Array.from({ length: BLOCKS }, (_block, index) => index));
  const one = async (): Promise<void> => {
    const first = random.below(BLOCKS);
    const offset = first * block;
    const length = block * (1 + random.below(Math.min(4, BLOCKS - first)));
    const kind = random.below(8);
    if (kind < 3 && value < 250) {
      value += 1;
      const mine = value;
      await change(offset, length, mine, () =>
        edge.write(offset, random.pieces(new Uint8Array(length).fill(mine))),
      );
    } else if (kind === 3 && zeroable.delete(first)) {
      const request = discards && random.below(2) === 0 ? "discard" : "writeZeroes";
      await change(offset, block, 0, () => edge[request](offset, block));
    } else if (kind === 4) {
      await edge.flush();
    } else {
      await read(offset, length);
    }
  };
  await Promise.all(
    Array.from({ length: WORKERS }, async () => {
      for (let index = 0; index < REQUESTS_EACH; index += 1) await one();
    }),
  );
  await read(0, BLOCKS * block);
  for (const [place, history] of histories) {
    const problem = contradiction(history);
    assert.equal(problem, undefined, `byte ${place}: ${problem}; its history: ${JSON.stringify(history)}`);
  }
}
