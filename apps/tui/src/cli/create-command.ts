import { stat } from "node:fs/promises";
import path from "node:path";
import { Option, type Command } from "commander";
import { describeBytes } from "../format/bytes.ts";
import { RequestError } from "../engine/request-error.ts";
import { createImage } from "../images/create-image.ts";
import { parseCreationOptions, type CreationOptions } from "../images/creation-options.ts";
import { IMAGE_FORMATS, type ImageFormat } from "../images/image-format.ts";
import { ImageSession } from "../images/image-session.ts";
import { byteArgument, pathArgument } from "./arguments.ts";
import { EXIT, UsageError } from "./exit-status.ts";
import {
  addOutputOption,
  allowBackingOption,
  collect,
  formatOption,
  type ResultOutput,
} from "./image-options.ts";
import { Interrupts } from "./interrupts.ts";
import { printJson } from "./result-output.ts";

interface CreateFlags {
  readonly format: ImageFormat;
  readonly backing?: string;
  readonly backingFormat?: ImageFormat;
  readonly option: readonly string[];
  readonly force?: boolean;
  readonly allowBacking: readonly string[];
  readonly output: ResultOutput;
}

/** Adds `create FILE [SIZE]`. */
export function addCreateCommand(program: Command, finish: (status: number) => void): void {
  const command = program
    .command("create")
    .description("make an image; without SIZE it is as large as its backing file")
    .argument("<file>", "the image to make", pathArgument("FILE"))
    .argument("[size]", "its size, such as 10G", byteArgument("SIZE"))
    .addOption(formatOption("-f, --format <format>", "what to make").default("qcow2"))
    .option(
      "-b, --backing <file>",
      "what the image does not hold is read from there; relative to the image",
      pathArgument("--backing"),
    )
    .addOption(
      formatOption(
        "-F, --backing-format <format>",
        "format of the backing file; by default told by its magic",
      ),
    )
    .addOption(
      new Option("-o, --option <key=value>", "an option of the format, named as by qemu-img; repeatable")
        .argParser(collect)
        .default([], "none"),
    )
    .addOption(allowBackingOption())
    .option("--force", "replace what exists");
  addOutputOption(command).action(async (file: string, size: number | undefined, flags: CreateFlags) => {
    finish(await create(file, size, flags));
  });
}

async function create(filename: string, given: number | undefined, flags: CreateFlags): Promise<number> {
  const parsed = parseCreationOptions(flags.format, flags.option);
  const interrupts = new Interrupts(() => {});
  try {
    await using session = new ImageSession(flags.allowBacking);
    const backing = await backingOf(session, filename, parsed, flags);
    const wanted = given ?? backing.size;
    if (wanted === undefined) throw new UsageError("give the size of the image: create FILE SIZE");
    // Both formats count in sectors.
    const size = flags.format === "raw" ? wanted : Math.ceil(wanted / 512) * 512;
    const options = { ...parsed, ...backing.options };
    await createImage(
      session.graph,
      { filename, format: flags.format, size, options, overwrite: flags.force === true },
      interrupts.signal,
    );
    if (flags.output === "json") {
      printJson({ filename, format: flags.format, "virtual-size": size });
    } else {
      process.stdout.write(`made ${filename}: ${flags.format}, ${describeBytes(size)} (${size} bytes)\n`);
    }
    return EXIT.done;
  } catch (error) {
    if (interrupts.signal.aborted) return EXIT.interrupted;
    throw error;
  } finally {
    interrupts.disarm();
  }
}

interface Backing {
  readonly size?: number;
  readonly options: CreationOptions;
}

/** What the backing file adds to the options; it is opened, so that what is recorded is known to be there. */
async function backingOf(
  session: ImageSession,
  image: string,
  parsed: CreationOptions,
  flags: CreateFlags,
): Promise<Backing> {
  const recorded = parsed["backingFile"];
  const name = flags.backing ?? (typeof recorded === "string" ? recorded : undefined);
  if (name === undefined) {
    if (flags.backingFormat !== undefined) throw new UsageError("--backing-format needs --backing");
    return { options: {} };
  }
  if (flags.format === "raw")
    throw new UsageError("a raw image cannot have a backing file; make a qcow2 image");
  const filename = path.resolve(path.dirname(image), name);
  await stat(filename).catch(() => {
    throw new RequestError(`backing file ${filename} does not exist; its name is relative to the image`);
  });
  const wanted = flags.backingFormat ?? formatNamed(parsed["backingFormat"]);
  const format = wanted ?? (await session.formatOf(filename));
  if (wanted === undefined) {
    process.stderr.write(`blockmirror: the format of ${name} is taken to be ${format}, by its first bytes\n`);
  }
  const node = await session.openImage(filename, { format });
  return { size: node.size, options: { backingFile: name, backingFormat: format } };
}

function formatNamed(name: unknown): ImageFormat | undefined {
  if (name === undefined) return undefined;
  const format = IMAGE_FORMATS.find((known) => known === name);
  if (format === undefined)
    throw new UsageError(`-o backing_fmt: must be one of ${IMAGE_FORMATS.join(", ")}`);
  return format;
}
