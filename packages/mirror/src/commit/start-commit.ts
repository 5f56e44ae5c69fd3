import { BlockError, type BlockGraph, type BlockNode } from "@blockmirror/block-driver";
import type { ErrorPolicy, JobManager, JobOptions } from "@blockmirror/blockjob";
import { BackingChange } from "../backing-change.ts";
import { everyStep, takeBack, type Step } from "../every-step.ts";
import type { MirrorTuning } from "../options.ts";
import { refuseBusy, startCopying, type Mirror } from "../start-mirror.ts";
import { ChainHold, layersAbove } from "./chain-hold.ts";
import { overlaysOf, recordFor } from "./overlays.ts";

/** What to commit and how. */
export interface CommitOptions
  extends
    Pick<MirrorTuning, "copyMode" | "granularity" | "bufferSize" | "detectZeroes" | "switchPauseMs">,
    Omit<JobOptions, "id" | "internal"> {
  /** Id of the job: a letter, then letters, digits, `-`, `.`, `_`; unique in the manager. */
  readonly id: string;
  readonly graph: BlockGraph;
  readonly jobs: JobManager;
  /** The live overlay, or an image that others stand on. Whoever uses it goes on using it, through the job's filter. */
  readonly top: BlockNode;
  /** The image that takes the content of every layer above it. */
  readonly base: BlockNode;
  /** What an error does, on either side. Default `report`. */
  readonly onError?: ErrorPolicy;
  /**
   * The name that overlays of `top` record for `base`, at most 1023 bytes. Default: the name by which `base` was opened.
   * Only for a `top` that others stand on.
   */
  readonly backingFile?: string;
  /** Name of the filter's node. Default: made from the id. */
  readonly filterNodeName?: string;
}

/**
 * Starts a commit. An active one, of a live `top`: what the layers from `top` down to `base` hold is copied into `base`, and what is written to
 * `top` meanwhile follows. When the job is READY, `complete()` leads the users of `top` to `base` at one instant; `cancel()`
 * leaves the chain as it is, with `top`'s content in `base`.
 *
 * When other images stand on `top`, nobody writes there, and the job ends by itself when everything is copied: without
 * READY, the overlays record `base` as their backing file and are led there. Cancelled before, it leaves the chain as it is.
 *
 * A read-only base is opened for writing, and read-only again when the job ends without a switch. A base that is shorter
 * than `top` is grown first; a longer one keeps its length, and then only an unused `top` can be completed.
 *
 * The caller keeps owning both nodes. After a switch the layers above the base are of no use: the job closes `top` unless
 * somebody still uses it, and with it what was opened inline below; a base that was opened inline and that nobody uses is
 * closed as well.
 *
 * @throws BlockError `EINVAL` for options or when `base` is not below `top`, `EBUSY` when somebody else relies on `base`
 * or an image between, and whatever opening the base for writing or growing it meets.
 * @throws JobError for the job's id and speed. After a refusal everything is as before (mirror rules S30.1 and S30.3).
 */
export async function startCommit(options: CommitOptions): Promise<Mirror> {
  const { graph, top, base, backingFile, onError = "report", ...rest } = options;
  refuseBusy(top);
  const layers = layersAbove(top, base);
  const overlays = overlaysOf(top);
  if (overlays.length === 0 && backingFile !== undefined) {
    throw new BlockError("EINVAL", `no image stands on '${top.name}' that could record '${backingFile}'`, {
      node: top.name,
      operation: "commit",
    });
  }
  for (const overlay of overlays) refuseTail(overlay, top, base);
  const recorded = recordFor(overlays, base, backingFile);
  const changing = graph.changing();
  const changes = overlays.map((overlay) => new BackingChange(changing, overlay));
  const wasReadOnly = base.info.readOnly;
  const undo: Step[] = [];
  try {
    if (wasReadOnly) {
      await graph.reopen(base, { readOnly: false });
      undo.push(() => graph.reopen(base, { readOnly: true }));
    }
    const hold = new ChainHold(graph, layers, `commit job '${options.id}'`);
    undo.push(() => hold.end(true));
    const lengthBefore = base.size;
    if (lengthBefore < top.size) {
      await resizeTo(graph, base, top.size);
      undo.push(() => resizeTo(graph, base, lengthBefore));
    }
    return await startCopying(
      {
        ...rest,
        graph,
        source: top,
        target: base,
        sync: "top",
        largerTarget: "leave",
        onSourceError: onError,
        onTargetError: onError,
      },
      {
        base,
        ...(overlays.length > 0 && {
          record: async () => {
            if (recorded === undefined) return;
            for (const change of changes) await change.record(recorded);
          },
          unrecord: () => everyStep(changes.toReversed().map((change) => () => change.undo())),
        }),
        letGo: () => hold.letGo(),
        clean: (switched) =>
          finish({
            graph: changing,
            top,
            base,
            staysBelow: overlays.length > 0,
            wasReadOnly,
            switched,
            hold,
          }),
        left: async (switched) => {
          if (switched && top.parents.size === 0) await graph.close(top);
        },
      },
    );
  } catch (error) {
    throw await takeBack(undo, error);
  }
}

/** Where an overlay is longer than the image below, zeroes show; a longer base would show what it has there. */
function refuseTail(overlay: BlockNode, top: BlockNode, base: BlockNode): void {
  if (overlay.size <= top.size || base.size <= top.size) return;
  throw new BlockError(
    "EINVAL",
    `'${overlay.name}' (${overlay.size} bytes) and '${base.name}' (${base.size}) are both longer than '${top.name}' (${top.size}): what the base has behind that would show in the overlay; shorten the base first`,
    { node: top.name, operation: "commit" },
  );
}

async function resizeTo(graph: BlockGraph, base: BlockNode, size: number): Promise<void> {
  const edge = graph.attach(base, {
    name: "growing the base of a commit",
    uses: ["resize"],
    shares: ["read", "write-unchanged"],
  });
  try {
    await edge.resize(size);
  } finally {
    await graph.detach(edge);
  }
}

interface Ending {
  readonly graph: BlockGraph;
  readonly top: BlockNode;
  readonly base: BlockNode;
  /** Overlays stand on the base when the job has ended. */
  readonly staysBelow: boolean;
  readonly wasReadOnly: boolean;
  readonly switched: boolean;
  readonly hold: ChainHold;
}

/** Mirror rules S30.3 and S31.1: the base is as it was, or the layers above it leave. */
async function finish({ graph, top, base, staysBelow, wasReadOnly, switched, hold }: Ending): Promise<void> {
  const becomesReadOnly = wasReadOnly && (!switched || staysBelow || top.info.readOnly);
  await everyStep([
    () => hold.end(!switched),
    () => (becomesReadOnly ? graph.reopen(base, { readOnly: true }) : undefined),
  ]);
}
