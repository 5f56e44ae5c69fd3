import path from "node:path";
import { BlockGraph, createDefaultRegistry, directoryGate } from "@blockmirror/block-driver";
import { Option, type Command } from "commander";
import { ExportServer } from "../exports/export-server.ts";
import { defaultListenAddress, parseListenAddress, type ListenAddress } from "../exports/listen-address.ts";
import { readServerCredentials } from "../exports/tls-credentials.ts";
import { inspectImage } from "../engine/image-file.ts";
import { RequestError } from "../engine/request-error.ts";
import { imageSpec } from "../images/image-location.ts";
import type { ImageFormat } from "../images/image-format.ts";
import { reportExports } from "../output/export-lines.ts";
import { choiceArgument, pathArgument } from "./arguments.ts";
import { EXIT, UsageError } from "./exit-status.ts";
import { allowBackingOption, formatOption } from "./image-options.ts";
import { onOutputLost } from "./standard-output.ts";

interface ServeFlags {
  readonly listen?: string;
  readonly format?: ImageFormat;
  readonly readOnly?: boolean;
  readonly tlsCreds?: string;
  readonly allowBacking: readonly string[];
  readonly output: "plain" | "json";
}

/** Adds `serve IMAGE…`. `finish` takes the exit status. */
export function addServeCommand(program: Command, finish: (status: number) => void): void {
  program
    .command("serve")
    .description("export images over NBD until interrupted")
    .argument("<images...>", "the images; several are named by their files")
    .option(
      "--listen <uri>",
      "nbd://host:port, nbd+unix:///?socket=path, or nbds for TLS; by default a socket in the runtime directory",
    )
    .option("--read-only", "clients cannot write")
    .addOption(formatOption("--format <format>", "by default told by its magic"))
    .option(
      "--tls-creds <directory>",
      "server-cert.pem, server-key.pem; with ca-cert.pem clients need one, too",
    )
    .addOption(allowBackingOption())
    .addOption(
      new Option("--output <mode>", "plain or json")
        .argParser(choiceArgument("--output", ["plain", "json"]))
        .default("plain"),
    )
    .action(async (images: readonly string[], flags: ServeFlags) => {
      finish(await serve(images.map(pathArgument("IMAGE")), flags));
    });
}

async function serve(images: readonly string[], flags: ServeFlags): Promise<number> {
  const address = await addressOf(flags);
  if (address.tls && flags.tlsCreds === undefined) {
    throw new UsageError(
      "an address with nbds needs --tls-creds, the directory of the server's certificates",
    );
  }
  const tls = flags.tlsCreds === undefined ? undefined : await readServerCredentials(flags.tlsCreds);
  const registry = createDefaultRegistry();
  const graph = new BlockGraph({ registry, gate: directoryGate(flags.allowBacking) });
  try {
    const nodes = [];
    for (const image of images) {
      const found = await inspectImage(image, graph, flags.format);
      if (found.state === "missing") throw new RequestError(`${image} does not exist; check the path`);
      if (found.state === "unusable") throw new RequestError(found.reason);
      const readOnly = flags.readOnly === true;
      if (!readOnly && !found.writable) {
        throw new RequestError(`${image} is not writable; give --read-only, or check its permissions`);
      }
      nodes.push({ image, readOnly, node: await graph.open(imageSpec(image, found.format, readOnly)) });
    }
    await using exports = await ExportServer.listen(graph, address, tls);
    const names = new Set<string>();
    const served = nodes.map(({ image, node, readOnly }) => {
      const name = images.length === 1 ? address.exportName : path.parse(image).name;
      if (names.has(name)) throw new UsageError(`two images would be served as '${name}'; serve them apart`);
      names.add(name);
      return { image, name, uris: exports.add(node, !readOnly, name) };
    });
    const reporter = reportExports(exports.server, served, process.stdout, flags.output);
    await untilInterrupted();
    reporter.stop();
    return EXIT.done;
  } finally {
    await graph.closeAll();
  }
}

async function addressOf({ listen }: ServeFlags): Promise<ListenAddress> {
  if (listen === undefined) return defaultListenAddress(`serve-${process.pid}`, process.env);
  try {
    return parseListenAddress(listen);
  } catch (error) {
    throw new UsageError(`--listen: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** An interrupt is how a server is meant to be ended. */
function untilInterrupted(): Promise<void> {
  return new Promise((resolve) => {
    const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
    const end = (): void => {
      for (const name of signals) process.off(name, end);
      resolve();
    };
    for (const name of signals) process.on(name, end);
    onOutputLost(end);
  });
}
