import { Option, type Command } from "commander";
import {
  ExtentFlag,
  ExtentList,
  measureQcow2,
  StatusResolver,
  type BlockNode,
  type DataRange,
  type Qcow2MeasureOptions,
  type Qcow2Measurement,
} from "@blockmirror/block-driver";
import { describeBytes } from "../format/bytes.ts";
import { parseCreationOptions, type CreationOptions } from "../images/creation-options.ts";
import type { ImageFormat } from "../images/image-format.ts";
import { ImageSession } from "../images/image-session.ts";
import { byteArgument, pathArgument } from "./arguments.ts";
import { EXIT, UsageError } from "./exit-status.ts";
import {
  addOutputOption,
  addReadingOptions,
  collect,
  formatOption,
  type ResultOutput,
} from "./image-options.ts";
import { printFacts, printJson } from "./result-output.ts";

interface MeasureFlags {
  readonly size?: number;
  readonly format?: ImageFormat;
  readonly targetFormat: ImageFormat;
  readonly option: readonly string[];
  readonly forceShare?: boolean;
  readonly allowBacking: readonly string[];
  readonly output: ResultOutput;
}

/** Adds `measure [FILE]`. */
export function addMeasureCommand(program: Command, finish: (status: number) => void): void {
  const command = program
    .command("measure")
    .description("say how much space a new image will take: as a copy of FILE, or empty with --size")
    .argument("[file]", "the image to be copied", pathArgument("FILE"))
    .addOption(
      new Option("--size <size>", "size of an empty image instead").argParser(byteArgument("--size")),
    )
    .addOption(formatOption("-f, --format <format>", "format of FILE, by default told by its magic"))
    .addOption(formatOption("-O, --target-format <format>", "format of the new image").default("qcow2"))
    .addOption(
      new Option("-o, --option <key=value>", "an option of the new image; repeatable")
        .argParser(collect)
        .default([], "none"),
    );
  addOutputOption(addReadingOptions(command)).action(
    async (file: string | undefined, flags: MeasureFlags) => {
      finish(await measure(file, flags));
    },
  );
}

async function measure(filename: string | undefined, flags: MeasureFlags): Promise<number> {
  if ((filename === undefined) === (flags.size === undefined)) {
    throw new UsageError("give either an image to be copied or --size");
  }
  const options = parseCreationOptions(flags.targetFormat, flags.option);
  await using session = new ImageSession(flags.allowBacking);
  const source =
    filename === undefined
      ? undefined
      : await session.openImage(filename, {
          ...(flags.format !== undefined && { format: flags.format }),
          shared: flags.forceShare === true,
        });
  const size = source?.size ?? flags.size ?? 0;
  const { required, fullyAllocated } =
    flags.targetFormat === "raw"
      ? { required: size, fullyAllocated: size }
      : await measureImage(size, options, source);
  if (flags.output === "json") printJson({ required, "fully-allocated": fullyAllocated });
  else {
    printFacts([
      ["required", `${describeBytes(required)} (${required} bytes)`],
      ["fully allocated", `${describeBytes(fullyAllocated)} (${fullyAllocated} bytes)`],
    ]);
  }
  return EXIT.done;
}

function measureImage(
  size: number,
  options: CreationOptions,
  source: BlockNode | undefined,
): Promise<Qcow2Measurement> {
  const { dataFileName: _elsewhere, ...shape } = options;
  const wanted: Qcow2MeasureOptions = { ...shape, size: Math.ceil(size / 512) * 512 };
  return measureQcow2(wanted, source === undefined ? [] : dataOf(source));
}

/** The ranges that a copy would have to hold. */
async function* dataOf(node: BlockNode): AsyncGenerator<DataRange> {
  const extents = new ExtentList();
  const resolver = new StatusResolver();
  for (let offset = 0; offset < node.size; offset = extents.next) {
    await resolver.resolve(node, offset, node.size - offset, extents);
    for (let index = 0; index < extents.count; index += 1) {
      if ((extents.flagsAt(index) & ExtentFlag.Data) === 0) continue;
      yield { offset: extents.offsetAt(index), length: extents.lengthAt(index) };
    }
  }
}
