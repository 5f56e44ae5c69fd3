import {
  BlockError,
  skipFilters,
  type BlockEdge,
  type BlockGraph,
  type BlockNode,
  type DirtyBitmap,
  type DrainedSection,
} from "@blockmirror/block-driver";
import type { Job, JobManager, JobOptions } from "@blockmirror/blockjob";
import type { DiskMap } from "./disk-map.ts";
import { DrainRelay } from "./drain-relay.ts";
import { takeBack, type Step } from "./every-step.ts";
import { chooseGranularity } from "./granularity.ts";
import { COMMIT_FILTER_DRIVER, MIRROR_FILTER_DRIVER, MirrorFilter } from "./mirror-filter.ts";
import type { FoldInit } from "./commit/fold.ts";
import type { MirrorDetails } from "./mirror-details.ts";
import { MirrorJob } from "./mirror-job.ts";
import { copyBitmap } from "./initial-scan.ts";
import { isTraced, trace } from "./tracing.ts";
import { mustBeReplaceable } from "./switch-over.ts";
import { TargetBacking } from "./target-backing.ts";
import { StreamFilter } from "./stream/stream-filter.ts";
import { resolveTuning, type LargerTarget, type MirrorTuning } from "./options.ts";

/** What to mirror and how. */
export interface MirrorOptions extends MirrorTuning, Omit<JobOptions, "id" | "internal"> {
  /** Id of the job: a letter, then letters, digits, `-`, `.`, `_`; unique in the manager. */
  readonly id: string;
  readonly graph: BlockGraph;
  readonly jobs: JobManager;
  /** The node to copy. Whoever uses it goes on using it, through the job's filter. */
  readonly source: BlockNode;
  /** The node to copy to: writable, of the same size, used by nobody else for writing. */
  readonly target: BlockNode;
  /**
   * The node whose users are led to the target by `complete()`: the source, or one below it with only filters between,
   * which then stay where they are, above the target. Default: the source.
   */
  readonly replaces?: BlockNode;
  /** Name of the filter's node. Default: made from the id. */
  readonly filterNodeName?: string;
}

/** A mirror that runs. */
export interface Mirror {
  /** Verbs, events and the end: `complete()` switches the users of the source to the target. */
  readonly job: Job<MirrorDetails>;
  /** The state of the disk in `cellCount` cells; `into` is reused when it fits. */
  map(cellCount: number, into?: DiskMap): DiskMap;
  /** Whether the users of the source were switched to the target. */
  readonly switched: boolean;
}

/**
 * Starts a mirror. When it resolves the job runs, and every write to the source since is followed.
 *
 * The caller keeps owning both nodes, and closes them when the job has ended.
 *
 * @throws BlockError `EINVAL` for options or sizes that cannot work, `EBUSY` when source or target is in use in a way that
 * excludes the job, `EROFS` for a target that is read-only.
 * @throws JobError for the job's id and speed. After a refusal nothing is left behind (mirror rule S4.2).
 */
export function startMirror(options: MirrorOptions): Promise<Mirror> {
  return startCopying(options);
}

/** What {@link startMirror} and a commit have in common: the latter folds the source into a node of its own chain. */
export async function startCopying(options: MirrorOptions, fold?: FoldInit): Promise<Mirror> {
  const { graph, jobs, source, target, id } = options;
  const tuning = resolveTuning(options);
  checkNodes(source, target, tuning.largerTarget);
  const replaces = options.replaces === source ? undefined : options.replaces;
  if (replaces !== undefined) mustBeReplaceable(replaces, source, target);
  const from = tuning.bitmap === undefined ? undefined : findBitmap(source, tuning.bitmap);
  const backing = new TargetBacking({ graph, tuning, source, target, replaces });
  const wholeChunksOnly = backing.isClosed;
  const granularity = chooseGranularity(tuning.granularity, target.info, wholeChunksOnly);
  const relays = { source: new DrainRelay(), target: new DrainRelay() };
  const undo: Step[] = [() => backing.undo()];
  // Guests are held until the bitmap is in place, so that no write falls between filter and bitmap.
  let section: DrainedSection | undefined;
  try {
    await backing.begin();
    section = await graph.drain(source);
    const { node: filter, device } = await insertFilter(
      graph,
      source,
      options.filterNodeName ?? `#mirror-${id}`,
      fold?.record === undefined ? MIRROR_FILTER_DRIVER : COMMIT_FILTER_DRIVER,
    );
    undo.push(() => graph.removeFilter(filter));
    const dirty = createBitmap(filter, granularity);
    undo.push(() => {
      dirty.busy = false;
      filter.removeDirtyBitmap(dirty);
    });
    if (from !== undefined) copyBitmap(from, dirty);
    const claims = attachJob(
      graph,
      `${fold === undefined ? "mirror" : "commit"} job '${id}'`,
      source,
      target,
      relays,
    );
    undo.push(...claims.map((edge) => () => graph.detach(edge)));
    const [sourceEdge, targetEdge] = claims;
    const driver = new MirrorJob({
      id,
      graph,
      source: sourceEdge,
      target: targetEdge,
      filter,
      guestRequests: () => device.requests,
      isTargetDrained: () => relays.target.isDrained,
      dirty,
      granularity,
      tuning,
      wholeChunksOnly,
      backing,
      ...(replaces !== undefined && { replaces }),
      ...(fold !== undefined && { fold }),
    });
    device.follow(driver.guestWrites);
    const job = jobs.create(driver, options);
    relays.source.bind(job);
    relays.target.bind(job);
    section.end();
    if (isTraced("start")) trace("start", { job: id, source: source.name, target: target.name });
    job.start();
    return {
      job,
      map: (cellCount, into) => driver.map(cellCount, into),
      get switched() {
        return driver.switched;
      },
    };
  } catch (error) {
    throw await takeBack(undo, explain(error, source, granularity));
  } finally {
    section?.end();
  }
}

/** The bitmaps of a huge disk in tiny chunks may be more than there is memory for, or than a bitmap can be. */
function explain(error: unknown, source: BlockNode, granularity: number): unknown {
  if (!(error instanceof RangeError)) return error;
  return new BlockError(
    "EINVAL",
    `cannot track ${source.size} bytes in chunks of ${granularity} bytes; ask for a larger granularity`,
    { node: source.name, operation: "mirror", cause: error },
  );
}

function findBitmap(source: BlockNode, name: string): DirtyBitmap {
  const found = [...source.dirtyBitmaps].find((bitmap) => bitmap.name === name);
  if (found !== undefined) return found;
  const names = [...source.dirtyBitmaps].flatMap((bitmap) => bitmap.name ?? []);
  throw new BlockError(
    "EINVAL",
    `node '${source.name}' has no dirty bitmap '${name}'; ${names.length === 0 ? "it has none" : `it has ${names.join(", ")}`}`,
    { node: source.name, operation: "mirror" },
  );
}

function checkNodes(source: BlockNode, target: BlockNode, larger: LargerTarget): void {
  if (skipFilters(source) === skipFilters(target)) {
    throw new BlockError("EINVAL", `Can't mirror node '${source.name}' into itself`, {
      node: source.name,
      operation: "mirror",
    });
  }
  refuseBusy(source);
  if (target.info.readOnly) {
    throw new BlockError("EROFS", `target node '${target.name}' is open read-only; open it writable`, {
      node: target.name,
      operation: "mirror",
    });
  }
  if (source.size > target.size || (source.size < target.size && larger === "refuse")) {
    throw new BlockError(
      "EINVAL",
      `Source and target image have different sizes: '${source.name}' has ${source.size} bytes, '${target.name}' ${target.size}`,
      { node: target.name, operation: "mirror" },
    );
  }
}

function isFilter(node: BlockNode | undefined): boolean {
  return node?.device instanceof MirrorFilter || node?.device instanceof StreamFilter;
}

/** @throws BlockError `EBUSY` when a job copies the node already. */
export function refuseBusy(source: BlockNode): void {
  if (isFilter(source) || [...source.parents].some(({ owner }) => isFilter(owner))) throw busy(source);
}

function busy(source: BlockNode): BlockError {
  return new BlockError(
    "EBUSY",
    `Node '${source.name}' is busy: block device is in use by block job: mirror`,
    {
      node: source.name,
      operation: "mirror",
    },
  );
}

async function insertFilter(
  graph: BlockGraph,
  source: BlockNode,
  nodeName: string,
  driver: string,
): Promise<{ readonly node: BlockNode; readonly device: MirrorFilter }> {
  const made: MirrorFilter[] = [];
  const node = await graph.insertFilter(source, {
    nodeName,
    device: (child) => {
      const device = new MirrorFilter(child, driver);
      made.push(device);
      return device;
    },
    // A write past the filter would never be copied.
    shares: ["read", "write-unchanged"],
  });
  const [device] = made;
  if (device === undefined) throw new TypeError("insertFilter made no device");
  return { node, device };
}

function createBitmap(filter: BlockNode, granularity: number): DirtyBitmap {
  // The filter's device marks it: only that knows which writes have reached the target by themselves.
  const bitmap = filter.createDirtyBitmap({ granularity, enabled: false });
  bitmap.busy = true;
  return bitmap;
}

/** The job's claims: it reads the source whoever writes there, and is the only one to write the target. */
function attachJob(
  graph: BlockGraph,
  name: string,
  source: BlockNode,
  target: BlockNode,
  relays: { readonly source: DrainRelay; readonly target: DrainRelay },
): readonly [BlockEdge, BlockEdge] {
  const parent = (relay: DrainRelay) => ({ name, onDrainBegin: relay.begin, onDrainEnd: relay.end });
  const sourceEdge = graph.attach(source, {
    ...parent(relays.source),
    uses: ["read"],
    shares: ["read", "write", "write-unchanged"],
  });
  try {
    const targetEdge = graph.attach(target, {
      ...parent(relays.target),
      uses: ["write"],
      shares: ["read", "write-unchanged"],
    });
    return [sourceEdge, targetEdge];
  } catch (error) {
    void graph.detach(sourceEdge);
    throw error;
  }
}
