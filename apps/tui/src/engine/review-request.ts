import type { BlockGraph } from "@blockmirror/block-driver";
import type { NewJobReview } from "../job-source/job-source.ts";
import { formatExactSize } from "../format/bytes.ts";
import { inspectImage, whyNotCreatable, type ImageFile } from "./image-file.ts";
import type { MirrorRequest } from "./mirror-request.ts";
import { bufferSizeProblem, granularityProblem, jobIdProblem } from "./request-values.ts";

type Problem = NewJobReview["problems"][number];
type Image = Extract<ImageFile, { readonly state: "image" }>;

/** Formats that images can have. */
export const FORMATS = ["raw"] as const;

/**
 * Looks at a request without side effects. Every problem says what to do about it; starting a request that has none may
 * still fail, but not for a reason that could be seen from here.
 */
export async function reviewRequest(request: MirrorRequest, graph: BlockGraph): Promise<NewJobReview> {
  const problems: Problem[] = [...checkValues(request)];
  const source = await inspectImage(request.source, graph);
  const target = await inspectImage(request.target, graph);
  problems.push(...checkSource(request, source));
  problems.push(...(await checkTarget(request, source, target)));
  if (target.state !== "image" || !request.existing || problems.length > 0) return { problems };
  return { problems, destroys: { target: request.target, size: target.size } };
}

function* checkValues(request: MirrorRequest): Generator<Problem> {
  const id = jobIdProblem(request.id);
  if (id !== undefined) yield { field: "id", message: `'${request.id}': ${id}` };
  const granularity = granularityProblem(request.granularity);
  if (granularity !== undefined) yield { field: "granularity", message: granularity };
  const bufferSize = bufferSizeProblem(request.bufferSize);
  if (bufferSize !== undefined) yield { message: bufferSize };
  for (const [name, format] of [
    ["source", request.sourceFormat],
    ["target", request.targetFormat],
  ] as const) {
    if (format !== undefined && !FORMATS.some((name) => name === format)) {
      yield { message: `${name} format '${format}' is not supported; there is ${FORMATS.join(", ")}` };
    }
  }
}

function* checkSource(request: MirrorRequest, source: ImageFile): Generator<Problem> {
  if (request.source === "") {
    yield { field: "sourcePath", message: "the source's path is empty; name a file" };
  } else if (source.state === "missing") {
    yield { field: "sourcePath", message: `source ${request.source} does not exist; check the path` };
  } else if (source.state === "unusable") {
    yield { field: "sourcePath", message: `source ${source.reason}` };
  } else if (source.magic !== undefined && request.sourceFormat === undefined) {
    yield {
      field: "sourcePath",
      message: `source ${request.source} is a ${source.magic} image; give --source-format raw to copy its container as it is`,
    };
  } else if (request.writableSource === true && !source.writable) {
    yield { field: "sourcePath", message: `source ${request.source} is not writable; check its permissions` };
  }
}

async function checkTarget(
  request: MirrorRequest,
  source: ImageFile,
  target: ImageFile,
): Promise<readonly Problem[]> {
  const problem = await targetProblem(request, source, target);
  return problem === undefined ? [] : [{ field: "targetPath", message: problem }];
}

async function targetProblem(
  request: MirrorRequest,
  source: ImageFile,
  target: ImageFile,
): Promise<string | undefined> {
  const name = request.target;
  if (name === "") return "the target's path is empty; name a file";
  if (target.state === "unusable") return `target ${target.reason}`;
  if (target.state === "missing") {
    if (request.existing) return `target ${name} does not exist; leave --existing out to have it created`;
    const obstacle = await whyNotCreatable(name);
    return obstacle === undefined ? undefined : `target ${name} cannot be created: ${obstacle}`;
  }
  if (source.state === "image" && source.identity === target.identity) {
    return `source and target are the same file (${name}); name another target`;
  }
  if (!request.existing) return `target ${name} exists; give --existing to overwrite it, or name another`;
  if (!target.writable) return `target ${name} is not writable; check its permissions`;
  return source.state === "image" ? sizeProblem(request, source, target) : undefined;
}

function sizeProblem(request: MirrorRequest, source: Image, target: Image): string | undefined {
  if (target.size === source.size) return undefined;
  const relation = target.size < source.size ? "smaller" : "larger";
  return (
    `target ${request.target} is ${relation} than the source ` +
    `(${formatExactSize(target.size)} instead of ${formatExactSize(source.size)}); resize it, or name another`
  );
}
