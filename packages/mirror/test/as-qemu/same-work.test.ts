// The same work done by qemu-storage-daemon and by us, on the same images: equal content, and no more space than QEMU takes.
import { rmSync } from "node:fs";
import { lacksPeers, run, StorageDaemon } from "@blockmirror/peers";
import { ALL_PERMISSIONS } from "@blockmirror/block-driver";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Images } from "../support/images.ts";
import { KIB, MIB, seededRandom } from "../support/rig.ts";

const SEED = Number(process.env["BLOCKMIRROR_SEED"] ?? 20_140_321);
/** A disk whose last chunk is short. */
const LENGTH = 12 * MIB + 512;
const GRANULARITY = 64 * KIB;

type Format = "raw" | "qcow2";

interface Work {
  readonly sync: "full" | "top" | "none";
  readonly source: Format;
  readonly target: Format;
  /** The source is a qcow2 overlay on an image of this format. */
  readonly base?: Format;
}

const PAIRS = [
  { source: "raw", target: "raw" },
  { source: "raw", target: "qcow2" },
  { source: "qcow2", target: "raw" },
  { source: "qcow2", target: "qcow2" },
  { source: "qcow2", target: "raw", base: "raw" },
  { source: "qcow2", target: "qcow2", base: "qcow2" },
] as const;

const WORK: readonly Work[] = [
  ...PAIRS.map((pair) => ({ sync: "full" as const, ...pair })),
  // Without a backing node, top is full; with one, only an image that stands on the same base can be its target.
  { sync: "top", source: "qcow2", target: "qcow2", base: "raw" },
  { sync: "top", source: "qcow2", target: "qcow2", base: "qcow2" },
  ...PAIRS.map((pair) => ({ sync: "none" as const, ...pair })),
];

/** What a guest writes to the source once the job is READY: offset, length, value. */
const GUEST: readonly (readonly [number, number, number])[] = [
  [1000, 512, 0x71],
  [3 * MIB - 700, 5000, 0x72],
  [7 * MIB, MIB + 100, 0x73],
  [LENGTH - 300, 300, 0x74],
];

let images: Images;

beforeEach(() => {
  images = new Images();
});

afterEach(async () => {
  await images.close();
  rmSync(images.directory, { recursive: true, force: true });
});

function nameOf(image: string, format: Format): string {
  return `${image}.${format}`;
}

async function create(name: string, format: Format, backing?: string): Promise<void> {
  const on = backing === undefined ? [] : ["-b", backing, "-F", backing.endsWith(".raw") ? "raw" : "qcow2"];
  const size = backing === undefined ? [String(LENGTH)] : [];
  await run("qemu-img", ["create", "-q", "-f", format, ...on, images.path(name), ...size], {
    cwd: images.directory,
  });
}

/** Data, zeroes that are written, zeroes that are holes, and what was never written, at random places. */
async function fill(name: string, format: Format, random: () => number): Promise<void> {
  const commands: string[] = [];
  for (let count = 0; count < 24; count += 1) {
    const length = 512 * Math.ceil(random() * (random() < 0.5 ? 16 : 1200));
    const offset = 512 * Math.floor((random() * (LENGTH - length)) / 512);
    const kind = random();
    const at = `${offset} ${length}`;
    if (kind < 0.6) commands.push(`write -P ${1 + Math.floor(random() * 255)} ${at}`);
    else if (kind < 0.7) commands.push(`write -P 0 ${at}`);
    else if (kind < 0.85) commands.push(`write -z -u ${at}`);
    else commands.push(`discard ${at}`);
  }
  const args = commands.flatMap((command) => ["-c", command]);
  await run("qemu-io", ["-d", "unmap", "-f", format, ...args, images.path(name)]);
}

/** The names of source and target for one side, the source filled alike for both. */
async function prepare(
  side: string,
  work: Work,
): Promise<{ readonly source: string; readonly target: string }> {
  const random = seededRandom(SEED);
  const base = work.base === undefined ? undefined : nameOf(`base-${side}`, work.base);
  if (base !== undefined && work.base !== undefined) {
    await create(base, work.base);
    await fill(base, work.base, random);
  }
  const source = nameOf(`source-${side}`, work.source);
  await create(source, work.source, base);
  await fill(source, work.source, random);
  const target = nameOf(`target-${side}`, work.target);
  await create(target, work.target, work.sync === "top" ? base : undefined);
  return { source, target };
}

async function byUs(work: Work): Promise<string> {
  const names = await prepare("ours", work);
  const source = await images.open(names.source);
  const target = await images.open(names.target);
  const guest = images.graph.attach(source, {
    name: "guest",
    uses: ["read", "write"],
    shares: ALL_PERMISSIONS,
  });
  const { job } = await images.ready(source, target, { sync: work.sync, granularity: GRANULARITY });
  for (const [offset, length, value] of GUEST) await guest.write(offset, [Buffer.alloc(length, value)]);
  job.cancel();
  expect(await job.done).toEqual({ outcome: "completed" });
  await images.graph.detach(guest);
  await images.close();
  return names.target;
}

async function byQemu(work: Work): Promise<string> {
  const names = await prepare("qemu", work);
  await using daemon = await StorageDaemon.start();
  for (const [node, filename] of [
    ["source", names.source],
    ["target", names.target],
  ] as const) {
    await daemon.execute("blockdev-add", {
      driver: filename.endsWith(".raw") ? "raw" : "qcow2",
      "node-name": node,
      discard: "unmap",
      file: { driver: "file", filename: images.path(filename), discard: "unmap" },
    });
  }
  const socket = `${daemon.directory}/nbd.sock`;
  await daemon.execute("nbd-server-start", { addr: { type: "unix", data: { path: socket } } });
  await daemon.execute("block-export-add", {
    type: "nbd",
    id: "guest",
    "node-name": "source",
    name: "guest",
    writable: true,
  });
  const writes = GUEST.map(([offset, length, value]) => `write -P ${value} ${offset} ${length}`);
  const atReady = async (): Promise<void> => {
    const uri = `nbd+unix:///guest?socket=${socket}`;
    await run("qemu-io", ["-f", "raw", ...writes.flatMap((write) => ["-c", write]), uri]);
  };
  const args = {
    "job-id": "m0",
    device: "source",
    target: "target",
    sync: work.sync,
    granularity: GRANULARITY,
  };
  const { finalEvent } = await daemon.mirror(args, { finish: "cancel", atReady });
  expect(finalEvent).toBe("BLOCK_JOB_COMPLETED");
  return names.target;
}

/** Bytes that the image itself holds as data. */
async function dataBytes(name: string): Promise<number> {
  const { stdout } = await run("qemu-img", ["map", "--output=json", "-f", formatOf(name), images.path(name)]);
  const extents: readonly { readonly depth: number; readonly data: boolean; readonly length: number }[] =
    JSON.parse(stdout);
  return extents.reduce((sum, { depth, data, length }) => sum + (data && depth === 0 ? length : 0), 0);
}

function formatOf(name: string): Format {
  return name.endsWith(".raw") ? "raw" : "qcow2";
}

async function mustBeEqual(one: string, other: string): Promise<void> {
  await run("qemu-img", [
    "compare",
    "-f",
    formatOf(one),
    "-F",
    formatOf(other),
    images.path(one),
    images.path(other),
  ]);
}

function titleOf({ sync, source, target, base }: Work): string {
  const from = base === undefined ? source : `${source} on ${base}`;
  const onto = sync === "top" ? `${target} on ${base}` : target;
  return `${sync}, ${from} to ${onto}`;
}

describe.skipIf(lacksPeers("qemu-img", "qemu-io", "qemu-storage-daemon"))(
  `the same work as qemu-storage-daemon (seed ${SEED})`,
  () => {
    test.each(WORK.map((work) => [titleOf(work), work] as const))("%s", async (_title, work) => {
      const [ours, theirs] = [await byUs(work), await byQemu(work)];
      await mustBeEqual(ours, theirs);
      // With sync none the target is the target's old content, but for what the guest wrote.
      if (work.sync !== "none") await mustBeEqual(nameOf("source-ours", work.source), ours);
      for (const name of [ours, theirs]) {
        if (formatOf(name) === "qcow2") await run("qemu-img", ["check", "-q", images.path(name)]);
      }
      expect(await dataBytes(ours)).toBeLessThanOrEqual(await dataBytes(theirs));
    });
  },
);
