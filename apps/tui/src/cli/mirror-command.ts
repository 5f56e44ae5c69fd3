import { Option, type Command } from "commander";
import type { BlockNode } from "@blockmirror/block-driver";
import { ExportServer } from "../exports/export-server.ts";
import { defaultListenAddress, parseListenAddress, type ListenAddress } from "../exports/listen-address.ts";
import { EmbeddedEngine } from "../engine/embedded-engine.ts";
import type { EngineJob } from "../engine/engine-job.ts";
import type { MirrorRequest } from "../engine/mirror-request.ts";
import { parseCreationOptions } from "../images/creation-options.ts";
import type { ImageFormat } from "../images/image-format.ts";
import { describeEnd } from "../output/describe-end.ts";
import {
  bufferSizeArgument,
  choiceArgument,
  granularityArgument,
  jobIdArgument,
  pathArgument,
  speedArgument,
} from "./arguments.ts";
import { addDisplayOptions, displayFlags, toDisplay, type DisplayFlags } from "./display-options.ts";
import { EXIT, UsageError } from "./exit-status.ts";
import { allowBackingOption, collect, formatOption } from "./image-options.ts";
import { JobView, type ShowResult } from "./job-view.ts";

const POLICIES = ["report", "ignore", "stop", "enospc"] as const;
const WHEN_READY = ["complete", "cancel", "wait"] as const;
const SYNCS = ["full", "top", "none"] as const;
const COPY_MODES = ["background", "write-blocking", "auto"] as const;
const LARGER_TARGETS = ["refuse", "zero", "leave"] as const;

interface MirrorFlags extends DisplayFlags {
  readonly sync: (typeof SYNCS)[number];
  readonly copyMode: (typeof COPY_MODES)[number];
  readonly largerTarget: (typeof LARGER_TARGETS)[number];
  readonly sourceFormat?: ImageFormat;
  readonly targetFormat?: ImageFormat;
  readonly option: readonly string[];
  readonly allowBacking: readonly string[];
  readonly existing?: boolean;
  readonly granularity: number;
  readonly bufSize: number;
  readonly speed: number;
  readonly onSourceError: (typeof POLICIES)[number];
  readonly onTargetError: (typeof POLICIES)[number];
  readonly whenReady?: (typeof WHEN_READY)[number];
  readonly jobId: string;
  readonly export?: string | true;
}

/** Adds `mirror SOURCE TARGET`. `finish` takes the exit status. */
export function addMirrorCommand(program: Command, finish: (status: number) => void): void {
  const command = program
    .command("mirror")
    .description("mirror an image; creates TARGET unless --existing")
    .argument("<source>", "the image to copy", pathArgument("SOURCE"))
    .argument("<target>", "the copy", pathArgument("TARGET"))
    .addOption(choice("--sync <mode>", "what to copy before READY", SYNCS).default("full"))
    .addOption(
      choice("--copy-mode <mode>", "how writes during the job reach the target", COPY_MODES).default(
        "background",
      ),
    )
    .addOption(
      choice(
        "--larger-target <action>",
        "what lies behind the source's end in a larger target",
        LARGER_TARGETS,
      ).default("refuse"),
    )
    .addOption(formatOption("--source-format <format>", "by default told by its magic"))
    .addOption(
      formatOption(
        "--target-format <format>",
        "by default told by its magic, or for a new target the source's format",
      ),
    )
    .addOption(
      new Option("-o, --option <key=value>", "an option of the new target, as by create; repeatable")
        .argParser(collect)
        .default([]),
    )
    .addOption(allowBackingOption())
    .option("--existing", "the target exists; its content is overwritten")
    .addOption(
      new Option("--granularity <size>", "bytes per dirty bit: a power of two from 512 to 64M; 0 = automatic")
        .argParser(granularityArgument("--granularity"))
        .default(0),
    )
    .addOption(
      new Option("--buf-size <size>", "buffer for copying, at most 1G; 0 = 16M")
        .argParser(bufferSizeArgument("--buf-size"))
        .default(0),
    )
    .addOption(
      new Option("--speed <rate>", "limit in bytes per second, such as 50M; 0 = unlimited")
        .argParser(speedArgument("--speed"))
        .default(0),
    )
    .addOption(choice("--on-source-error <policy>", "what a read error does", POLICIES).default("report"))
    .addOption(choice("--on-target-error <policy>", "what a write error does", POLICIES).default("report"))
    .addOption(
      new Option(
        "--when-ready <action>",
        "once the copy is in step: complete, cancel (leave a copy as of then) or wait; by default wait in the terminal UI, else complete",
      ).argParser(choiceArgument("--when-ready", WHEN_READY)),
    )
    .option(
      "--export [uri]",
      "serve the source over NBD meanwhile, for programs that go on using it; by default at a socket in the runtime directory",
    )
    .addOption(
      new Option("--job-id <id>", "name of the job").argParser(jobIdArgument("--job-id")).default("mirror0"),
    );
  addDisplayOptions(command).action(async (source: string, target: string, flags: MirrorFlags) => {
    finish(await mirror(source, target, { ...flags, ...displayFlags(command) }));
  });
}

async function mirror(source: string, target: string, flags: MirrorFlags): Promise<number> {
  const request = toRequest(source, target, flags);
  const engine = new EmbeddedEngine(flags.allowBacking);
  const view = new JobView(engine, toDisplay(flags));
  let exports: ExportServer | undefined;
  try {
    exports = await listen(engine, flags);
    const entry = await engine.startMirror(request, serveSource(exports, source));
    sayGuess(request, entry.request);
    steerWhenReady(engine, entry, flags.whenReady ?? (view.mode === "tui" ? "wait" : "complete"));
    const shown = await view.show(entry.job.done, flags.whenReady !== undefined);
    const status = await conclude(engine, entry, view, shown);
    if (exports !== undefined && shown === "done") await serveOn(exports, entry, view);
    return status;
  } finally {
    await exports?.close();
    await engine.close();
    view.close();
  }
}

function toRequest(source: string, target: string, flags: MirrorFlags): MirrorRequest {
  const { sourceFormat, targetFormat } = flags;
  return {
    ...targetOptions(flags),
    id: flags.jobId,
    source,
    target,
    ...(sourceFormat !== undefined && { sourceFormat }),
    ...(targetFormat !== undefined && { targetFormat }),
    existing: flags.existing === true,
    writableSource: flags.export !== undefined,
    sync: flags.sync,
    copyMode: flags.copyMode,
    largerTarget: flags.largerTarget,
    speed: flags.speed,
    granularity: flags.granularity,
    bufferSize: flags.bufSize,
    onSourceError: flags.onSourceError,
    onTargetError: flags.onTargetError,
  };
}

/** Listens where the user said, before anything else is done: an address that cannot be had is no reason to begin. */
async function listen(
  engine: EmbeddedEngine,
  { export: uri, jobId }: MirrorFlags,
): Promise<ExportServer | undefined> {
  if (uri === undefined) return undefined;
  let address: ListenAddress;
  try {
    address = uri === true ? await defaultListenAddress(jobId, process.env) : parseListenAddress(uri);
  } catch (error) {
    throw new UsageError(`--export: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (address.tls) throw new UsageError("--export serves without TLS; use blockmirror serve for nbds");
  return ExportServer.listen(engine.graph, address, undefined);
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

/** Options of the target to be made; they need to know for which format they are. */
function targetOptions({
  option,
  targetFormat,
  existing,
}: MirrorFlags): Pick<MirrorRequest, "targetOptions"> {
  if (option.length === 0) return {};
  if (existing === true) throw new UsageError("-o is for a new target; leave it or --existing out");
  if (targetFormat === undefined) throw new UsageError("-o needs --target-format");
  return { targetOptions: parseCreationOptions(targetFormat, option) };
}

/** Completes or cancels the job as soon as it is READY. */
function steerWhenReady(engine: EmbeddedEngine, entry: EngineJob, action: (typeof WHEN_READY)[number]): void {
  if (action === "wait") return;
  engine.subscribe((event) => {
    if (event.event !== "BLOCK_JOB_READY" || event.data.device !== entry.job.id) return;
    if (action === "cancel") entry.job.cancel();
    // A refusal means that the job is ending already, which its own events tell.
    else entry.job.complete().catch(() => {});
  });
}

/** Ends what still runs and says how it ended: one line for a failure, on standard error. */
async function conclude(
  engine: EmbeddedEngine,
  entry: EngineJob,
  view: JobView,
  shown: ShowResult,
): Promise<number> {
  if (shown === "quit") await engine.cancelAll({ force: false });
  const result = await entry.job.done;
  // The lines have told it already, and JSON is for programs.
  if (view.mode === "tui") process.stdout.write(`${describeEnd(engine.snapshot(entry), result.outcome)}\n`);
  if (result.outcome === "failed") {
    say(
      `mirror failed: ${result.error?.message ?? "unknown error"}; ${entry.request.target} is not a copy, the source is untouched`,
    );
    return EXIT.failed;
  }
  if (result.outcome === "cancelled") say(`cancelled; ${entry.request.target} is not a copy`);
  return result.outcome === "cancelled" || shown === "interrupted" ? EXIT.interrupted : EXIT.done;
}

function say(text: string): void {
  process.stderr.write(`blockmirror: ${text}\n`);
}

function choice(flags: string, description: string, choices: readonly string[]): Option {
  return new Option(flags, `${description}: ${choices.join(", ")}`).argParser(
    choiceArgument(flags.split(" ")[0] ?? flags, choices),
  );
}
