import { printable } from "../format/printable.ts";
import { suggestPath } from "../images/suggest-path.ts";
import type { Clock } from "../job-source/clock.ts";
import type {
  EndpointInfo,
  JobMap,
  JobSnapshot,
  JobSource,
  JobSourceEvent,
  JobVerb,
  NewJobOptions,
  NewJobRequest,
  NewJobReview,
  NoJobMap,
  PathPurpose,
  SyncMode,
  VerbPermission,
} from "../job-source/job-source.ts";
import { verbPermission } from "../job-source/verb-rules.ts";
import { EXTRA_COMMAND, readExtraDetails } from "./extra-details.ts";
import { asObjects, readBlockJobs, readOtherJobs, textOf } from "./peer-answers.ts";
import { toJobEvent } from "./peer-events.ts";
import { PeerJobs } from "./peer-jobs.ts";
import { MAP_COMMAND, PeerMaps } from "./peer-maps.ts";
import { PeerMirror } from "./peer-mirror.ts";
import { sidesOfJobs } from "./peer-nodes.ts";
import type { PeerEvent, QmpPeer } from "./qmp-peer.ts";
import { verbCommand } from "./verb-commands.ts";

/** Several events in one breath, as at a job's end, are answered by one question. */
const EVENT_DELAY_MS = 30;

/** Settings of a {@link QmpJobSource}. */
export interface QmpJobSourceOptions {
  /** Short name for people, without a slash. */
  readonly name: string;
  readonly clock: Clock;
  /** Time between two questions about the jobs, milliseconds. */
  readonly pollMs: number;
  /** The peer ends when its jobs have, so that its going is then no loss. Default: it is there for more than its jobs. */
  readonly endsWithJobs?: boolean | undefined;
}

/**
 * The block jobs of any QMP socket as a {@link JobSource}: ours, qemu-storage-daemon's, or a running machine's. It asks
 * at a steady pace and after every event, and never holds anything back while the peer is silent: what it shows then
 * grows old visibly.
 */
export class QmpJobSource implements JobSource {
  readonly syncModes: readonly SyncMode[] = ["full", "top", "none"];
  readonly newJobOptions: NewJobOptions = {
    copyModes: ["background", "write-blocking"],
    largerTargets: [],
    unmap: true,
    detectZeroes: true,
    formats: ["raw", "qcow2"],
    // QMP has no word for what a target stands on.
    backingModes: [],
    replaces: true,
  };
  readonly #peer: QmpPeer;
  readonly #name: string;
  readonly #clock: Clock;
  readonly #pollMs: number;
  readonly #endsWithJobs: boolean;
  readonly #jobs: PeerJobs;
  readonly #mirror: PeerMirror;
  readonly #maps: PeerMaps;
  readonly #listeners = new Set<(event: JobSourceEvent) => void>();
  readonly #unwatch: readonly (() => void)[];
  /** What the peer can be told; undefined until it has been asked. */
  #commands: ReadonlySet<string> | undefined;
  #asking: Promise<void> | undefined;
  #askAgain = false;
  /** The peer is gone in order. Another attempt to reach it changes nothing about that. */
  #hasEnded = false;
  /** The peer has said that it ends. */
  #saidGoodbye = false;
  #cancelTimer: (() => void) | undefined;
  #closed = false;

  /** @param peer - closed by {@link close}. */
  constructor(peer: QmpPeer, { name, clock, pollMs, endsWithJobs = false }: QmpJobSourceOptions) {
    this.#peer = peer;
    this.#name = name;
    this.#clock = clock;
    this.#pollMs = pollMs;
    this.#endsWithJobs = endsWithJobs;
    this.#jobs = new PeerJobs(name);
    this.#mirror = new PeerMirror(peer);
    this.#maps = new PeerMaps(peer, pollMs, () => this.#tell({ event: "changed" }));
    this.#unwatch = [peer.onEvent((event) => this.#heard(event)), peer.onState(() => this.#stateChanged())];
    this.#ask();
  }

  get endpoint(): EndpointInfo {
    const { state, problem } = this.#peer;
    const about = { name: this.#name, kind: "qmp" } as const;
    // That nobody is there any more is no problem then.
    if (this.#hasEnded) return { ...about, state: "ended" };
    return { ...about, state, ...(problem !== undefined && { problem }) };
  }

  list(): readonly JobSnapshot[] {
    return this.#jobs.list(this.#clock.now());
  }

  subscribe(listener: (event: JobSourceEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  can(id: string, verb: JobVerb): VerbPermission {
    const snapshot = this.#jobs.snapshot(id, this.#clock.now());
    const permission = verbPermission(snapshot, verb);
    const job = this.#jobs.find(id);
    // What only we still show is dismissed here, with or without the peer.
    if (!permission.allowed || job === undefined) return permission;
    if (this.#peer.state !== "connected") return { allowed: false, reason: "the peer is not connected" };
    if (verb === "set-speed" && !job.isBlockJob) {
      return { allowed: false, reason: `a ${job.type} job has no limit` };
    }
    const { command } = verbCommand(verb, job, this.#commands);
    if (this.#commands !== undefined && !this.#commands.has(command)) {
      return { allowed: false, reason: `this peer has no ${command}` };
    }
    return permission;
  }

  pause(id: string): Promise<void> {
    return this.#send(id, "pause");
  }

  resume(id: string): Promise<void> {
    return this.#send(id, "resume");
  }

  setSpeed(id: string, bytesPerSec: number): Promise<void> {
    return this.#send(id, "set-speed", { speed: bytesPerSec });
  }

  complete(id: string): Promise<void> {
    return this.#send(id, "complete");
  }

  cancel(id: string, { force }: { readonly force: boolean }): Promise<void> {
    const job = this.#jobs.find(id);
    return this.#send(id, "cancel", job?.isBlockJob === false ? {} : { force });
  }

  finalize(id: string): Promise<void> {
    return this.#send(id, "finalize");
  }

  async dismiss(id: string): Promise<void> {
    if (this.#jobs.forget(id)) return this.#tell({ event: "changed" });
    await this.#send(id, "dismiss");
    this.#jobs.dismissed(id);
  }

  map(id: string, cellCount: number): JobMap | NoJobMap | undefined {
    if (this.#peer.state !== "connected") return { reason: "the peer is not connected" };
    if (this.#commands === undefined || this.#jobs.find(id) === undefined) return undefined;
    if (!this.#commands.has(MAP_COMMAND))
      return { reason: "this peer has no map of it; Blockmirror's own daemon has" };
    return this.#maps.look(id, cellCount, this.#clock.now());
  }

  /** Of the source a name of the peer's; of the target a path as seen from here, which often is the peer's as well. */
  async suggest(typed: string, purpose: PathPurpose): Promise<string | undefined> {
    if (purpose !== "source") return typed.startsWith("/") ? suggestPath(typed, purpose) : undefined;
    const names = await this.#mirror.sourceNames().catch(() => []);
    // What cannot be typed is not proposed either.
    return names
      .find((name) => name.startsWith(typed) && name !== typed && printable(name) === name)
      ?.slice(typed.length);
  }

  async validate(request: NewJobRequest): Promise<NewJobReview> {
    const review = await this.#mirror.validate(request);
    if (this.#jobs.find(request.id) === undefined) return review;
    const taken = { field: "id", message: "a job of this name exists; choose another" } as const;
    return { ...review, problems: [taken, ...review.problems] };
  }

  async start(request: NewJobRequest): Promise<string> {
    const id = await this.#mirror.start(request);
    this.#askSoon(0);
    return id;
  }

  /** Stops watching and closes the connection. The peer's jobs go on. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelTimer?.();
    for (const unwatch of this.#unwatch) unwatch();
    await this.#peer.close();
  }

  async #send(id: string, verb: JobVerb, extra: Readonly<Record<string, unknown>> = {}): Promise<void> {
    const job = this.#jobs.find(id);
    if (job === undefined) throw new Error(`there is no job '${id}'`);
    const { command, args } = verbCommand(verb, job, this.#commands);
    await this.#peer.execute(command, { ...args, ...extra });
    this.#askSoon(0);
  }

  /** Notes that the peer is gone, and not unexpectedly. The last events may be read after the connection is known to be lost. */
  #noteEnd(): void {
    const { state } = this.#peer;
    if (state !== "dead" && state !== "connecting") return;
    this.#hasEnded ||= this.#saidGoodbye || (this.#endsWithJobs && this.#jobs.allEnded);
    if (this.#hasEnded) this.#jobs.peerEnded(this.#clock.now());
  }

  #heard(peerEvent: PeerEvent): void {
    // QEMU's word before its process ends. Other events of a machine are not for us.
    if (peerEvent.event === "SHUTDOWN") this.#saidGoodbye = true;
    const event = toJobEvent(peerEvent);
    if (event === undefined) return;
    this.#jobs.note(event);
    this.#noteEnd();
    this.#tell(event);
    this.#askSoon(EVENT_DELAY_MS);
  }

  #stateChanged(): void {
    // Another process may answer after a reconnect.
    this.#commands = undefined;
    if (this.#peer.state === "connected") this.#saidGoodbye = this.#hasEnded = false;
    this.#noteEnd();
    this.#tell({ event: "changed" });
    if (this.#peer.state === "connected") this.#askSoon(0);
  }

  #askSoon(delayMs: number): void {
    if (this.#closed) return;
    if (this.#asking !== undefined) {
      this.#askAgain = true;
      return;
    }
    this.#cancelTimer?.();
    this.#cancelTimer = this.#clock.schedule(delayMs, () => this.#ask());
  }

  #ask(): void {
    this.#askAgain = false;
    this.#asking = this.#question().finally(() => {
      this.#asking = undefined;
      this.#askSoon(this.#askAgain ? EVENT_DELAY_MS : this.#pollMs);
    });
  }

  /** Asks about everything. A peer that fails to answer is simply not heard; its connection says what is wrong. */
  async #question(): Promise<void> {
    if (this.#peer.state !== "connected") return;
    try {
      this.#commands ??= await this.#queryCommands();
      const blockJobs = readBlockJobs(await this.#peer.execute("query-block-jobs"));
      const others = this.#commands.has("query-jobs")
        ? readOtherJobs(await this.#peer.execute("query-jobs"), blockJobs)
        : [];
      this.#jobs.update([...blockJobs, ...others], this.#clock.now());
      if (this.#commands.has(EXTRA_COMMAND)) {
        this.#jobs.enrich(readExtraDetails(await this.#peer.execute(EXTRA_COMMAND)));
      }
      if (this.#jobs.lacksSides) await this.#describeJobs(this.#commands);
      this.#tell({ event: "changed" });
    } catch {
      // Told by the peer's state, and by the age of what is shown.
    }
  }

  async #queryCommands(): Promise<ReadonlySet<string>> {
    const answer = asObjects(await this.#peer.execute("query-commands"));
    return new Set(answer.flatMap((entry) => textOf(entry, "name") ?? []));
  }

  async #describeJobs(commands: ReadonlySet<string>): Promise<void> {
    const known = commands.has("x-debug-query-block-graph") && commands.has("query-named-block-nodes");
    const sides = known
      ? sidesOfJobs(
          await this.#peer.execute("x-debug-query-block-graph"),
          await this.#peer.execute("query-named-block-nodes", { flat: true }),
        )
      : new Map();
    // Asked once per job: one whose images are not told is not asked for again.
    const nothing = { source: undefined, target: undefined };
    this.#jobs.describe(new Map(this.list().map(({ id }) => [id, sides.get(id) ?? nothing] as const)));
  }

  #tell(event: JobSourceEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
