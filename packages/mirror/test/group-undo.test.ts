import {
  ALL_PERMISSIONS,
  BlockError,
  BlockGraph,
  createDefaultRegistry,
  DRIVER_CONTRACT_VERSION,
  FaultController,
  option,
  optionSchema,
  PassThroughDevice,
  type BlockChild,
  type BlockDriver,
  type BlockEdge,
  type BlockNode,
  type DeviceInfo,
} from "@blockmirror/block-driver";
import { JobManager, JobTransaction, type Job, type JobResult } from "@blockmirror/blockjob";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startCommit, startMirror, startStream } from "../src/index.ts";
import { KIB, MIB } from "./support/rig.ts";

const SIZE = MIB;
const BASE = { backingFile: "/images/base.raw", backingFormat: "raw" };

/** Memory that has a file name, as what images record. */
class NamedDevice extends PassThroughDevice {
  readonly #filename: string;

  constructor(child: BlockChild, filename: string) {
    super("named", child);
    this.#filename = filename;
  }

  override get info(): DeviceInfo {
    return { ...super.info, filename: this.#filename };
  }
}

const namedDriver: BlockDriver<{
  readonly file: string | { readonly driver: string };
  readonly filename: string;
}> = {
  name: "named",
  kind: "filter",
  contractVersion: DRIVER_CONTRACT_VERSION,
  options: optionSchema({ file: option.child("what is named"), filename: option.string("its name") }),
  open: async ({ file, filename }, context) =>
    new NamedDevice(await context.openChild(file, "filtered"), filename),
};

let graph: BlockGraph;
let manager: JobManager;
let faults: FaultController;

function openWorld(): void {
  graph = new BlockGraph({ registry: createDefaultRegistry().register(namedDriver) });
  manager = new JobManager();
  faults = new FaultController();
}

async function closeWorld(): Promise<void> {
  faults.clear();
  await manager.close();
  await graph.closeAll().catch((error: unknown) => {
    if (!isFence(error) && !isFault(error)) throw error;
  });
}

beforeEach(openWorld);
afterEach(closeWorld);

/** Storage of an image: in memory, under a name, and below the fault filter if `fails`. */
async function storage(name: string, filename: string, size: number, fails: boolean): Promise<string> {
  await graph.open({ driver: "memory", nodeName: `${name}-memory`, size });
  const file = fails ? { driver: "fault", controller: faults, file: `${name}-memory` } : `${name}-memory`;
  await graph.open({ driver: "named", nodeName: `${name}-file`, filename, file });
  return `${name}-file`;
}

/** A qcow2 image; the storage of one whose standing the switch changes can fail. */
async function image(
  name: string,
  create: Readonly<Record<string, unknown>> = {},
  { backing, changes = false }: { readonly backing?: string; readonly changes?: boolean } = {},
): Promise<BlockNode> {
  const file = await storage(name, `/images/${name}.qcow2`, 0, changes);
  await graph.create("qcow2", { file, size: SIZE, ...create });
  return graph.open({ driver: "qcow2", nodeName: name, file, ...(backing !== undefined && { backing }) });
}

function guestOf(node: BlockNode, uses: readonly ("read" | "write")[] = ["read", "write"]): BlockEdge {
  return graph.attach(node, { name: `guest of ${node.name}`, uses, shares: ALL_PERMISSIONS });
}

async function contentOf(edge: BlockEdge): Promise<Buffer> {
  const bytes = Buffer.alloc(SIZE);
  await edge.read(0, [bytes]);
  return bytes;
}

/** What an image stands on, what it records, and its mode. */
function standingOf(node: BlockNode): unknown {
  const { namedBacking, readOnly } = node.info;
  return { node: node.name, on: node.child("backing")?.node.name, namedBacking, readOnly };
}

interface Group {
  readonly jobs: readonly Job[];
  readonly guests: readonly BlockEdge[];
  /** Where each of them is before and after the switch. */
  readonly homes: readonly (readonly [before: string, after: string])[];
  /** Images whose standing the switch changes. */
  readonly changed: readonly BlockNode[];
}

/** One job of every kind that changes what an image stands on, and every mode, up to where only `finalize` is left. */
async function openGroup(): Promise<Group & { readonly before: readonly unknown[] }> {
  const base = await graph.open({
    driver: "raw",
    nodeName: "base",
    readOnly: true,
    file: await storage("base", BASE.backingFile, SIZE, false),
  });
  await graph.find("base-memory")?.write(0, [Buffer.alloc(base.size, 1)]);
  const common = {
    graph,
    jobs: manager,
    transaction: new JobTransaction(),
    autoDismiss: false,
    autoFinalize: false,
  };
  const chained = { ...common, backingMode: "source-chain" } as const;

  const top = await image("top", BASE, { backing: "base" });
  const topCopy = await image("top-copy", {}, { changes: true });
  const none = await image("none");
  const noneCopy = await image("none-copy", {}, { changes: true });
  const full = await image("full", BASE, { backing: "base" });
  const fullCopy = await image("full-copy", BASE, { backing: "base", changes: true });
  await image("low");
  await image("middle", { backingFile: "/images/low.qcow2", backingFormat: "qcow2" }, { backing: "low" });
  const over = await image(
    "over",
    { backingFile: "/images/middle.qcow2", backingFormat: "qcow2" },
    { backing: "middle", changes: true },
  );
  const filled = await image("filled", BASE, { backing: "base", changes: true });
  const [low, middle] = [graph.find("low"), graph.find("middle")];
  if (low === undefined || middle === undefined) throw new Error("no chain");
  for (const node of [top, none, full, middle, filled]) await node.write(64 * KIB, [Buffer.alloc(1000, 2)]);
  await graph.reopen(full, { readOnly: true });
  const changed = [topCopy, noneCopy, fullCopy, over, filled];
  const before = changed.map(standingOf);
  const guests = [guestOf(top), guestOf(none), guestOf(full, ["read"]), guestOf(over), guestOf(filled)];

  const mirrors = [
    await startMirror({ ...chained, id: "top-job", source: top, target: topCopy, sync: "top" }),
    await startMirror({ ...chained, id: "none-job", source: none, target: noneCopy, sync: "none" }),
    await startMirror({ ...chained, id: "full-job", source: full, target: fullCopy, sync: "full" }),
  ].map(({ job }) => job);
  const commit = (await startCommit({ ...common, id: "commit-job", top: middle, base: low })).job;
  const stream = await startStream({ ...common, id: "stream-job", image: filled });
  const all: readonly Job[] = [...mirrors, commit, stream];
  await until(() => mirrors.every(({ status }) => status === "ready"));
  for (const job of mirrors) await job.complete();
  await until(() => all.every(({ status }) => status === "pending"));
  return {
    jobs: all,
    guests,
    homes: [
      ["top", "top-copy"],
      ["none", "none-copy"],
      ["full", "full-copy"],
      ["over", "over"],
      ["filled", "filled"],
    ],
    changed,
    before,
  };
}

function until(holds: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const stop = manager.subscribe(() => {
      if (!holds()) return;
      stop();
      resolve();
    });
    if (!holds()) return;
    stop();
    resolve();
  });
}

/** Finalizes while guests write to what is mirrored; then each finds what it wrote, where it is. */
async function finalize(
  { jobs, guests, changed }: Group,
  prepare: () => void,
): Promise<readonly JobResult[]> {
  const expected = await Promise.all(guests.map(contentOf));
  prepare();
  const [first] = jobs;
  first?.finalize();
  const ended = Promise.all(jobs.map(({ done }) => done));
  const over = new AbortController();
  void ended.then(() => over.abort());
  await Promise.all(
    // The last of them are on images whose faults would be theirs.
    guests.slice(0, 2).map(async (guest, index) => {
      for (let at = 0; !over.signal.aborted && at < SIZE; at += 5000) {
        try {
          await guest.write(at, [Buffer.alloc(100, 10)]);
        } catch (error) {
          // All is done, and the fault has struck the guest instead.
          expect(guest.node, String(error)).toBe(changed[index]);
          break;
        }
        expected[index]?.fill(10, at, at + 100);
      }
    }),
  );
  const results = await ended;
  faults.clear();
  for (const [index, guest] of guests.entries()) {
    if (isFenced(results[index], changed[index]) && guest.node === changed[index]) continue;
    expect((await contentOf(guest)).equals(expected[index] ?? Buffer.alloc(0)), guest.parentName).toBe(true);
  }
  return results;
}

/** Some faults make an image refuse everything, its way back included, until it is opened again. */
function isFenced(result: JobResult | undefined, node: BlockNode | undefined): boolean {
  return node?.fence !== undefined || isFence(result?.cleanupError);
}

function isFault(error: unknown): boolean {
  return error instanceof BlockError && error.message.startsWith("injected");
}

function isFence(error: unknown): boolean {
  return error instanceof BlockError && error.code === "BLK_FENCED";
}

function found({ guests }: Group): readonly string[] {
  return guests.map(({ node }) => node.name);
}

/** What the image records, by a look at its storage when it is closed. */
async function recordInStorage(node: BlockNode): Promise<unknown> {
  const file = `${node.name}-memory`;
  const look = await graph.open({ driver: "qcow2", file, backing: null, readOnly: true });
  const { namedBacking } = look.info;
  await graph.close(look);
  return namedBacking;
}

async function play(prepare: () => void): Promise<"switched" | "kept"> {
  const group = await openGroup();
  const results = await finalize(group, prepare);
  const outcomes = new Set(results.map(({ outcome }) => outcome));
  const fenced = results.filter((result, index) => isFenced(result, group.changed[index]));
  expect(fenced.length).toBeLessThanOrEqual(1);
  for (const result of results) if (!fenced.includes(result)) expect(result.cleanupError).toBeUndefined();
  const switched = outcomes.size === 1 && outcomes.has("completed");
  expect(found(group)).toEqual(group.homes.map((home) => home[switched ? 1 : 0]));
  const standing = group.changed.map(standingOf);
  if (switched) {
    expect(standing).toEqual([
      { node: "top-copy", on: "base", namedBacking: named("base.raw", "raw"), readOnly: false },
      { node: "none-copy", on: "none", namedBacking: named("none.qcow2", "qcow2"), readOnly: false },
      { node: "full-copy", on: undefined, namedBacking: undefined, readOnly: true },
      { node: "over", on: "low", namedBacking: named("low.qcow2", "qcow2"), readOnly: false },
      { node: "filled", on: undefined, namedBacking: undefined, readOnly: false },
    ]);
  } else {
    expect(outcomes.has("completed")).toBe(false);
    const stands = <Fact>(facts: readonly Fact[]): readonly Fact[] =>
      facts.filter((_fact, index) => !isFenced(results[index], group.changed[index]));
    expect(stands(standing)).toEqual(stands(group.before));
  }
  const whole = group.changed.filter((node, index) => !isFenced(results[index], node));
  for (const guest of group.guests) await graph.detach(guest);
  for (const node of whole) {
    const record = node.info.namedBacking;
    // An image tells of a fault that it met once more when it is closed.
    await graph.close(node).catch((error: unknown) => {
      if (!isFence(error) && !isFault(error)) throw error;
    });
    expect(await recordInStorage(node)).toEqual(record);
  }
  return switched ? "switched" : "kept";
}

function named(name: string, format: string): unknown {
  return { filename: `/images/${name}`, format };
}

describe("a group of mirrors, commits and streams takes effect as a whole", () => {
  test("without a fault", async () => {
    expect(await play(() => {})).toBe("switched");
  });

  test.each(["write", "flush", "read"] as const)(
    "a %s that fails, whichever it is, leaves every link, record and mode as it was",
    async (operation) => {
      let kept = 0;
      for (let nth = 1; ; nth += 1) {
        if ((await play(() => faults.add({ operation, nth, error: "EIO" }))) === "switched") break;
        kept += 1;
        await closeWorld();
        openWorld();
      }
      expect(kept).toBeGreaterThan(operation === "read" ? 0 : 3);
    },
    300_000,
  );
});
