import { Option, type Command } from "commander";
import type { ErrorPolicy } from "@blockmirror/blockjob";
import { absoluteLocation } from "../images/image-location.ts";
import { choiceArgument, speedArgument } from "./arguments.ts";
import { addDisplayOptions, type DisplayFlags } from "./display-options.ts";
import { allowBackingOption } from "./image-options.ts";
import { bufferSizeArgument, granularityArgument, jobIdArgument } from "./job-arguments.ts";

const POLICIES: readonly ErrorPolicy[] = ["report", "ignore", "stop", "enospc"];
const WHEN_READY = ["complete", "cancel", "wait"] as const;

/** What happens to a job as soon as it is READY. */
export type WhenReady = (typeof WHEN_READY)[number];

/** The options of every command that runs a job of its own, as commander hands them over. */
export interface JobFlags extends DisplayFlags {
  readonly allowBacking: readonly string[];
  /** Bytes; 0 = automatic. */
  readonly granularity: number;
  /** Bytes; 0 = default. */
  readonly bufSize: number;
  /** Bytes per second; 0 = unlimited. */
  readonly speed: number;
  readonly whenReady?: WhenReady;
  readonly jobId: string;
  readonly detach?: boolean;
}

/** Adds the options of every command that runs a job, and those of every command that shows one. */
export function addJobOptions(
  command: Command,
  { jobId, whenReady }: { readonly jobId: string; readonly whenReady: string },
): Command {
  command
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
      new Option("--when-ready <action>", whenReady).argParser(choiceArgument("--when-ready", WHEN_READY)),
    )
    .addOption(
      new Option("--job-id <id>", "name of the job").argParser(jobIdArgument("--job-id")).default(jobId),
    )
    .option(
      "--detach",
      "run in the background: tell how to attach and end; the job goes on, its outcome is kept for attach",
    );
  return addDisplayOptions(command);
}

/** An option that takes an error policy. */
export function policyOption(flags: string, description: string): Option {
  return choiceOption(flags, description, POLICIES).default("report");
}

/** An option that takes one of a few words, and lists them. */
export function choiceOption(flags: string, description: string, choices: readonly string[]): Option {
  return new Option(flags, `${description}: ${choices.join(", ")}`).argParser(
    choiceArgument(flags.split(" ")[0] ?? flags, choices),
  );
}

/** An image's place as it is told to the user; what runs in the background has no directory that others know. */
export function locationOf(location: string, { detach }: JobFlags): string {
  return detach === true ? absoluteLocation(location) : location;
}
