import { Option, type Command } from "commander";
import type { ErrorPolicy } from "@blockmirror/blockjob";
import { commitImages } from "../engine/commit-images.ts";
import type { EngineJob } from "../engine/engine-job.ts";
import type { ImageFormat } from "../images/image-format.ts";
import { pathArgument } from "./arguments.ts";
import { displayFlags } from "./display-options.ts";
import { remedyForFullTarget } from "./full-target.ts";
import { formatOption } from "./image-options.ts";
import { addJobOptions, locationOf, policyOption, type JobFlags } from "./job-options.ts";
import { runJob } from "./run-job.ts";

interface CommitFlags extends JobFlags {
  readonly base?: string;
  readonly format?: ImageFormat;
  readonly onError: ErrorPolicy;
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
    .addOption(policyOption("--on-error <policy>", "what an error does"));
  addJobOptions(command, {
    jobId: "commit0",
    whenReady:
      "once the base is in step: complete, cancel (the same for images that nobody uses) or wait; by default wait in the terminal UI, else complete",
  }).action(async (overlay: string, flags: CommitFlags) => {
    const given = displayFlags(command);
    finish(await commit(overlay, { ...flags, ...given }, given));
  });
}

function commit(overlay: string, flags: CommitFlags, given: Partial<CommitFlags>): Promise<number> {
  const task = {
    name: "commit",
    start: ({ engine }: { readonly engine: Parameters<typeof commitImages>[0] }) =>
      commitImages(engine, {
        id: flags.jobId,
        overlay: locationOf(overlay, flags),
        ...(flags.format !== undefined && { overlayFormat: flags.format }),
        ...(flags.base !== undefined && { base: locationOf(flags.base, flags) }),
        copyMode: "background",
        speed: flags.speed,
        granularity: flags.granularity,
        bufferSize: flags.bufSize,
        onError: flags.onError,
      }),
    remedy: (entry: EngineJob, reason: Error | undefined) =>
      remedyForFullTarget(entry, reason, "", "--on-error"),
    whenFailed: (entry: EngineJob) => `${partly(entry)}: commit it again`,
    whenCancelled: partly,
  };
  return runJob(task, flags, given);
}

function partly({ request: { source, target } }: EngineJob): string {
  return `${target} holds a part of it, ${source} shows what it showed`;
}
