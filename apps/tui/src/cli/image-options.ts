import { Option, type Command } from "commander";
import { IMAGE_FORMATS, type ImageFormat } from "../images/image-format.ts";
import { choiceArgument } from "./arguments.ts";

/** How a utility prints its result. */
export type ResultOutput = "human" | "json";

/** Adds `--output`, the same for every image utility. */
export function addOutputOption(command: Command): Command {
  return command.addOption(
    new Option("--output <how>", "human or json")
      .argParser(choiceArgument("--output", ["human", "json"]))
      .default("human"),
  );
}

/** An option that takes an image format. */
export function formatOption(flags: string, description: string): Option {
  return new Option(flags, `${description}: ${IMAGE_FORMATS.join(", ")}`).argParser(
    choiceArgument<ImageFormat>(flags.split(" ")[0] ?? flags, IMAGE_FORMATS),
  );
}

/** Adds `--force-share` and `--allow-backing`, for commands that open images to read them. */
export function addReadingOptions(command: Command): Command {
  return command
    .option("-U, --force-share", "read an image that another program is writing")
    .addOption(allowBackingOption());
}

/** Takes directories that images may name files in. */
export function allowBackingOption(): Option {
  return new Option(
    "--allow-backing <directory>",
    "backing files may lie there too, not only beside their image; repeatable",
  )
    .argParser(collect)
    .default([], "none");
}

/** Takes an option that may be given several times. */
export function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}
