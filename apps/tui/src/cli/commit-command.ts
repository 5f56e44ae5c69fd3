import { Option, type Command } from "commander";
import { commitImages } from "../engine/commit-images.ts";
import { EmbeddedEngine } from "../engine/embedded-engine.ts";
import type { EngineJob } from "../engine/engine-job.ts";
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
import { EXIT } from "./exit-status.ts";
import { allowBackingOption, formatOption } from "./image-options.ts";
import { JobView, type ShowResult } from "./job-view.ts";

const POLICIES = ["report", "ignore", "stop", "enospc"] as const;
const WHEN_READY = ["complete", "cancel", "wait"] as const;

interface CommitFlags extends DisplayFlags {
  readonly base?: string;
  readonly format?: ImageFormat;
  readonly allowBacking: readonly string[];
  readonly granularity: number;
  readonly bufSize: number;
  readonly speed: number;
  readonly onError: (typeof POLICIES)[number];
  readonly whenReady?: (typeof WHEN_READY)[number];
  readonly jobId: string;
}

/** Adds `commit OVERLAY`. `finish` takes the exit status. */
export function addCommitCommand(program: Command, finish: (status: number) => void): void {
  const command = program
    .command("commit")
    .description("fold an overlay into an image below it")
    .argument("<overlay>", "the overlay; it is only read", pathArgument("OVERLAY"))
    .addOption(
      new Option(
        "--base <file>",
        "the image in its backing chain that takes the content; by default the one right below",
      ).argParser(pathArgument("--base")),
    )
    .addOption(formatOption("--format <format>", "format of the overlay, by default told by its magic"))
    .addOption(allowBackingOption())
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
    .addOption(
      new Option("--on-error <policy>", `what an error does: ${POLICIES.join(", ")}`)
        .argParser(choiceArgument("--on-error", POLICIES))
        .default("report"),
    )
    .addOption(
      new Option(
        "--when-ready <action>",
        "once the base is in step: complete, cancel (the same for images that nobody uses) or wait; by default wait in the terminal UI, else complete",
      ).argParser(choiceArgument("--when-ready", WHEN_READY)),
    )
    .addOption(
      new Option("--job-id <id>", "name of the job").argParser(jobIdArgument("--job-id")).default("commit0"),
    );
  addDisplayOptions(command).action(async (overlay: string, flags: CommitFlags) => {
    finish(await commit(overlay, { ...flags, ...displayFlags(command) }));
  });
}

async function commit(overlay: string, flags: CommitFlags): Promise<number> {
  const engine = new EmbeddedEngine(flags.allowBacking);
  const view = new JobView(engine, toDisplay(flags));
  try {
    const entry = await commitImages(engine, {
      id: flags.jobId,
      overlay,
      ...(flags.format !== undefined && { overlayFormat: flags.format }),
      ...(flags.base !== undefined && { base: flags.base }),
      copyMode: "background",
      speed: flags.speed,
      granularity: flags.granularity,
      bufferSize: flags.bufSize,
      onError: flags.onError,
    });
    endWhenReady(engine, entry, flags.whenReady ?? (view.mode === "tui" ? "wait" : "complete"));
    const shown = await view.show(entry.job.done, flags.whenReady !== undefined);
    return await conclude(engine, entry, view, shown);
  } finally {
    await engine.close();
    view.close();
  }
}

function endWhenReady(engine: EmbeddedEngine, { job }: EngineJob, action: (typeof WHEN_READY)[number]): void {
  if (action === "wait") return;
  engine.subscribe((event) => {
    if (event.event !== "BLOCK_JOB_READY" || event.data.device !== job.id) return;
    if (action === "cancel") job.cancel();
    // A refusal means that the job is ending already, which its own events tell.
    else job.complete().catch(() => {});
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
  const { source, target } = entry.request;
  const partly = `${target} holds a part of it, ${source} shows what it showed`;
  if (result.outcome === "failed") {
    say(`commit failed: ${result.error?.message ?? "unknown error"}; ${partly}: commit it again`);
    return EXIT.failed;
  }
  if (result.outcome === "cancelled") say(`cancelled; ${partly}`);
  return result.outcome === "cancelled" || shown === "interrupted" ? EXIT.interrupted : EXIT.done;
}

function say(text: string): void {
  process.stderr.write(`blockmirror: ${text}\n`);
}
