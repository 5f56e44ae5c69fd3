import { BlockError } from "@blockmirror/block-driver";
import { JobError } from "@blockmirror/blockjob";
import { expect, it } from "vitest";
import { startMirror, type MirrorOptions } from "../src/index.ts";
import { KIB, MIB, openRig, type Rig } from "./support/rig.ts";

/** What a refused creation must leave as it was (S4.2, D18). */
function traces(rig: Rig): unknown {
  return {
    nodes: rig.graph.nodes().map((node) => node.name),
    sourceParents: [...rig.source.parents].map((edge) => edge.parentName),
    targetParents: [...rig.target.parents].map((edge) => edge.parentName),
    bitmaps: rig.source.dirtyBitmaps.size,
    jobs: rig.jobs.list().length,
  };
}

async function refusal(rig: Rig, options: Partial<MirrorOptions>): Promise<unknown> {
  const before = traces(rig);
  const error: unknown = await rig.mirror(options).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(traces(rig)).toEqual(before);
  // And guests are not held for ever by what was given up.
  await rig.run(Promise.resolve(rig.guest().write(0, [Buffer.alloc(1)])));
  return error;
}

it.each([
  ["granularity below 512 B", { granularity: 256 }],
  ["granularity above 64 MiB", { granularity: 128 * MIB }],
  ["granularity that is no power of two", { granularity: 3 * KIB }],
  ["negative buffer", { bufferSize: -1 }],
  ["fractional buffer", { bufferSize: 1.5 }],
  ["buffer beyond 1 GiB", { bufferSize: 2048 * MIB }],
  ["negative switch pause", { switchPauseMs: -1 }],
])("refuses a %s with EINVAL and no side effect (S3.3, D24)", async (_name, options) => {
  const rig = await openRig({ size: MIB });
  const error = await refusal(rig, options);
  expect(error).toBeInstanceOf(BlockError);
  expect(error).toMatchObject({ code: "EINVAL" });
});

it("refuses a disk that cannot be tracked at the granularity asked for, naming the remedy", async () => {
  const rig = await openRig({ size: 2 ** 52 });
  const error = await refusal(rig, { granularity: 512 });
  expect(error).toMatchObject({ code: "EINVAL" });
  expect(String(error)).toContain("larger granularity");
});

it("refuses a job id that is malformed or taken, and a negative speed, with no side effect", async () => {
  const rig = await openRig({ size: MIB });
  expect(await refusal(rig, { id: "0bad id", filterNodeName: "f" })).toBeInstanceOf(JobError);
  expect(await refusal(rig, { speed: -5 })).toBeInstanceOf(JobError);
});

it("refuses a target of another size, smaller or larger", async () => {
  for (const targetSize of [MIB - 512, MIB + 512]) {
    const rig = await openRig({ size: MIB, targetSize });
    expect(await refusal(rig, {})).toMatchObject({ code: "EINVAL" });
  }
});

it("refuses a read-only target", async () => {
  const rig = await openRig({ size: MIB, targetReadOnly: true });
  expect(await refusal(rig, {})).toMatchObject({ code: "EROFS" });
});

it("refuses to mirror a node into itself, also through filters", async () => {
  const rig = await openRig({ size: MIB });
  expect(await refusal(rig, { target: rig.source })).toMatchObject({ code: "EINVAL" });
  const below = rig.graph.find("source-fault");
  if (below === undefined) throw new Error("the rig has changed");
  expect(await refusal(rig, { target: below })).toMatchObject({ code: "EINVAL" });
});

it("refuses a source that has a job already (S4.2)", async () => {
  const rig = await openRig({ size: MIB });
  const other = await rig.graph.open({ driver: "memory", nodeName: "other", size: MIB });
  const { job } = await rig.mirror();
  const error: unknown = await startMirror({
    id: "m1",
    graph: rig.graph,
    jobs: rig.jobs,
    source: rig.source,
    target: other,
  }).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: "EBUSY" });
  expect(other.parents.size).toBe(0);
  job.cancel({ force: true });
  await rig.run(job.done);
});

it("refuses a target that somebody else writes to, naming both", async () => {
  const rig = await openRig({ size: MIB });
  rig.graph.attach(rig.target, { name: "export 'x'", uses: ["write"], shares: ["read", "write"] });
  const error: unknown = await rig.mirror().catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: "EBUSY" });
  expect(String(error)).toContain("export 'x'");
  expect(String(error)).toContain("mirror job 'm0'");
});

it("lets nobody write to the target, or past the filter to the source, while it runs", async () => {
  const rig = await openRig({ size: MIB });
  const { job } = await rig.mirror();
  expect(() => rig.guest(rig.target)).toThrow(/does not share/u);
  expect(() => rig.guest(rig.source)).toThrow(/does not share/u);
  job.cancel({ force: true });
  await rig.run(job.done);
  // Afterwards both are free again.
  await rig.graph.detach(rig.guest(rig.target));
  await rig.graph.detach(rig.guest(rig.source));
});

it.each([
  [0, 64 * KIB],
  [512, 512],
  [64 * MIB, 64 * MIB],
])("takes granularity %i as %i for a target without clusters (S3.2)", async (granularity, expected) => {
  const rig = await openRig({ size: MIB });
  const { job } = await rig.mirror({ granularity });
  expect(job.snapshot().details?.granularity).toBe(expected);
  await rig.until("BLOCK_JOB_READY");
  job.cancel({ force: true });
  await rig.run(job.done);
});
