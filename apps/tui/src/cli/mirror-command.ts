import { Option, type Command } from "commander";
import type { BlockNode } from "@blockmirror/block-driver";
import type { ErrorPolicy } from "@blockmirror/blockjob";
import { isUnflushedLoss } from "@blockmirror/nbd";
import { exportsOf } from "../exports/export-source.ts";
import { ExportServer } from "../exports/export-server.ts";
import { defaultListenAddress, parseListenAddress, type ListenAddress } from "../exports/listen-address.ts";
import type { EmbeddedEngine } from "../engine/embedded-engine.ts";
import type { EngineJob } from "../engine/engine-job.ts";
import { isRawExport, type MirrorRequest } from "../engine/mirror-request.ts";
import { parseCreationOptions } from "../images/creation-options.ts";
import { formatOfName, type ImageFormat } from "../images/image-format.ts";
import { pathArgument } from "./arguments.ts";
import { displayFlags } from "./display-options.ts";
import { UsageError } from "./exit-status.ts";
import { remedyForFullTarget } from "./full-target.ts";
import { collect, formatOption } from "./image-options.ts";
import { addJobOptions, choiceOption, locationOf, policyOption, type JobFlags } from "./job-options.ts";
import type { JobView } from "./job-view.ts";
import { say, type JobHost, type JobTask } from "./run-in-view.ts";
import { runJob } from "./run-job.ts";

const SYNCS = ["full", "top", "bitmap", "none"] as const;
const COPY_MODES = ["background", "write-blocking", "auto"] as const;
const UNFLUSHED_WRITES = ["fail", "trust"] as const;
const LARGER_TARGETS = ["refuse", "zero", "leave"] as const;
const BACKING_MODES = ["leave", "open-chain", "source-chain"] as const;

interface MirrorFlags extends JobFlags {
  readonly sync: (typeof SYNCS)[number];
  readonly bitmap?: string;
  readonly copyMode: (typeof COPY_MODES)[number];
  readonly largerTarget: (typeof LARGER_TARGETS)[number];
  readonly backingMode?: (typeof BACKING_MODES)[number];
  readonly sourceFormat?: ImageFormat;
  readonly targetFormat?: ImageFormat;
  readonly option: readonly string[];
  readonly existing?: boolean;
  readonly onSourceError: ErrorPolicy;
  readonly onTargetError: ErrorPolicy;
  readonly detectZeroes?: boolean;
  readonly unflushedWrites: (typeof UNFLUSHED_WRITES)[number];
  readonly export?: string | true;
}

/** Adds `mirror SOURCE TARGET`. `finish` takes the exit status. */
export function addMirrorCommand(program: Command, finish: (status: number) => void): void {
  const command = program
    .command("mirror")
    .description("mirror an image; creates TARGET unless --existing")
    .argument("<source>", "the image to copy", pathArgument("SOURCE"))
    .argument("<target>", "the copy", pathArgument("TARGET"))
    .addOption(choiceOption("--sync <mode>", "what to copy before READY", SYNCS).default("full"))
    .option(
      "--bitmap <name>",
      "dirty bitmap of the source for --sync bitmap: what was written since TARGET was its equal; it is only read",
    )
    .addOption(
      choiceOption("--copy-mode <mode>", "how writes during the job reach the target", COPY_MODES).default(
        "background",
      ),
    )
    .addOption(
      choiceOption(
        "--larger-target <action>",
        "what lies behind the source's end in a larger target",
        LARGER_TARGETS,
      ).default("refuse"),
    )
    .addOption(
      choiceOption(
        "--backing-mode <mode>",
        "what TARGET stands on after the switch, by default source-chain with --sync top and for a new target with none, else leave",
        BACKING_MODES,
      ),
    )
    .addOption(formatOption("--source-format <format>", "by default told by its magic"))
    .addOption(
      formatOption(
        "--target-format <format>",
        "by default told by its magic, or for a new target by its name, else the source's format",
      ),
    )
    .addOption(
      new Option("-o, --option <key=value>", "an option of the new target, as by create; repeatable")
        .argParser(collect)
        .default([], "none"),
    )
    .option("--existing", "the target exists; its content is overwritten")
    .option(
      "--detect-zeroes",
      "look for zeroes in what is read: the copy of an image that was written in full has holes then",
    )
    .addOption(policyOption("--on-source-error <policy>", "what a read error does"))
    .addOption(policyOption("--on-target-error <policy>", "what a write error does"))
    .addOption(
      choiceOption(
        "--unflushed-writes <trust>",
        "what a lost NBD server of the target means for writes it answered and had not flushed",
        UNFLUSHED_WRITES,
      ).default("fail"),
    )
    .option(
      "--export [uri]",
      "serve the source over NBD meanwhile, for programs that go on using it; by default at a socket in the runtime directory",
    );
  addJobOptions(command, {
    jobId: "mirror0",
    whenReady:
      "once the copy is in step: complete, cancel (leave a copy as of then) or wait; by default wait in the terminal UI, else complete",
  }).action(async (source: string, target: string, flags: MirrorFlags) => {
    const given = displayFlags(command);
    const all = { ...flags, ...given };
    finish(await runJob(new MirrorTask(toRequest(source, target, all), all), all, given));
  });
}

/** A mirror of two images, with an export of the source for as long as it is wanted. */
class MirrorTask implements JobTask {
  readonly name = "mirror";
  readonly #request: MirrorRequest;
  readonly #flags: MirrorFlags;
  #exports: ExportServer | undefined;

  constructor(request: MirrorRequest, flags: MirrorFlags) {
    this.#request = request;
    this.#flags = flags;
  }

  async start({ engine, view }: JobHost): Promise<EngineJob> {
    this.#exports = await listen(engine, this.#flags);
    if (this.#exports !== undefined) view.showExports(exportsOf(this.#exports.server));
    const entry = await engine.startMirror(this.#request, serveSource(this.#exports, this.#request.source));
    sayGuess(this.#request, entry.request);
    sayConversion(this.#request, entry.request);
    sayUnseenBase(entry.request);
    return entry;
  }

  remedy(entry: EngineJob, reason: Error | undefined): string | undefined {
    const again = ` and start it again${entry.request.existing ? "" : " with --existing"}`;
    return remedyForFullTarget(entry, reason, again, "--on-target-error");
  }

  whenFailed({ request }: EngineJob, reason: Error | undefined): string {
    const outcome = `${request.target} is not a copy, the source is untouched`;
    return isUnflushedLoss(reason)
      ? `${outcome}; for a server that keeps what it answered, --unflushed-writes trust goes on instead`
      : outcome;
  }

  whenCancelled({ request }: EngineJob): string {
    return `${request.target} is not a copy`;
  }

  async afterwards({ view }: JobHost, entry: EngineJob): Promise<void> {
    if (this.#exports !== undefined) await serveOn(this.#exports, entry, view);
  }

  async close(): Promise<void> {
    await this.#exports?.close();
  }
}

function toRequest(source: string, target: string, flags: MirrorFlags): MirrorRequest {
  checkSync(flags);
  const { sourceFormat, targetFormat } = flags;
  return {
    ...targetOptions(flags, target),
    id: flags.jobId,
    source: locationOf(source, flags),
    target: locationOf(target, flags),
    ...(sourceFormat !== undefined && { sourceFormat }),
    ...(targetFormat !== undefined && { targetFormat }),
    existing: flags.existing === true,
    writableSource: flags.export !== undefined,
    sync: flags.sync,
    ...(flags.bitmap !== undefined && { bitmap: flags.bitmap }),
    copyMode: flags.copyMode,
    largerTarget: flags.largerTarget,
    ...(flags.backingMode !== undefined && { backingMode: flags.backingMode }),
    speed: flags.speed,
    granularity: flags.granularity,
    bufferSize: flags.bufSize,
    onSourceError: flags.onSourceError,
    onTargetError: flags.onTargetError,
    unflushedWrites: flags.unflushedWrites,
    ...(flags.detectZeroes === true && { detectZeroes: true }),
  };
}

/** What a bitmap says is of use only for a copy that was made before. */
function checkSync({ sync, bitmap, existing }: MirrorFlags): void {
  if (sync !== "bitmap") {
    if (bitmap !== undefined)
      throw new UsageError("--bitmap is for --sync bitmap; give that, or leave it out");
    return;
  }
  if (bitmap === undefined || bitmap === "") {
    throw new UsageError("--sync bitmap needs --bitmap NAME; blockmirror info lists the bitmaps of an image");
  }
  if (existing !== true) {
    throw new UsageError("--sync bitmap brings an earlier copy up to date; give --existing");
  }
}

/** Listens where the user said, before anything else is done: an address that cannot be had is no reason to begin. */
async function listen(
  engine: EmbeddedEngine,
  { export: uri, jobId }: MirrorFlags,
): Promise<ExportServer | undefined> {
  if (uri === undefined) return undefined;
  const address = uri === true ? defaultListenAddress(jobId, process.env) : exportAddress(uri);
  if (address.tls) throw new UsageError("--export serves without TLS; use blockmirror serve for nbds");
  return ExportServer.listen(engine.graph, address, undefined);
}

function exportAddress(uri: string): ListenAddress {
  try {
    return parseListenAddress(uri);
  } catch (error) {
    throw new UsageError(`--export: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Puts the export on the source before the job starts, so that the job follows its clients from the first write on. */
function serveSource(
  exports: ExportServer | undefined,
  source: string,
): ((node: BlockNode) => void) | undefined {
  if (exports === undefined) return undefined;
  return (node) => {
    for (const uri of exports.add(node, true)) say(`${source} is served at ${uri}`);
  };
}

/** The same connections go on upon the target, for as long as there are any. */
async function serveOn(exports: ExportServer, entry: EngineJob, view: JobView): Promise<void> {
  const clients = exports.server.clients().length;
  if (clients === 0) return;
  const where = entry.mirror.switched ? entry.request.target : entry.request.source;
  say(`${clients} client(s) go on using ${where}; this ends with the last of them, or by ctrl-c`);
  await Promise.race([exports.lastClientLeft(), view.interrupted()]);
}

/** A format that was told by magic alone is worth a word: a guest can write any bytes to a raw disk. */
function sayGuess(asked: MirrorRequest, found: MirrorRequest): void {
  for (const side of ["source", "target"] as const) {
    const key = `${side}Format` as const;
    const isNew = side === "target" && !asked.existing;
    if (asked[key] !== undefined || isNew || found[key] !== "qcow2") continue;
    say(
      `${side} ${asked[side]} is opened as qcow2, by its first bytes; --${side}-format raw would take it as it is`,
    );
  }
}

/** A new target whose name alone makes it another format than the source has is worth a word as well. */
function sayConversion({ existing, targetFormat: wanted }: MirrorRequest, found: MirrorRequest): void {
  const { target, targetFormat, sourceFormat } = found;
  if (existing || wanted !== undefined || sourceFormat === targetFormat) return;
  say(
    `target ${target} is made a ${targetFormat} image, as its name says; --target-format ${sourceFormat} would make it what the source is`,
  );
}

/** What the top layer stands on is at the other side, where nobody here can look. */
function sayUnseenBase(found: MirrorRequest): void {
  if (found.sync !== "top" || !isRawExport(found)) return;
  say(`${found.target} gets the top layer alone, and has to stand on a copy of the rest already`);
}

/** Options of the target to be made; they need to know for which format they are. */
function targetOptions(
  { option, targetFormat, existing }: MirrorFlags,
  target: string,
): Pick<MirrorRequest, "targetFormat" | "targetOptions"> {
  if (option.length === 0) return {};
  if (existing === true) throw new UsageError("-o is for a new target; leave it or --existing out");
  const format = targetFormat ?? formatOfName(target);
  if (format === undefined) throw new UsageError("-o needs --target-format, or a target whose name tells it");
  return { targetFormat: format, targetOptions: parseCreationOptions(format, option) };
}
