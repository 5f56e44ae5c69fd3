import path from "node:path";
import type { BlockNode } from "@blockmirror/block-driver";
import type { NbdServerTls } from "@blockmirror/nbd";
import { Option, type Command } from "commander";
import { EmbeddedEngine } from "../engine/embedded-engine.ts";
import { exportsOf } from "../exports/export-source.ts";
import { ExportServer } from "../exports/export-server.ts";
import { defaultListenAddress, parseListenAddress, type ListenAddress } from "../exports/listen-address.ts";
import { readServerCredentials, readServerKeys } from "../exports/tls-credentials.ts";
import { inspectImage } from "../engine/image-file.ts";
import { RequestError } from "../engine/request-error.ts";
import { imageSpec } from "../images/image-location.ts";
import type { ImageFormat } from "../images/image-format.ts";
import { reportExports } from "../output/export-lines.ts";
import { pathArgument } from "./arguments.ts";
import { addDisplayOptions, displayFlags, toDisplay, type DisplayFlags } from "./display-options.ts";
import { EXIT, UsageError } from "./exit-status.ts";
import { allowBackingOption, formatOption } from "./image-options.ts";
import { chooseOutput, JobView } from "./job-view.ts";
import { onOutputLost } from "./standard-output.ts";

interface ServeFlags extends DisplayFlags {
  readonly listen?: string;
  readonly format?: ImageFormat;
  readonly tlsCreds?: string;
  readonly tlsPsk?: string;
  readonly allowBacking: readonly string[];
}

/** Adds `serve IMAGE…`. `finish` takes the exit status. */
export function addServeCommand(program: Command, finish: (status: number) => void): void {
  const command = program
    .command("serve")
    .description("export images over NBD until interrupted")
    .argument("<images...>", "the images; several are named by their files")
    .option(
      "--listen <uri>",
      "nbd://host:port, nbd+unix:///?socket=path, or nbds for TLS; by default a socket in the runtime directory",
    )
    .addOption(formatOption("--format <format>", "by default told by its magic"))
    .option(
      "--tls-creds <directory>",
      "server-cert.pem, server-key.pem; with ca-cert.pem clients need one, too",
    )
    .addOption(
      new Option(
        "--tls-psk <file>",
        "lines user:hexkey, the keys that clients share with the server",
      ).conflicts("tlsCreds"),
    )
    .addOption(allowBackingOption());
  addDisplayOptions(command, "clients cannot write").action(
    async (images: readonly string[], flags: ServeFlags) => {
      finish(await serve(images.map(pathArgument("IMAGE")), { ...flags, ...displayFlags(command) }));
    },
  );
}

async function serve(images: readonly string[], flags: ServeFlags): Promise<number> {
  const output = chooseOutput(flags.output);
  const address = addressOf(flags);
  const tls = await credentialsOf(flags);
  if (address.tls && tls === undefined) {
    throw new UsageError(
      "an address with nbds needs --tls-creds, the directory of the server's certificates, or --tls-psk, a file of keys",
    );
  }
  const engine = new EmbeddedEngine(flags.allowBacking);
  try {
    const nodes = await openImages(images, engine, flags);
    // From the moment when the socket is there: it would stay behind, and what clients wrote would not be flushed.
    const interrupted = output === "tui" ? undefined : untilInterrupted();
    await using exports = await ExportServer.listen(engine.graph, address, tls);
    const names = new Set<string>();
    const served = nodes.map(({ image, node, readOnly }) => {
      const name = images.length === 1 ? address.exportName : path.parse(image).name;
      if (names.has(name)) throw new UsageError(`two images would be served as '${name}'; serve them apart`);
      names.add(name);
      return { image, name, uris: exports.add(node, !readOnly, name) };
    });
    if (output === "tui") return await show(engine, exports, flags);
    const reporter = reportExports(exports.server, served, process.stdout, output);
    await interrupted;
    reporter.stop();
    return EXIT.done;
  } finally {
    await engine.close();
  }
}

/** What clients see of the server, and it of them; undefined without TLS. */
async function credentialsOf({ tlsCreds, tlsPsk }: ServeFlags): Promise<NbdServerTls | undefined> {
  if (tlsPsk !== undefined) return readServerKeys(tlsPsk);
  return tlsCreds === undefined ? undefined : readServerCredentials(tlsCreds);
}

interface ServedNode {
  readonly image: string;
  readonly node: BlockNode;
  readonly readOnly: boolean;
}

async function openImages(
  images: readonly string[],
  engine: EmbeddedEngine,
  flags: ServeFlags,
): Promise<readonly ServedNode[]> {
  const nodes = [];
  for (const image of images) {
    const found = await inspectImage(image, engine.graph, flags.format);
    if (found.state === "missing") throw new RequestError(`${image} does not exist; check the path`);
    if (found.state === "unusable") throw new RequestError(found.reason);
    const readOnly = flags.readOnly === true;
    if (!readOnly && !found.writable) {
      throw new RequestError(`${image} is not writable; give --read-only, or check its permissions`);
    }
    const node = await engine.graph.open(imageSpec(image, found.format, readOnly));
    engine.share(image, node, found.format);
    nodes.push({ image, readOnly, node });
  }
  return nodes;
}

/** In a terminal the exports are shown, and jobs that the user starts beside them. */
async function show(engine: EmbeddedEngine, exports: ExportServer, flags: ServeFlags): Promise<number> {
  // Read-only is said of the exports here; jobs may be started all the same.
  const { readOnly: _ofExports, ...display } = flags;
  const view = new JobView(engine, toDisplay(display));
  view.showExports(exportsOf(exports.server));
  try {
    const shown = await view.show(new Promise(() => {}), false);
    if (shown === "quit") await engine.cancelAll({ force: false });
    return EXIT.done;
  } finally {
    view.close();
  }
}

function addressOf({ listen }: ServeFlags): ListenAddress {
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
