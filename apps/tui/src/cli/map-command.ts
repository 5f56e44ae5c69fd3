import type { Command } from "commander";
import { printable } from "../format/text.ts";
import type { ImageFormat } from "../images/image-format.ts";
import { ImageSession } from "../images/image-session.ts";
import { mapImage, type MappedRange } from "../images/map-image.ts";
import { pathArgument } from "./arguments.ts";
import { EXIT } from "./exit-status.ts";
import { addOutputOption, addReadingOptions, formatOption, type ResultOutput } from "./image-options.ts";
import { Interrupts } from "./interrupts.ts";
import { ProgressLine } from "./progress-line.ts";

interface MapFlags {
  readonly format?: ImageFormat;
  readonly forceShare?: boolean;
  readonly allowBacking: readonly string[];
  readonly output: ResultOutput;
}

/** Adds `map FILE`. */
export function addMapCommand(program: Command, finish: (status: number) => void): void {
  const command = program
    .command("map")
    .description("tell which parts of an image hold data, in which layer and where")
    .argument("<file>", "the image", pathArgument("FILE"))
    .addOption(formatOption("-f, --format <format>", "by default told by its magic"));
  addOutputOption(addReadingOptions(command)).action(async (file: string, flags: MapFlags) => {
    finish(await map(file, flags));
  });
}

async function map(filename: string, flags: MapFlags): Promise<number> {
  const interrupts = new Interrupts(() => {});
  const progress = new ProgressLine(`mapping ${printable(filename)}`);
  try {
    await using session = new ImageSession(flags.allowBacking);
    const node = await session.openImage(filename, {
      shared: flags.forceShare === true,
      ...(flags.format !== undefined && { format: flags.format }),
    });
    const write = flags.output === "json" ? new JsonMap() : new HumanMap();
    for await (const range of mapImage(session.graph, node, interrupts.signal)) {
      write.range(range);
      // A terminal that shows the map needs no other sign of life.
      if (!process.stdout.isTTY) progress.update(range.start + range.length, node.size);
    }
    progress.end();
    write.end();
    return EXIT.done;
  } catch (error) {
    if (interrupts.signal.aborted) return EXIT.interrupted;
    throw error;
  } finally {
    progress.end();
    interrupts.disarm();
  }
}

/** One JSON array, an object in each line, as qemu-img writes it: a map can be long. */
class JsonMap {
  #separator = "[";

  range(range: MappedRange): void {
    process.stdout.write(`${this.#separator}${JSON.stringify(range)}`);
    this.#separator = ",\n";
  }

  end(): void {
    process.stdout.write(this.#separator === "[" ? "[]\n" : "]\n");
  }
}

/** A line for each range. */
class HumanMap {
  constructor() {
    this.#line("start", "length", "what", "layer", "at");
  }

  range({ start, length, depth, present, zero, offset }: MappedRange): void {
    const what = present ? (zero ? "zeroes" : "data") : "nothing";
    this.#line(
      `${start}`,
      `${length}`,
      what,
      present ? `${depth}` : "",
      offset === undefined ? "" : `${offset}`,
    );
  }

  end(): void {}

  #line(start: string, length: string, what: string, layer: string, at: string): void {
    const cells = [
      start.padStart(16),
      length.padStart(16),
      what.padEnd(7),
      layer.padStart(5),
      at.padStart(16),
    ];
    process.stdout.write(`${cells.join("  ").trimEnd()}\n`);
  }
}
