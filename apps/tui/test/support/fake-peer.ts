import type { PeerEvent, QmpPeer } from "../../src/attach/qmp-peer.ts";
import type { EndpointInfo } from "../../src/job-source/job-source.ts";

type Answer = (args: Readonly<Record<string, unknown>>) => unknown;

/** A peer that answers from a table of functions and says what it was asked. */
export class FakePeer implements QmpPeer {
  readonly address = "/run/fake.qmp";
  /** Every command but the questions that are asked all the time: `["job-pause", {id: "j"}]`. */
  readonly told: (readonly [command: string, args: Readonly<Record<string, unknown>>])[] = [];
  closed = false;
  #state: EndpointInfo["state"] = "connected";
  readonly #answers = new Map<string, Answer>();
  readonly #eventListeners = new Set<(event: PeerEvent) => void>();
  readonly #stateListeners = new Set<() => void>();

  constructor(answers: Readonly<Record<string, Answer>>) {
    for (const [command, answer] of Object.entries(answers)) this.#answers.set(command, answer);
    this.#answers.set("query-commands", () => Array.from(this.#answers.keys(), (name) => ({ name })));
  }

  get state(): EndpointInfo["state"] {
    return this.#state;
  }

  set state(state: EndpointInfo["state"]) {
    this.#state = state;
    for (const listener of this.#stateListeners) listener();
  }

  /** Changes what a command answers. */
  answer(command: string, answer: Answer): void {
    this.#answers.set(command, answer);
  }

  emit(event: string, data: unknown): void {
    const timestamp = { seconds: 1, microseconds: 2 };
    for (const listener of this.#eventListeners) listener({ event, data, timestamp });
  }

  async execute(command: string, args: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    if (this.#state !== "connected") throw new Error("not connected");
    if (!command.startsWith("query-") && !command.startsWith("x-debug-")) this.told.push([command, args]);
    const answer = this.#answers.get(command);
    if (answer === undefined) throw new Error(`The command ${command} has not been found`);
    return answer(args);
  }

  onEvent(listener: (event: PeerEvent) => void): () => void {
    this.#eventListeners.add(listener);
    return () => {
      this.#eventListeners.delete(listener);
    };
  }

  onState(listener: () => void): () => void {
    this.#stateListeners.add(listener);
    return () => {
      this.#stateListeners.delete(listener);
    };
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}

/** One entry of `query-block-jobs`, as QEMU 7.2 words it. */
export function blockJob(changes: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> {
  return {
    device: "j",
    type: "mirror",
    status: "running",
    offset: 10,
    len: 100,
    speed: 0,
    busy: true,
    paused: false,
    ready: false,
    "io-status": "ok",
    "auto-finalize": true,
    "auto-dismiss": true,
    ...changes,
  };
}

/** Lets everything happen that only waits for promises. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await Promise.resolve();
}
