import type { Command } from "commander";
import { printable } from "../format/printable.ts";
import { compareImages, type ComparedImage } from "../images/compare-images.ts";
import type { ImageFormat } from "../images/image-format.ts";
import { ImageSession } from "../images/image-session.ts";
import { pathArgument } from "./arguments.ts";
import { EXIT } from "./exit-status.ts";
import { addOutputOption, addReadingOptions, formatOption, type ResultOutput } from "./image-options.ts";
import { Interrupts } from "./interrupts.ts";
import { ProgressLine } from "./progress-line.ts";
import { printJson } from "./result-output.ts";

interface CompareFlags {
  readonly format?: ImageFormat;
  readonly secondFormat?: ImageFormat;
  readonly strict?: boolean;
  readonly forceShare?: boolean;
  readonly allowBacking: readonly string[];
  readonly output: ResultOutput;
}

/** Adds `compare A B`. */
export function addCompareCommand(program: Command, finish: (status: number) => void): void {
  const command = program
    .command("compare")
    .description("compare what a guest reads in two images; exit status 1 when it differs")
    .argument("<a>", "an image", pathArgument("A"))
    .argument("<b>", "another", pathArgument("B"))
    .addOption(formatOption("-f, --format <format>", "format of A, by default told by its magic"))
    .addOption(formatOption("-F, --second-format <format>", "format of B, by default told by its magic"))
    .option("-s, --strict", "different sizes differ, even when only zeroes are missing");
  addOutputOption(addReadingOptions(command)).action(async (a: string, b: string, flags: CompareFlags) => {
    finish(await compare(a, b, flags));
  });
}

async function compare(a: string, b: string, flags: CompareFlags): Promise<number> {
  const interrupts = new Interrupts(() => {});
  const progress = new ProgressLine(`comparing ${printable(a)} with ${printable(b)}`);
  try {
    await using session = new ImageSession(flags.allowBacking);
    const left = await openSide(session, a, flags.format, flags);
    const right = await openSide(session, b, flags.secondFormat, flags);
    const sizes = [left.node.size, right.node.size] as const;
    const sameSize = sizes[0] === sizes[1];
    const difference =
      flags.strict === true && !sameSize
        ? Math.min(...sizes)
        : await compareImages(left, right, {
            signal: interrupts.signal,
            onProgress: (done, total) => progress.update(done, total),
          });
    progress.end();
    const identical = difference === undefined;
    if (flags.output === "json") {
      printJson({ identical, sizes, ...(!identical && { "first-difference": difference }) });
    } else {
      const note = sameSize ? "" : `; sizes differ: ${sizes[0]} and ${sizes[1]} bytes`;
      const verdict = identical ? "the images are identical" : `the images differ at offset ${difference}`;
      process.stdout.write(`${verdict}${note}\n`);
    }
    return identical ? EXIT.done : EXIT.failed;
  } catch (error) {
    if (interrupts.signal.aborted) return EXIT.interrupted;
    throw error;
  } finally {
    progress.end();
    interrupts.disarm();
  }
}

async function openSide(
  session: ImageSession,
  filename: string,
  format: ImageFormat | undefined,
  flags: CompareFlags,
): Promise<ComparedImage> {
  const node = await session.openImage(filename, {
    shared: flags.forceShare === true,
    ...(format !== undefined && { format }),
  });
  const edge = session.graph.attach(node, {
    name: "comparison",
    uses: ["read"],
    shares: ["read", "write", "write-unchanged", "resize"],
  });
  return { node, edge };
}
