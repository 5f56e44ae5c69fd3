import { mkdtemp, open, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { JobResult } from "@blockmirror/blockjob";
import type { EmbeddedEngine } from "../engine/embedded-engine.ts";
import type { EngineJob } from "../engine/engine-job.ts";
import { ExportServer } from "../exports/export-server.ts";
import { parseListenAddress } from "../exports/listen-address.ts";
import { RequestError } from "../engine/request-error.ts";
import { describeBytes, describeRate } from "../format/bytes.ts";
import { firstDifference } from "./compare-files.ts";
import { DEMO_SIZE, makeDemoImages, seededRandom } from "./demo-image.ts";
import { DemoWriter } from "./demo-writer.ts";

const SEED = 20_140_321;
const JOB_ID = "demo";
const MIB = 1024 * 1024;
/** Slow enough to be watched, fast enough to converge against the writer. */
const SPEED = 28 * MIB;
/** How long the job is shown following the writer before it completes, and the writer on the target afterwards. */
const READY_MS = 3000;
const AFTER_MS = 1000;

/** What the demo needs of the program around it. */
export interface DemoStage {
  /** Shows the engine's jobs until the promise settles; anything but `done` says that the user has seen enough. */
  readonly show: (done: Promise<unknown>) => Promise<"done" | "interrupted" | "quit">;
  /** Aborted when the user wants out, also before there is anything to show. */
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

/** What the demo found out. */
export interface DemoVerdict {
  /** The disk the writer ended on equals the writer's own record of it. */
  readonly identical: boolean;
  readonly lines: readonly string[];
}

/**
 * Makes a sparse disk, lets a writer dirty it without pause, mirrors it, completes, lets the writer go on upon the target,
 * and compares the target byte for byte with what the writer was told is written. Cleans up after itself.
 *
 * @returns the verdict, or undefined when the user ended it early.
 * @throws RequestError when there is no room for the images.
 */
export async function runDemo(engine: EmbeddedEngine, stage: DemoStage): Promise<DemoVerdict | undefined> {
  const { say, signal } = stage;
  const directory = await mkdtemp(path.join(tmpdir(), "blockmirror-demo-"));
  let server: ExportServer | undefined;
  try {
    const source = path.join(directory, "disk.raw");
    const target = path.join(directory, "copy.raw");
    const reference = path.join(directory, "reference.raw");
    const random = seededRandom(SEED);
    await makeRoomyImages([source, reference], random, signal);
    if (signal.aborted) return undefined;
    say(
      `A sparse disk of ${describeBytes(DEMO_SIZE)} with ${describeBytes(await allocated(source))} of data in ${directory}`,
    );
    const record = await open(reference, "r+");
    server = await ExportServer.listen(engine.graph, parseListenAddress(socketUri(directory)), undefined);
    const entry = await engine.startMirror(demoRequest(source, target), (node) => server?.add(node, true));
    const writer = await DemoWriter.connect(socketUri(directory), record, random);
    writer.start();
    say("A writer keeps changing it over NBD; the mirror follows.");
    const finished = steer(engine, entry);
    const shown = await stage.show(finished);
    if (shown !== "done") await engine.cancelAll({ force: true });
    const result = await entry.job.done;
    await writer.stop();
    if (shown !== "done") return undefined;
    return await judge(entry, result, writer, { source, target, reference });
  } finally {
    await server?.close();
    await engine.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/** Where the disk is served: in the demo's own directory. */
function socketUri(directory: string): string {
  return `nbd+unix:///?socket=${encodeURIComponent(path.join(directory, "disk.nbd"))}`;
}

async function makeRoomyImages(
  filenames: readonly string[],
  random: () => number,
  signal: AbortSignal,
): Promise<void> {
  try {
    await makeDemoImages(filenames, random, signal);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOSPC")) throw error;
    throw new RequestError(
      `the demo needs about 700 MiB in ${tmpdir()}, which is full; set TMPDIR to a directory with more room`,
      { cause: error },
    );
  }
}

function demoRequest(source: string, target: string): Parameters<EmbeddedEngine["startMirror"]>[0] {
  return {
    id: JOB_ID,
    source,
    target,
    existing: false,
    sync: "full",
    speed: SPEED,
    granularity: 0,
    bufferSize: 0,
    onSourceError: "report",
    onTargetError: "report",
    writableSource: true,
  };
}

/** Completes some time after READY; settles when the writer has been on the target for a while, or the job failed. */
async function steer(engine: EmbeddedEngine, entry: EngineJob): Promise<void> {
  await Promise.race([ready(engine), entry.job.done]);
  await Promise.race([pause(READY_MS), entry.job.done]);
  if (entry.job.can("complete").allowed) await entry.job.complete();
  await entry.job.done;
  await pause(AFTER_MS);
}

function ready(engine: EmbeddedEngine): Promise<void> {
  return new Promise((resolve) => {
    const unsubscribe = engine.subscribe((event) => {
      if (event.event !== "BLOCK_JOB_READY") return;
      unsubscribe();
      resolve();
    });
  });
}

async function judge(
  entry: EngineJob,
  result: JobResult,
  writer: DemoWriter,
  files: { readonly source: string; readonly target: string; readonly reference: string },
): Promise<DemoVerdict> {
  const { job, mirror } = entry;
  if (result.outcome !== "completed" || !mirror.switched) {
    return {
      identical: false,
      lines: [`The job ended ${result.outcome}: ${result.error?.message ?? "not switched"}`],
    };
  }
  const details = job.snapshot().details;
  const difference = await firstDifference(files.target, files.reference);
  const seconds = job.snapshot().elapsedMs / 1000;
  const lines = [
    `Copied ${describeBytes(details?.bytesCopied)}, ${describeBytes(details?.bytesRecopied)} of it again, in ${seconds.toFixed(1)} s` +
      ` (limit ${describeRate(SPEED)}); ${describeBytes(details?.bytesSkipped)} of holes skipped.`,
    `The writer made ${writer.writes} writes (${describeBytes(writer.bytes)}) and never noticed the switch.`,
    `The target takes ${describeBytes(await allocated(files.target))} on disk, the source ${describeBytes(await allocated(files.source))}.`,
    difference === undefined
      ? `Every one of its ${DEMO_SIZE} bytes is what the writer was told is written: identical.`
      : `The target differs from what was written, first at byte ${difference}.`,
  ];
  return { identical: difference === undefined, lines };
}

async function allocated(filename: string): Promise<number> {
  return (await stat(filename)).blocks * 512;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
