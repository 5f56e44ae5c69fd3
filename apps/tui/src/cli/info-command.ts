import type { Command } from "commander";
import { describeBytes } from "../format/bytes.ts";
import { printable } from "../format/printable.ts";
import { imageFacts, type ImageFacts } from "../images/image-facts.ts";
import { IMAGE_FORMATS, type ImageFormat } from "../images/image-format.ts";
import { ImageSession } from "../images/image-session.ts";
import { RequestError } from "../engine/request-error.ts";
import { pathArgument } from "./arguments.ts";
import { EXIT } from "./exit-status.ts";
import { addOutputOption, addReadingOptions, formatOption, type ResultOutput } from "./image-options.ts";
import { printFacts, printJson } from "./result-output.ts";

interface InfoFlags {
  readonly format?: ImageFormat;
  readonly chain?: boolean;
  readonly forceShare?: boolean;
  readonly allowBacking: readonly string[];
  readonly output: ResultOutput;
}

/** Longest chain that is followed. */
const MAX_CHAIN = 64;

/** Adds `info FILE`. */
export function addInfoCommand(program: Command, finish: (status: number) => void): void {
  const command = program
    .command("info")
    .description(
      "tell what an image is, from its metadata alone; opens nothing that it names, but for --chain",
    )
    .argument("<file>", "the image, or the NBD address of an export", pathArgument("FILE"))
    .addOption(formatOption("-f, --format <format>", "by default told by its magic, and raw for an export"))
    .option("--chain", "its backing files too");
  addOutputOption(addReadingOptions(command)).action(async (file: string, flags: InfoFlags) => {
    finish(await info(file, flags));
  });
}

async function info(filename: string, flags: InfoFlags): Promise<number> {
  const chain: ImageFacts[] = [];
  let next: { readonly filename: string; readonly format?: ImageFormat } | undefined = {
    filename,
    ...(flags.format !== undefined && { format: flags.format }),
  };
  // The gate of the whole chain is asked once, so that what is told here is what would be opened.
  if (flags.chain === true) await openOnce(filename, flags);
  while (next !== undefined) {
    if (chain.length === MAX_CHAIN) throw new RequestError(`the backing chain is longer than ${MAX_CHAIN}`);
    const facts: ImageFacts = await factsOf(next.filename, next.format, flags);
    chain.push(facts);
    next = flags.chain === true ? backingOf(facts) : undefined;
  }
  if (flags.output === "json") printJson(flags.chain === true ? chain : chain[0]);
  else for (const [index, facts] of chain.entries()) printImage(facts, index > 0);
  return EXIT.done;
}

async function openOnce(filename: string, flags: InfoFlags): Promise<void> {
  await using session = new ImageSession(flags.allowBacking);
  await session.openImage(filename, {
    shared: flags.forceShare === true,
    ...(flags.format !== undefined && { format: flags.format }),
  });
}

async function factsOf(
  filename: string,
  wanted: ImageFormat | undefined,
  flags: InfoFlags,
): Promise<ImageFacts> {
  await using session = new ImageSession();
  const format = wanted ?? (await session.formatOf(filename));
  const file = await session.openContainer(
    filename,
    { name: "info", uses: ["read"] },
    { shared: flags.forceShare === true },
  );
  return await imageFacts(file, filename, format, session.graph.registry.get(format).inspect);
}

function backingOf(
  facts: ImageFacts,
): { readonly filename: string; readonly format: ImageFormat } | undefined {
  const filename = facts["full-backing-filename"];
  const format = IMAGE_FORMATS.find((name) => name === facts["backing-filename-format"]);
  return filename === undefined || format === undefined ? undefined : { filename, format };
}

function printImage(facts: ImageFacts, further: boolean): void {
  if (further) process.stdout.write("\n");
  const rows: (readonly [string, string])[] = [
    ["image", printable(facts.filename)],
    ["format", facts.format],
    ["virtual size", bytes(facts["virtual-size"])],
  ];
  const add = (name: string, value: string | undefined): void => {
    if (value !== undefined) rows.push([name, value]);
  };
  const actual = facts["actual-size"];
  add("on disk", actual === undefined ? undefined : bytes(actual));
  const cluster = facts["cluster-size"];
  add("cluster size", cluster === undefined ? undefined : bytes(cluster));
  const backing = facts["backing-filename"];
  const format = facts["backing-filename-format"] ?? "format not recorded";
  add("backing file", backing === undefined ? undefined : `${printable(backing)} (${printable(format)})`);
  add("encrypted", facts.encrypted === true ? "yes" : undefined);
  add(
    "not closed in order",
    facts["dirty-flag"] ? "yes; it is repaired when it is opened for writing" : undefined,
  );
  const unreadable = facts["snapshots-unreadable"];
  add("snapshots", unreadable === undefined ? undefined : `cannot be listed: ${printable(unreadable)}`);
  for (const [name, value] of Object.entries(facts["format-specific"]?.data ?? {})) {
    if (name !== "bitmaps") add(name.replaceAll("-", " "), printable(String(value)));
  }
  printFacts(rows);
  printSnapshots(facts);
  printBitmaps(facts);
}

function bytes(count: number): string {
  return `${describeBytes(count)} (${count} bytes)`;
}

function printSnapshots({ snapshots = [] }: ImageFacts): void {
  for (const { id, name, "date-sec": date } of snapshots) {
    const when = typeof date === "number" ? new Date(date * 1000).toISOString() : "";
    process.stdout.write(`snapshot ${printable(String(id))}  ${printable(String(name))}  ${when}\n`);
  }
}

function printBitmaps(facts: ImageFacts): void {
  const bitmaps = facts["format-specific"]?.data["bitmaps"];
  if (!Array.isArray(bitmaps)) return;
  for (const bitmap of bitmaps) {
    if (typeof bitmap !== "object" || bitmap === null) continue;
    const { name, granularity, flags } = bitmap;
    const words = Array.isArray(flags) ? flags.join(", ") : "";
    process.stdout.write(
      `bitmap ${printable(String(name))}  ${describeBytes(Number(granularity))} per bit  ${words}`.trimEnd() +
        "\n",
    );
  }
}
