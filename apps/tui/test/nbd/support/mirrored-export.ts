import {
  closeSync,
  fsyncSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  ALL_PERMISSIONS,
  BlockGraph,
  createDefaultRegistry,
  type BlockNode,
} from "@blockmirror/block-driver";
import { JobManager, type JobEvent, type JobEventName } from "@blockmirror/blockjob";
import { startMirror, type Mirror, type MirrorOptions } from "@blockmirror/mirror";
import { nbdDriver, NbdServer } from "@blockmirror/nbd";

/** Options of the jobs that tests start. */
export type JobChoices = Partial<Omit<MirrorOptions, "id" | "graph" | "jobs" | "source" | "target">>;

/** A raw image, exported writable over NBD, and mirrored to a target while clients write to it. */
export class MirroredExport implements AsyncDisposable {
  readonly directory: string = mkdtempSync(path.join(tmpdir(), "blockmirror-e2e-"));
  readonly sourceFile: string = path.join(this.directory, "source.raw");
  readonly graph = new BlockGraph({ registry: createDefaultRegistry().register(nbdDriver) });
  readonly jobs = new JobManager();
  readonly server = new NbdServer({ graph: this.graph });
  readonly events: JobEvent[] = [];
  /** Called while no request of a client is in flight and none may start, right after they were led to the target. */
  onPivot: () => void = () => undefined;
  #target: BlockNode | undefined;

  private constructor() {
    this.jobs.subscribe((event) => this.events.push(event));
  }

  /** Makes the source of that size, with data, holes and a disk's worth of neither, and exports it as `disk`. */
  static async create(size: number): Promise<MirroredExport> {
    const made = new MirroredExport();
    const fd = openSync(made.sourceFile, "w");
    ftruncateSync(fd, size);
    for (let at = 0; at + 2 ** 20 <= size; at += 2 ** 22)
      writeSync(fd, Buffer.alloc(2 ** 20, 1 + (at >> 22)), 0, 2 ** 20, at);
    fsyncSync(fd);
    closeSync(fd);
    const file = { driver: "file", filename: made.sourceFile };
    const node = await made.graph.open({ driver: "raw", nodeName: "source", file });
    // Attached before the export, so that it is told first when a drained section ends.
    const observer = made.graph.attach(node, {
      name: "the test",
      uses: [],
      shares: ALL_PERMISSIONS,
      onDrainBegin: () => undefined,
      onDrainEnd: () => {
        if (made.#target === undefined || observer.node !== made.#target) return;
        made.#target = undefined;
        made.onPivot();
      },
    });
    made.server.addExport({ name: "disk", node, writable: true });
    await made.server.listen({ path: path.join(made.directory, "disk.sock") });
    return made;
  }

  /** Where clients find the source. */
  get uri(): string {
    return this.server.uris("disk")[0] ?? "";
  }

  /** Mirrors to the export of another NBD server. */
  async mirror(
    uri: string,
    choices: JobChoices = {},
    device: Readonly<Record<string, unknown>> = {},
  ): Promise<Mirror> {
    const { graph, jobs } = this;
    const target = await graph.open({ driver: "nbd", nodeName: "target", uri, ...device });
    this.#target = target;
    const source = graph.find("source");
    if (source === undefined) throw new Error("the source is gone");
    return startMirror({ id: "m0", graph, jobs, source, target, autoDismiss: false, ...choices });
  }

  /** Resolves at an event of that name, also when it was before; rejects when the job ends without. */
  async saw(name: JobEventName, isIt: (event: JobEvent) => boolean = () => true): Promise<void> {
    const matches = (event: JobEvent): boolean => event.event === name && isIt(event);
    if (this.events.some(matches)) return;
    await new Promise<void>((resolve, reject) => {
      const end = this.jobs.subscribe((event) => {
        const isOver = event.event === "BLOCK_JOB_COMPLETED" || event.event === "BLOCK_JOB_CANCELLED";
        if (!matches(event) && !isOver) return;
        end();
        if (matches(event)) resolve();
        else reject(new Error(`the job ended before ${name}: ${JSON.stringify(event)}`));
      });
    });
  }

  /** Resolves when the job has that status. */
  sawStatus(status: string): Promise<void> {
    return this.saw(
      "JOB_STATUS_CHANGE",
      (event) => event.event === "JOB_STATUS_CHANGE" && event.data.status === status,
    );
  }

  /** Resolves when clients have written that many bytes since the export was made. */
  async clientsWrote(bytes: number): Promise<void> {
    const [exported] = this.server.exports();
    if (exported === undefined) throw new Error("nothing is exported");
    while (exported.statistics().bytesWritten < bytes) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  /** What clients have written by now. */
  get written(): number {
    return this.server.exports()[0]?.statistics().bytesWritten ?? 0;
  }

  /** The whole source as it is on the disk. */
  source(): Buffer {
    return readFileSync(this.sourceFile);
  }

  /** Ends the export and closes every image, so that the target's server can let go of its own. */
  async closeTarget(): Promise<void> {
    await this.server.close({ graceMs: 1000 });
    await this.graph.closeAll();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.close({ graceMs: 1000 });
    await this.jobs.close();
    await this.graph.closeAll().catch(() => undefined);
    rmSync(this.directory, { recursive: true, force: true });
  }
}
