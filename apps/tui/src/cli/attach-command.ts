import type { Command } from "commander";
import { endpointNames } from "../attach/endpoint-names.ts";
import { expandPattern, wellKnownPatterns } from "../attach/find-sockets.ts";
import { LinkedPeer } from "../attach/linked-peer.ts";
import { MergedJobSource } from "../attach/merged-job-source.ts";
import { QmpJobSource } from "../attach/qmp-job-source.ts";
import { systemClock } from "../job-source/clock.ts";
import type { JobSource } from "../job-source/job-source.ts";
import {
  allEnded,
  detachedSockets,
  isDetachedSocket,
  statusOf,
  tellEnded,
  tellOutcomes,
} from "./attach-detached.ts";
import { addDisplayOptions, displayFlags, toDisplay, type DisplayFlags } from "./display-options.ts";
import { EXIT, UsageError } from "./exit-status.ts";
import { RequestError } from "../engine/request-error.ts";
import { chooseOutput } from "./job-view.ts";
import { say } from "./run-in-view.ts";
import { watchJobs } from "./watch-jobs.ts";

interface AttachFlags extends DisplayFlags {
  readonly discover?: boolean;
  readonly ended?: boolean;
}

/** Adds `attach SOCKET…`. `finish` takes the exit status. */
export function addAttachCommand(program: Command, finish: (status: number) => void): void {
  const command = program
    .command("attach")
    .description("watch and steer the block jobs of QMP sockets: ours, qemu-storage-daemon's, a machine's")
    .argument("[sockets...]", "paths, patterns with * and ?, or HOST:PORT; none: jobs started with --detach")
    .option("--ended", "tell how jobs started with --detach ended, and which run")
    .option("--discover", "also look where libvirt, Proxmox VE and blockmirror --detach put their sockets");
  addDisplayOptions(command).action(async (sockets: readonly string[], flags: AttachFlags) => {
    finish(await attach(sockets, { ...flags, ...displayFlags(command) }));
  });
}

async function attach(sockets: readonly string[], flags: AttachFlags): Promise<number> {
  if (flags.ended === true) return tellOutcomes(flags.output);
  const isOwn = sockets.length === 0 && flags.discover !== true;
  const addresses = isOwn ? await detachedSockets() : await findAddresses(sockets, flags.discover === true);
  if (addresses.length === 0) return tellOutcomes(flags.output);
  const display = toDisplay(flags);
  const isTui = chooseOutput(display.output) === "tui";
  const peers = openPeers(addresses);
  const names = endpointNames(addresses);
  const sources = peers.map(
    (peer, index) =>
      new QmpJobSource(peer, {
        name: names[index] ?? peer.address,
        clock: systemClock,
        pollMs: display.intervalMs,
        endsWithJobs: isDetachedSocket(peer.address),
      }),
  );
  const [first] = sources;
  const source: JobSource | undefined = sources.length > 1 ? new MergedJobSource(sources) : first;
  if (source === undefined) throw new UsageError("there is no socket to attach to");
  try {
    await firstAnswers(peers);
    if (peers.every((peer) => peer.state === "dead")) {
      for (const peer of peers) say(peer.problem ?? peer.address);
      return EXIT.failed;
    }
    // The terminal UI shows it in its header. Where a job of our own has ended its socket goes, as it should.
    if (!isTui && !isOwn) peers.forEach(tellConnection);
    const ended = await watchJobs(source, display, isOwn && !isTui ? allEnded(source) : undefined);
    if (ended === "interrupted") return EXIT.interrupted;
    if (isOwn && !isTui) return await statusOf(addresses);
    if (isOwn) await tellEnded(addresses);
    return EXIT.done;
  } finally {
    await Promise.all(sources.map((each) => each.close()));
  }
}

async function findAddresses(sockets: readonly string[], discover: boolean): Promise<readonly string[]> {
  const patterns = [...sockets, ...(discover ? wellKnownPatterns(process.env) : [])];
  const found = await Promise.all(patterns.map((pattern) => expandPattern(pattern)));
  const addresses = [...new Set(found.flat())];
  if (addresses.length > 0) return addresses;
  if (sockets.length > 0) throw new UsageError(`no socket matches ${sockets.join(", ")}`);
  const places = wellKnownPatterns(process.env).join(", ");
  throw new RequestError(`no QMP socket was found; looked for ${places}; name one`);
}

function openPeers(addresses: readonly string[]): readonly LinkedPeer[] {
  return addresses.map((address) => {
    try {
      return new LinkedPeer(address);
    } catch (error) {
      throw new UsageError(error instanceof Error ? error.message : String(error));
    }
  });
}

/** Says when a peer cannot be reached, and when it can again: silence would look as if it had no jobs. */
function tellConnection(peer: LinkedPeer): void {
  let told = "connected";
  const look = (): void => {
    const { state, problem } = peer;
    if (state === told || (state !== "connected" && problem === undefined)) return;
    told = state;
    say(state === "connected" ? `${peer.address}: connected again` : `${problem}; it is tried again`);
  };
  look();
  peer.onState(look);
}

/** Waits until each peer has answered, or has been found not to. */
function firstAnswers(peers: readonly LinkedPeer[]): Promise<unknown> {
  return Promise.all(
    peers.map(
      (peer) =>
        new Promise<void>((resolve) => {
          const look = (): void => {
            if (peer.state === "connecting") return;
            end();
            resolve();
          };
          const end = peer.onState(look);
          look();
        }),
    ),
  );
}
