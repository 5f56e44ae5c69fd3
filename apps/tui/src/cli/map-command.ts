import { loadDirtyBitmap } from "@blockmirror/block-driver";
import type { Command } from "commander";
import { printable } from "../format/printable.ts";
import type { ImageFormat } from "../images/image-format.ts";
import { ImageSession } from "../images/image-session.ts";
import { mapBitmap, type BitmapRange } from "../images/map-bitmap.ts";
import { mapImage, type MappedRange } from "../images/map-image.ts";
import { pathArgument } from "./arguments.ts";
import { EXIT } from "./exit-status.ts";
import { addOutputOption, addReadingOptions, formatOption, type ResultOutput } from "./image-options.ts";
import { Interrupts } from "./interrupts.ts";
import { ProgressLine } from "./progress-line.ts";
import { onOutputLost } from "./standard-output.ts";

interface MapFlags {
  readonly format?: ImageFormat;
  readonly forceShare?: boolean;
  readonly allowBacking: readonly string[];
  readonly bitmap?: string;
  readonly output: ResultOutput;
}

/** Adds `map FILE`. */
export function addMapCommand(program: Command, finish: (status: number) => void): void {
  const command = program
    .command("map")
    .description("tell which parts of an image hold data, in which layer and where")
    .argument("<file>", "the image, or the NBD address of an export", pathArgument("FILE"))
    .addOption(formatOption("-f, --format <format>", "by default told by its magic; of an export raw"))
    .option(
      "--bitmap <name>",
      "tell which parts a dirty bitmap of the image or of the server marks, instead",
    );
  addOutputOption(addReadingOptions(command)).action(async (file: string, flags: MapFlags) => {
    finish(await map(file, flags));
  });
}

async function map(filename: string, flags: MapFlags): Promise<number> {
  const interrupts = new Interrupts(() => {});
  const progress = new ProgressLine(`mapping ${printable(filename)}`);
  // A reader that went away needs no rest of the map.
  const unwatch = onOutputLost(() => interrupts.note());
  try {
    await using session = new ImageSession(flags.allowBacking);
    const node = await session.openImage(filename, {
      shared: flags.forceShare === true,
      ...(flags.format !== undefined && { format: flags.format }),
      ...(flags.bitmap !== undefined && { bitmap: flags.bitmap }),
    });
    const ranges =
      flags.bitmap === undefined
        ? mapImage(session.graph, node, interrupts.signal)
        : mapBitmap(await loadDirtyBitmap(node, flags.bitmap));
    const write = flags.output === "json" ? new JsonMap() : new HumanMap(flags.bitmap !== undefined);
    for await (const range of ranges) {
      interrupts.signal.throwIfAborted();
      if (!write.range(range)) await drained();
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
    unwatch();
    progress.end();
    interrupts.disarm();
  }
}

/** Waits until standard output takes more, or will never again: a map can be longer than memory. */
async function drained(): Promise<void> {
  const { stdout } = process;
  await new Promise<void>((resolve) => {
    const end = (): void => {
      for (const event of ["drain", "error", "close"]) stdout.off(event, end);
      resolve();
    };
    for (const event of ["drain", "error", "close"]) stdout.on(event, end);
  });
}

/** One JSON array, an object in each line, as qemu-img writes it: a map can be long. */
class JsonMap {
  #separator = "[";

  /** False when standard output should be given time. */
  range(range: MappedRange | BitmapRange): boolean {
    const separator = this.#separator;
    this.#separator = ",\n";
    return process.stdout.write(`${separator}${JSON.stringify(range)}`);
  }

  end(): void {
    process.stdout.write(this.#separator === "[" ? "[]\n" : "]\n");
  }
}

/** A line for each range. */
class HumanMap {
  constructor(isOfBitmap: boolean) {
    if (isOfBitmap) this.#line("start", "length", "what");
    else this.#line("start", "length", "what", "layer", "at");
  }

  /** False when standard output should be given time. */
  range(range: MappedRange | BitmapRange): boolean {
    const { start, length } = range;
    if ("dirty" in range) return this.#line(`${start}`, `${length}`, range.dirty ? "dirty" : "clean");
    const { depth, present, zero, offset } = range;
    const what = present ? (zero ? "zeroes" : "data") : "nothing";
    return this.#line(
      `${start}`,
      `${length}`,
      what,
      present ? `${depth}` : "",
      offset === undefined ? "" : `${offset}`,
    );
  }

  end(): void {}

  #line(start: string, length: string, what: string, layer = "", at = ""): boolean {
    const cells = [
      start.padStart(16),
      length.padStart(16),
      what.padEnd(7),
      layer.padStart(5),
      at.padStart(16),
    ];
    return process.stdout.write(`${cells.join("  ").trimEnd()}\n`);
  }
}
