import { spawn, type ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { createInterface, type Interface } from "node:readline";
import type { Readable } from "node:stream";

import { formatBytes } from "../format.ts";
import { median } from "../interleave.ts";
import { runFio } from "../process/fio.ts";
import { PROGRAM } from "../process/mirror-process.ts";
import { ServeProcess } from "../process/serve-process.ts";
import { settle, writeFullImage } from "../raw/images.ts";
import type { BenchContext, Scenario } from "../scenario.ts";

/** How long a guest is watched with a job, and without one. */
const SECONDS = 5;

interface Images {
  readonly source: string;
  readonly target: string;
}

interface Figures {
  /** The guest's rate with the job, in percent of its rate without one. */
  readonly keptPercent: number;
  /** From the job's start to READY beside the guest; infinite when it was not READY while the guest wrote. */
  readonly readyMs: number;
  /** The same without a guest. */
  readonly idleMs: number;
}

/** A mirror in automatic copy mode whose source is exported, until it is killed. */
class ExportedMirror {
  readonly #child: ChildProcessByStdio<null, Readable, null>;
  readonly #said: { readonly line: string; readonly atMs: number }[] = [];
  readonly #lines: Interface;

  constructor({ source, target }: Images, socketPath: string) {
    const formats = ["--existing", "--source-format", "raw", "--target-format", "raw"];
    const how = ["--copy-mode", "auto", "--when-ready", "wait", "--output", "json"];
    const uri = `nbd+unix:///disk?socket=${socketPath}`;
    const args = [PROGRAM, "mirror", source, target, ...formats, ...how, "--export", uri];
    this.#child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    this.#lines = createInterface({ input: this.#child.stdout });
    this.#lines.on("line", (line) => this.#said.push({ line, atMs: performance.now() }));
  }

  /** Resolves to the time at which the program tells of such an event, whose line holds all the words. */
  async event(...words: readonly string[]): Promise<number> {
    for (;;) {
      const found = this.#said.find(({ line }) => words.every((word) => line.includes(`"${word}"`)));
      if (found !== undefined) return found.atMs;
      await once(this.#lines, "line");
    }
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exit = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exit;
  }
}

async function guestAlone({ source }: Images, { directory, dataBytes }: BenchContext): Promise<number> {
  const server = await ServeProcess.start(source, directory);
  try {
    const uri = `nbd+unix:///?socket=${server.socketPath}`;
    const { iops } = await runFio({ uri, mode: "randwrite", bytes: dataBytes, seconds: SECONDS, directory });
    return iops;
  } finally {
    await server.stop();
  }
}

/** What was written before is on the disk, so that nobody pays for another's writes. */
async function settleAll({ source, target }: Images): Promise<void> {
  await settle(source);
  await settle(target);
}

async function measure(images: Images, context: BenchContext): Promise<Figures> {
  const { directory, dataBytes } = context;
  await settleAll(images);
  const alone = await guestAlone(images, context);
  await settleAll(images);
  const idle = new ExportedMirror(images, join(directory, "idle.sock"));
  let idleMs: number;
  try {
    const started = await idle.event("JOB_STATUS_CHANGE", "running");
    idleMs = (await idle.event("BLOCK_JOB_READY")) - started;
  } finally {
    await idle.stop();
  }
  await settleAll(images);
  const socket = join(directory, "busy.sock");
  const busy = new ExportedMirror(images, socket);
  try {
    const started = await busy.event("JOB_STATUS_CHANGE", "running");
    let readyMs = Number.POSITIVE_INFINITY;
    void busy.event("BLOCK_JOB_READY").then((atMs) => (readyMs = atMs - started));
    const uri = `nbd+unix:///disk?socket=${socket}`;
    const options = { mode: "randwrite", bytes: dataBytes, seconds: SECONDS, directory } as const;
    const { iops } = await runFio({ uri, ...options });
    return { keptPercent: (100 * iops) / alone, readyMs, idleMs };
  } finally {
    await busy.stop();
  }
}

/** A guest that writes as fast as it can, and a mirror that has to be READY all the same. */
export const jobsAuto: Scenario = {
  name: "jobs/auto",
  title: "a guest's 4 KiB random writes over NBD while raw is mirrored to raw with --copy-mode auto",
  needs: ["fio"],
  async run(context) {
    const { directory, dataBytes, log, runs } = context;
    const images = { source: join(directory, "source.raw"), target: join(directory, "target.raw") };
    log(`writing two images of ${formatBytes(dataBytes)}`);
    await writeFullImage(images.source, dataBytes);
    await writeFullImage(images.target, dataBytes);
    await measure(images, context);
    const results: Figures[] = [];
    for (let run = 0; run < runs; run += 1) results.push(await measure(images, context));
    return [
      {
        figure: "READY beside the guest, as many times as an idle mirror takes",
        unit: "times",
        ours: median(results.map(({ readyMs, idleMs }) => readyMs / idleMs)),
        bar: { on: "value", atMost: 3 },
      },
      {
        figure: "the guest keeps of its rate without a job",
        unit: "%",
        ours: median(results.map(({ keptPercent }) => keptPercent)),
        largerIsBetter: true,
        bar: { on: "value", atLeast: 55 },
      },
    ];
  },
};
