import { realpath } from "node:fs/promises";
import type { BlockNode } from "@blockmirror/block-driver";
import type { ErrorPolicy } from "@blockmirror/blockjob";
import { startCommit, type CopyMode } from "@blockmirror/mirror";
import { imageSpec } from "../images/image-location.ts";
import { IMAGE_FORMATS, type ImageFormat } from "../images/image-format.ts";
import type { EmbeddedEngine } from "./embedded-engine.ts";
import type { EngineJob } from "./engine-job.ts";
import { inspectImage } from "./image-file.ts";
import { RequestError } from "./request-error.ts";
import { bufferSizeProblem, granularityProblem, jobIdProblem } from "./request-values.ts";

/** A commit of an overlay into an image below it, as the command line describes it. */
export interface CommitRequest {
  readonly id: string;
  /** Path of the overlay. */
  readonly overlay: string;
  /** Default: told by its first bytes. */
  readonly overlayFormat?: ImageFormat;
  /** Path of an image in its backing chain. Default: the one that the overlay itself stands on. */
  readonly base?: string;
  readonly copyMode: CopyMode;
  /** Bytes per second; 0 = unlimited. */
  readonly speed: number;
  /** Bytes; 0 = automatic. */
  readonly granularity: number;
  /** Bytes; 0 = default. */
  readonly bufferSize: number;
  readonly onError: ErrorPolicy;
}

/**
 * Starts an active commit in the engine. The overlay is only read; the base is opened for writing by the job.
 * @throws RequestError when the images do not fit the request; BlockError and JobError from below. Nothing stays open then.
 */
export async function commitImages(engine: EmbeddedEngine, request: CommitRequest): Promise<EngineJob> {
  const { graph, jobs } = engine;
  const { id, overlay, copyMode, speed, granularity, bufferSize, onError } = request;
  const problem = jobIdProblem(id) ?? granularityProblem(granularity) ?? bufferSizeProblem(bufferSize);
  if (problem !== undefined) throw new RequestError(problem);
  const image = await inspectImage(overlay, graph, request.overlayFormat);
  if (image.state === "missing") {
    throw new RequestError(`overlay ${overlay} does not exist; check the path`);
  }
  if (image.state === "unusable") throw new RequestError(`overlay ${image.reason}`);
  const { node: top, chain } = await graph.openChain(imageSpec(overlay, image.format, true));
  try {
    const base = await findBase(request, chain);
    const mirror = await startCommit({
      id,
      graph,
      jobs,
      top,
      base,
      copyMode,
      speed,
      granularity,
      bufferSize,
      onError,
      autoDismiss: false,
    });
    return engine.adopt({
      mirror,
      job: mirror.job,
      source: top,
      target: base,
      request: {
        id,
        source: overlay,
        target: base.info.filename ?? base.name,
        sourceFormat: image.format,
        targetFormat: IMAGE_FORMATS.find((format) => format === base.info.driver) ?? "raw",
        existing: true,
        sync: "top",
        copyMode,
        speed,
        granularity,
        bufferSize,
        onSourceError: onError,
        onTargetError: onError,
      },
    });
  } catch (error) {
    if (top.parents.size === 0) await graph.close(top);
    throw error;
  }
}

async function findBase(request: CommitRequest, chain: readonly BlockNode[]): Promise<BlockNode> {
  const below = chain.slice(0, -1);
  const nearest = below.at(-1);
  if (nearest === undefined) {
    throw new RequestError(`${request.overlay} has no backing file, so there is nothing to commit it into`);
  }
  if (request.base === undefined) return nearest;
  const wanted = await realPath(request.base);
  for (const node of below) {
    const { filename } = node.info;
    if (filename !== undefined && (await realPath(filename)) === wanted) return node;
  }
  const names = below.toReversed().map(({ info }) => info.filename ?? info.label);
  throw new RequestError(
    `base ${request.base} is not in the backing chain of ${request.overlay}, which is ${names.join(", then ")}`,
  );
}

async function realPath(filename: string): Promise<string> {
  try {
    return await realpath(filename);
  } catch {
    throw new RequestError(`base ${filename} does not exist; check the path`);
  }
}
