import type { BlockGraph } from "@blockmirror/block-driver";
import type { NewJobReview } from "../job-source/job-source.ts";
import { formatExactSize } from "../format/bytes.ts";
import { formatOfName, type ImageFormat } from "../images/image-format.ts";
import { isNbdUri } from "../images/is-nbd-uri.ts";
import { inspectImage, whyNotCreatable, type ImageFile, type OpenImage } from "./image-file.ts";
import { standsOnSource, type MirrorRequest } from "./mirror-request.ts";
import { REMEDIES, type Remedies } from "./remedies.ts";
import { bufferSizeProblem, granularityProblem, jobIdProblem } from "./request-values.ts";

type Problem = NewJobReview["problems"][number];
type Image = Extract<ImageFile, { readonly state: "image" }>;

/** The formats of both images, once they are known. */
export interface RequestFormats {
  readonly source: ImageFormat;
  readonly target: ImageFormat;
}

/** A review, and what it found out on its way. */
export interface RequestReview extends NewJobReview {
  readonly formats: RequestFormats;
}

/**
 * Looks at a request without side effects. Every problem says what to do about it; starting a request that has none may
 * still fail, but not for a reason that could be seen from here. `openSource` is the source when it is open already.
 */
export async function reviewRequest(
  request: MirrorRequest,
  graph: BlockGraph,
  openSource?: OpenImage,
): Promise<RequestReview> {
  const problems: Problem[] = [...checkValues(request)];
  const source = await inspectImage(request.source, graph, request.sourceFormat, openSource);
  const target = await inspectImage(request.target, graph, request.targetFormat);
  const formats = formatsOf(request, source, target);
  problems.push(...checkSource(request, source));
  problems.push(...(await checkTarget(request, source, target, formats)));
  if (target.state !== "image" || !request.existing || problems.length > 0) return { problems, formats };
  return { problems, formats, destroys: { target: request.target, size: target.size } };
}

function formatsOf(request: MirrorRequest, source: ImageFile, target: ImageFile): RequestFormats {
  const ofSource = source.state === "image" ? source.format : (request.sourceFormat ?? "raw");
  const ofTarget = request.existing && target.state === "image" ? target.format : undefined;
  return { source: ofSource, target: ofTarget ?? request.targetFormat ?? formatByName(request) ?? ofSource };
}

/** What a new target's name says. A name like the source's says that it is to be the same, whatever that is. */
function formatByName({ source, target }: MirrorRequest): ImageFormat | undefined {
  const format = formatOfName(target);
  return format === formatOfName(source) ? undefined : format;
}

function* checkValues(request: MirrorRequest): Generator<Problem> {
  const id = jobIdProblem(request.id);
  if (id !== undefined) yield { field: "id", message: `'${request.id}': ${id}` };
  const granularity = granularityProblem(request.granularity);
  if (granularity !== undefined) yield { field: "granularity", message: granularity };
  const bufferSize = bufferSizeProblem(request.bufferSize);
  if (bufferSize !== undefined) yield { field: "bufferSize", message: bufferSize };
  yield* checkBitmap(request);
  if (request.backingMode === "source-chain" && request.sync === "bitmap") {
    yield {
      field: "backingMode",
      message: "source-chain is not for sync bitmap: the target stands on what it did",
    };
  }
}

function* checkBitmap({ sync, bitmap, existing, askedBy }: MirrorRequest): Generator<Problem> {
  if (sync !== "bitmap") {
    if (bitmap !== undefined) yield { field: "bitmap", message: "a bitmap is for sync bitmap" };
    return;
  }
  if (bitmap === undefined || bitmap === "") {
    yield { field: "bitmap", message: "sync bitmap needs the name of a dirty bitmap of the source" };
  }
  if (!existing) {
    const { update } = REMEDIES[askedBy ?? "command line"];
    yield { field: "existing", message: `sync bitmap brings an earlier copy up to date; ${update}` };
  }
}

function* checkSource(request: MirrorRequest, source: ImageFile): Generator<Problem> {
  if (request.source === "") {
    yield { field: "sourcePath", message: "the source's path is empty; name a file" };
  } else if (source.state === "missing") {
    yield { field: "sourcePath", message: `source ${request.source} does not exist; check the path` };
  } else if (source.state === "unusable") {
    yield { field: "sourcePath", message: `source ${source.reason}` };
  } else if (request.writableSource === true && !source.writable) {
    yield { field: "sourcePath", message: `source ${request.source} is not writable; check its permissions` };
  } else if (request.sync === "bitmap" && source.format === "raw" && source.kind !== "export") {
    yield {
      field: "sourcePath",
      message: `source ${request.source} is a raw image, which keeps no dirty bitmaps; name a qcow2 image or an NBD export that has one`,
    };
  }
}

async function checkTarget(
  request: MirrorRequest,
  source: ImageFile,
  target: ImageFile,
  formats: RequestFormats,
): Promise<readonly Problem[]> {
  const problem = await targetProblem(request, source, target, formats);
  return problem === undefined ? [] : [{ field: "targetPath", message: problem }];
}

async function targetProblem(
  request: MirrorRequest,
  source: ImageFile,
  target: ImageFile,
  formats: RequestFormats,
): Promise<string | undefined> {
  const name = request.target;
  const remedies = REMEDIES[request.askedBy ?? "command line"];
  if (name === "") return "the target's path is empty; name a file";
  if (request.sync === "top" && formats.target !== "qcow2" && !isNbdUri(name)) {
    return `target ${name} cannot be raw with ${remedies.sync} top: it holds only what the top layer does and needs to name the rest; ${remedies.qcow2}`;
  }
  if (standsOnSource(request)) {
    if (formats.target !== "qcow2") {
      return `target ${name} cannot be raw with ${remedies.sync} none: it holds only what is written from now on and needs to name the source for the rest; ${remedies.qcow2}, or ${remedies.prepared}`;
    }
    if (source.state === "image" && source.kind === "export") {
      return `target ${name} would have to name the export ${request.source} for what it does not hold; ${remedies.prepared}`;
    }
  }
  if (target.state === "unusable") return `target ${target.reason}`;
  if (target.state === "missing") {
    if (request.existing) return `target ${name} does not exist; ${remedies.create}`;
    if (formats.target === "qcow2" && source.state === "image" && source.size % 512 !== 0) {
      return `target ${name} cannot be a qcow2 image: it would have whole sectors of 512 bytes, and the source has ${source.size} bytes; ${remedies.raw}`;
    }
    const obstacle = await whyNotCreatable(name);
    return obstacle === undefined ? undefined : `target ${name} cannot be created: ${obstacle}`;
  }
  if (source.state === "image" && source.identity === target.identity) {
    return `source and target are the same file (${name}); name another target`;
  }
  if (!request.existing && target.kind === "export") {
    return `target ${name} is an export, which is there already; ${remedies.overwrite}`;
  }
  if (!request.existing) return `target ${name} exists; ${remedies.overwrite}, or name another`;
  if (!target.writable) return `target ${name} is not writable; check its permissions`;
  return source.state === "image" ? sizeProblem(request, source, target, remedies) : undefined;
}

function sizeProblem(
  request: MirrorRequest,
  source: Image,
  target: Image,
  remedies: Remedies,
): string | undefined {
  if (target.size === source.size) return undefined;
  if (target.size > source.size && (request.largerTarget ?? "refuse") !== "refuse") return undefined;
  const relation = target.size < source.size ? "smaller" : "larger";
  return (
    `target ${request.target} is ${relation} than the source ` +
    `(${formatExactSize(target.size)} instead of ${formatExactSize(source.size)}); resize it, or name another${target.size > source.size ? `, or ${remedies.larger}` : ""}`
  );
}
