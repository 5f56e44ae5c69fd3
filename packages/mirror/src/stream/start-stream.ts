import { BlockError, skipFilters, type BlockGraph, type BlockNode } from "@blockmirror/block-driver";
import type { ErrorPolicy, Job, JobManager, JobOptions } from "@blockmirror/blockjob";
import { BackingChange } from "../backing-change.ts";
import { layersAbove } from "../commit/chain-hold.ts";
import { DrainRelay } from "../drain-relay.ts";
import { everyStep, takeBack, type Step } from "../every-step.ts";
import { refuseBusy } from "../start-mirror.ts";
import { StreamFilter } from "./stream-filter.ts";
import { StreamJob, type StreamDetails } from "./stream-job.ts";

/** What to stream and how. */
export interface StreamOptions extends Omit<JobOptions, "id" | "internal"> {
  /** Id of the job: a letter, then letters, digits, `-`, `.`, `_`; unique in the manager. */
  readonly id: string;
  readonly graph: BlockGraph;
  readonly jobs: JobManager;
  /** The image that is filled. Whoever uses it goes on using it, through the job's filter. */
  readonly image: BlockNode;
  /** The layer below that stays below. Absent: none, so that the image stands alone afterwards. */
  readonly base?: BlockNode;
  /** The name that the image records for `base`. Default: the name by which `base` was opened. */
  readonly backingFile?: string;
  /** What an error does, on either side. Default `report`. `ignore` goes on, and fails at the end. */
  readonly onError?: ErrorPolicy;
  /** Name of the filter's node. Default: made from the id. */
  readonly filterNodeName?: string;
}

/**
 * Starts a stream: what an image shows of the layers between it and `base` is copied into it, while guests go on; then it
 * records `base` as its backing file, or none, and stands on it. There is no READY: the job ends by itself. Cancelled, the
 * image keeps what was copied and its chain; what it shows never changes.
 *
 * A read-only image is opened for writing, and read-only again at the end. The caller keeps owning the nodes; layers that
 * were opened inline and are not needed any more are closed.
 *
 * @throws BlockError `EINVAL` when `base` is not below the image or has no name to record, `EBUSY` when a job uses the
 * image or its chain, and whatever opening the image for writing meets.
 * @throws JobError for the job's id and speed. After a refusal everything is as before.
 */
export async function startStream(options: StreamOptions): Promise<Job<StreamDetails>> {
  const { graph, jobs, image, base, onError = "report", filterNodeName, backingFile, ...rest } = options;
  const { id } = rest;
  refuseBusy(image);
  const layer = skipFilters(image);
  if (base !== undefined) layersAbove(image, base);
  const recorded = base === undefined ? null : nameOf(base, backingFile);
  const changing = graph.changing();
  const change = new BackingChange(changing, layer);
  const wasReadOnly = layer.info.readOnly;
  const relay = new DrainRelay();
  const undo: Step[] = [];
  try {
    if (wasReadOnly) {
      await graph.reopen(layer, { readOnly: false });
      undo.push(() => graph.reopen(layer, { readOnly: true }));
    }
    const made: StreamFilter[] = [];
    const filter = await graph.insertFilter(image, {
      nodeName: filterNodeName ?? `#stream-${id}`,
      device: (child) => {
        const device = new StreamFilter(child);
        made.push(device);
        return device;
      },
      // A write past the filter could be overwritten by what was below.
      shares: ["read", "write-unchanged"],
    });
    undo.push(() => graph.removeFilter(filter));
    const [device] = made;
    if (device === undefined) throw new TypeError("insertFilter made no device");
    const edge = graph.attach(image, {
      name: `stream job '${id}'`,
      uses: ["read", "write-unchanged"],
      shares: ["read", "write", "write-unchanged"],
      // A request of the job must not be held back: guests that the section waits for may wait for the job.
      onDrainBegin: relay.begin,
      onDrainEnd: relay.end,
    });
    undo.push(() => graph.detach(edge));
    const driver = new StreamJob({
      graph,
      image: edge,
      filter,
      device,
      base,
      onError,
      relink: async () => {
        const below = layer.child("backing")?.node;
        if (below === undefined || below === base) return;
        await change.record(recorded);
        await change.lead(base ?? null);
      },
      undo: () => change.undo(),
      clean: () =>
        everyStep([
          () => change.settle(),
          () => (wasReadOnly ? changing.reopen(layer, { readOnly: true }) : undefined),
        ]),
    });
    const job = jobs.create(driver, rest);
    relay.bind(job);
    job.start();
    return job;
  } catch (error) {
    throw await takeBack(undo, error);
  }
}

function nameOf(
  base: BlockNode,
  name: string | undefined,
): { readonly filename: string; readonly format: string } {
  const filename = name ?? base.info.filename;
  if (filename !== undefined) return { filename, format: skipFilters(base).info.driver };
  throw new BlockError(
    "EINVAL",
    `node '${base.name}' has no file name that could be recorded as a backing file; give one as backingFile`,
    { node: base.name, operation: "stream" },
  );
}
