import { Option, type Command } from "commander";
import type { JobResult } from "@blockmirror/blockjob";
import { EmbeddedEngine, type EngineJob } from "../engine/embedded-engine.ts";
import type { MirrorRequest } from "../engine/mirror-request.ts";
import { choiceArgument, sizeArgument, speedArgument } from "./arguments.ts";
import { addDisplayOptions, toDisplay, type DisplayFlags } from "./display-options.ts";
import { EXIT } from "./exit-status.ts";
import { chooseOutput, showJobs, type ShowResult } from "./show-jobs.ts";

const POLICIES = ["report", "ignore", "stop", "enospc"] as const;
const WHEN_READY = ["complete", "cancel", "wait"] as const;
const SYNCS = ["full", "none"] as const;

interface MirrorFlags extends DisplayFlags {
  readonly sync: (typeof SYNCS)[number];
  readonly sourceFormat?: string;
  readonly targetFormat?: string;
  readonly existing?: boolean;
  readonly granularity: number;
  readonly bufSize: number;
  readonly speed: number;
  readonly onSourceError: (typeof POLICIES)[number];
  readonly onTargetError: (typeof POLICIES)[number];
  readonly whenReady?: (typeof WHEN_READY)[number];
  readonly jobId: string;
}

/** Adds `mirror SOURCE TARGET`. `finish` takes the exit status. */
export function addMirrorCommand(program: Command, finish: (status: number) => void): void {
  const command = program
    .command("mirror")
    .description("mirror an image; creates TARGET unless --existing")
    .argument("<source>", "the image to copy")
    .argument("<target>", "the copy")
    .addOption(choice("--sync <mode>", "what to copy before READY", SYNCS).default("full"))
    .option(
      "--source-format <format>",
      "format of the source; by default raw, and qcow2 is refused by its magic",
    )
    .option("--target-format <format>", "format of the target")
    .option("--existing", "the target exists; its content is overwritten")
    .addOption(
      size("--granularity <size>", "bytes per dirty bit: a power of two from 512 to 64M, 0 = automatic"),
    )
    .addOption(size("--buf-size <size>", "buffer for copying; 0 = 16M"))
    .addOption(
      new Option("--speed <rate>", "limit in bytes per second, such as 50M; 0 = unlimited")
        .argParser(speedArgument("--speed"))
        .default(0),
    )
    .addOption(choice("--on-source-error <policy>", "what a read error does", POLICIES).default("report"))
    .addOption(choice("--on-target-error <policy>", "what a write error does", POLICIES).default("report"))
    .addOption(
      choice(
        "--when-ready <action>",
        "what READY does; default: wait in the terminal UI, else complete",
        WHEN_READY,
      ),
    )
    .option("--job-id <id>", "name of the job", "mirror0");
  addDisplayOptions(command).action(async (source: string, target: string, flags: MirrorFlags) => {
    finish(await mirror(source, target, flags));
  });
}

async function mirror(source: string, target: string, flags: MirrorFlags): Promise<number> {
  const engine = new EmbeddedEngine();
  try {
    const request = toRequest(source, target, flags);
    const entry = await engine.startMirror(request);
    const whenReady = flags.whenReady ?? (chooseOutput(flags.output) === "tui" ? "wait" : "complete");
    steerWhenReady(engine, entry, whenReady);
    const result = await showJobs(engine, toDisplay(flags), entry.job.done, flags.whenReady !== undefined);
    return await conclude(engine, entry, result);
  } finally {
    await engine.close();
  }
}

function toRequest(source: string, target: string, flags: MirrorFlags): MirrorRequest {
  const { sourceFormat, targetFormat } = flags;
  return {
    id: flags.jobId,
    source,
    target,
    ...(sourceFormat !== undefined && { sourceFormat }),
    ...(targetFormat !== undefined && { targetFormat }),
    existing: flags.existing === true,
    sync: flags.sync,
    speed: flags.speed,
    granularity: flags.granularity,
    bufferSize: flags.bufSize,
    onSourceError: flags.onSourceError,
    onTargetError: flags.onTargetError,
  };
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
async function conclude(engine: EmbeddedEngine, entry: EngineJob, shown: ShowResult): Promise<number> {
  if (shown === "quit") await engine.cancelAll({ force: false });
  const result = await entry.job.done;
  if (shown === "interrupted") {
    if (result.outcome === "cancelled") say(`cancelled; ${entry.request.target} is not a copy`);
    return EXIT.interrupted;
  }
  return statusOf(entry, result);
}

function statusOf(entry: EngineJob, result: JobResult): number {
  const { target } = entry.request;
  if (result.outcome === "completed") return EXIT.done;
  if (result.outcome === "cancelled") say(`cancelled; ${target} is not a copy`);
  else
    say(
      `mirror failed: ${result.error?.message ?? "unknown error"}; ${target} is not a copy, the source is untouched`,
    );
  return EXIT.failed;
}

function say(text: string): void {
  process.stderr.write(`blockmirror: ${text}\n`);
}

function choice<const C extends string>(flags: string, description: string, choices: readonly C[]): Option {
  return new Option(flags, `${description}: ${choices.join(", ")}`).argParser(
    choiceArgument(flags.split(" ")[0] ?? flags, choices),
  );
}

function size(flags: string, description: string): Option {
  return new Option(flags, description).argParser(sizeArgument(flags.split(" ")[0] ?? flags)).default(0);
}
