import { Option, type Command } from "commander";
import { checkQcow2, type Qcow2CheckReport, type Qcow2Finding } from "@blockmirror/block-driver";
import { describeBytes } from "../format/bytes.ts";
import { printable } from "../format/printable.ts";
import { RequestError } from "../engine/request-error.ts";
import type { ImageFormat } from "../images/image-format.ts";
import { ImageSession } from "../images/image-session.ts";
import { choiceArgument, pathArgument } from "./arguments.ts";
import { EXIT } from "./exit-status.ts";
import { addOutputOption, formatOption, type ResultOutput } from "./image-options.ts";
import { Interrupts } from "./interrupts.ts";
import { ProgressLine } from "./progress-line.ts";
import { printFacts, printJson } from "./result-output.ts";

const REPAIRS = ["leaks", "all"] as const;

interface CheckFlags {
  readonly format?: ImageFormat;
  readonly repair?: (typeof REPAIRS)[number];
  readonly forceShare?: boolean;
  readonly output: ResultOutput;
}

/** Findings told one by one; the report counts the rest. */
const MOST_FINDINGS = 50;

/** Adds `check FILE`. */
export function addCheckCommand(program: Command, finish: (status: number) => void): void {
  const command = program
    .command("check")
    .description("check a qcow2 image, and repair it with --repair; exit status 1 when something is wrong")
    .argument(
      "<file>",
      "the image, or the NBD address of what holds it, which nobody may be writing",
      pathArgument("FILE"),
    )
    .addOption(formatOption("-f, --format <format>", "by default told by its magic, and raw for an export"))
    .addOption(
      new Option(
        "-r, --repair <what>",
        "leaks gives back lost space; all repairs what can be repaired",
      ).argParser(choiceArgument("--repair", REPAIRS)),
    )
    .option("-U, --force-share", "look at an image that another program is writing");
  addOutputOption(command).action(async (file: string, flags: CheckFlags) => {
    finish(await check(file, flags));
  });
}

async function check(filename: string, flags: CheckFlags): Promise<number> {
  const interrupts = new Interrupts(() => {});
  const progress = new ProgressLine(`checking ${printable(filename)}`);
  try {
    await using session = new ImageSession();
    const format = flags.format ?? (await session.formatOf(filename));
    if (format !== "qcow2") {
      throw new RequestError(`${filename} is a ${format} image, which has nothing to check`);
    }
    const file = await session.openContainer(
      filename,
      { name: "check", uses: flags.repair === undefined ? ["read"] : ["read", "write", "resize"] },
      { shared: flags.forceShare === true },
    );
    const told = new FindingLines(flags.output === "human", progress);
    const report = await checkQcow2(file, {
      ...(flags.repair !== undefined && { repair: flags.repair }),
      signal: interrupts.signal,
      onFinding: (finding) => told.tell(finding),
      onProgress: ({ done, total }) => progress.update(done, total),
    });
    progress.end();
    told.end();
    if (flags.output === "json") printJson(toJson(filename, report));
    else printReport(report);
    return isClean(report) ? EXIT.done : EXIT.failed;
  } catch (error) {
    if (interrupts.signal.aborted) return EXIT.interrupted;
    throw error;
  } finally {
    progress.end();
    interrupts.disarm();
  }
}

function isClean({ checkErrors, corruptions, leaks }: Qcow2CheckReport): boolean {
  return checkErrors + corruptions + leaks === 0;
}

/** Tells findings on standard error, the first ones in full. */
class FindingLines {
  readonly #show: boolean;
  readonly #progress: ProgressLine;
  #count = 0;

  constructor(show: boolean, progress: ProgressLine) {
    this.#show = show;
    this.#progress = progress;
  }

  tell({ kind, message, fixed }: Qcow2Finding): void {
    this.#count += 1;
    if (!this.#show || this.#count > MOST_FINDINGS) return;
    this.#progress.end();
    process.stderr.write(`${fixed ? "repaired" : kind}: ${printable(message)}\n`);
  }

  end(): void {
    const more = this.#count - MOST_FINDINGS;
    if (this.#show && more > 0) process.stderr.write(`and ${more} more\n`);
  }
}

function some(name: string, count: number): Readonly<Record<string, number>> {
  return count === 0 ? {} : { [name]: count };
}

/** The report in qemu-img's words; like there, what is 0 is left out. */
function toJson(filename: string, report: Qcow2CheckReport): Readonly<Record<string, unknown>> {
  return {
    ...some("image-end-offset", report.imageEndOffset),
    ...some("compressed-clusters", report.compressedClusters),
    ...some("total-clusters", report.totalClusters),
    ...some("corruptions", report.corruptions),
    ...some("corruptions-fixed", report.corruptionsFixed),
    "check-errors": report.checkErrors,
    ...some("leaks", report.leaks),
    ...some("leaks-fixed", report.leaksFixed),
    ...some("allocated-clusters", report.allocatedClusters),
    ...some("fragmented-clusters", report.fragmentedClusters),
    filename,
    format: "qcow2",
  };
}

function printReport(report: Qcow2CheckReport): void {
  const { totalClusters: total, allocatedClusters: allocated } = report;
  printFacts([
    ["result", verdict(report)],
    ...(report.corruptionsFixed + report.leaksFixed > 0
      ? [["repaired", `${report.corruptionsFixed} errors, ${report.leaksFixed} leaks`] as const]
      : []),
    ["allocated", `${allocated} of ${total} clusters${share(allocated, total)}`],
    ["fragmented", `${report.fragmentedClusters} clusters${share(report.fragmentedClusters, allocated)}`],
    ["compressed", `${report.compressedClusters} clusters${share(report.compressedClusters, allocated)}`],
    ["image end", `${describeBytes(report.imageEndOffset)} (${report.imageEndOffset} bytes)`],
  ]);
}

function verdict({ checkErrors, corruptions, leaks }: Qcow2CheckReport): string {
  const found = [
    corruptions > 0 && `${corruptions} errors that endanger data: copy what is readable, then --repair all`,
    checkErrors > 0 && `${checkErrors} places could not be checked`,
    leaks > 0 && `${leaks} clusters in use by nobody, which only waste space: --repair leaks gives them back`,
  ].filter((text) => text !== false);
  return found.length === 0 ? "no errors" : found.join("; ");
}

function share(part: number, whole: number): string {
  return whole === 0 ? "" : ` (${((100 * part) / whole).toFixed(2)} %)`;
}
