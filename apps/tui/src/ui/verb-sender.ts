import { describeRate } from "../format/bytes.ts";
import type { Clock } from "../job-source/clock.ts";
import type { JobSource } from "../job-source/job-source.ts";
import type { Keymap } from "./key-bindings.ts";
import { type JobAction, pendingVerb } from "./state/pending.ts";
import type { UiAction } from "./state/reducer.ts";

/** What a {@link VerbSender} tells its surroundings. */
export interface VerbHost {
  readonly clock: Clock;
  readonly keymap: Keymap;
  readonly dispatch: (action: UiAction) => void;
  /** The job should be looked at again soon. */
  readonly accepted: () => void;
}

/** Sends verbs and reports on them: at once what was asked for, later if it was refused. Never what was not confirmed. */
export class VerbSender {
  readonly #source: JobSource;
  readonly #host: VerbHost;

  constructor(source: JobSource, host: VerbHost) {
    this.#source = source;
    this.#host = host;
  }

  /**
   * Sends the verb of an action.
   * @param speed - wanted limit of `set-speed`, bytes per second.
   * @param before - limit until now, for the report.
   */
  send(action: JobAction, id: string, speed = 0, before = 0): void {
    const { clock, dispatch, accepted, keymap } = this.#host;
    const nowMs = clock.now();
    dispatch({ type: "pending", id, verb: pendingVerb(action, nowMs, speed) });
    dispatch({
      type: "status",
      status: {
        text: sentence(action, id, keymap, speed, before),
        tone: "plain",
        // A limit is told with what it was, which stays true.
        ...(action !== "set-speed" && { until: id }),
      },
    });
    this.#call(action, id, speed).then(accepted, (error: unknown) => {
      const text = `${action} refused: ${messageOf(error)}`;
      dispatch({ type: "pending", id, verb: undefined });
      dispatch({ type: "status", status: { text: `${id}: ${text}`, tone: "failure" } });
      dispatch({ type: "log", entry: { atMs: nowMs, jobId: id, text, tone: "failure" } });
    });
  }

  #call(action: JobAction, id: string, speed: number): Promise<void> {
    switch (action) {
      case "pause":
        return this.#source.pause(id);
      case "resume":
        return this.#source.resume(id);
      case "set-speed":
        return this.#source.setSpeed(id, speed);
      case "complete":
        return this.#source.complete(id);
      case "cancel":
      case "force-cancel":
        return this.#source.cancel(id, { force: action === "force-cancel" });
      case "finalize":
        return this.#source.finalize(id);
      case "dismiss":
        return this.#source.dismiss(id);
    }
  }
}

function limitText(speed: number): string {
  return speed === 0 ? "no limit" : describeRate(speed);
}

function sentence(action: JobAction, id: string, keymap: Keymap, speed: number, before: number): string {
  switch (action) {
    case "pause":
      return `${id}: pausing; ${keymap.label("resume")} resumes`;
    case "resume":
      return `${id}: resuming; ${keymap.label("pause")} pauses`;
    case "set-speed":
      return `${id}: ${limitText(speed)} (was ${limitText(before)})`;
    case "complete":
      return `${id}: completing`;
    case "cancel":
      return `${id}: cancelling`;
    case "force-cancel":
      return `${id}: force-cancelling`;
    case "finalize":
      return `${id}: finalizing`;
    case "dismiss":
      return `${id}: dismissing`;
  }
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
