import type { JobSource } from "../job-source/job-source.ts";
import { type Command, MUTATING_COMMANDS } from "./keymap.ts";
import type { JobAction } from "./state/pending.ts";
import { verbOf } from "./state/reducer.ts";

const ACTIONS: Readonly<Partial<Record<Command, JobAction>>> = {
  pause: "pause",
  resume: "resume",
  limit: "set-speed",
  complete: "complete",
  cancel: "cancel",
  "force-cancel": "force-cancel",
  finalize: "finalize",
  dismiss: "dismiss",
};

/** What a command does to the selected job; undefined for commands about something else. */
export function actionOf(command: Command): JobAction | undefined {
  return ACTIONS[command];
}

/**
 * Why a command is not possible now; undefined when it is.
 * @param selectedId - the job it would be for.
 */
export function refusalOf(
  command: Command,
  source: JobSource,
  selectedId: string | undefined,
  readOnly: boolean,
): string | undefined {
  if (readOnly && MUTATING_COMMANDS.has(command)) return "read-only";
  if (command === "new-job") {
    if (source.start === undefined) return "this endpoint does not start jobs";
    return source.endpoint.state === "connected" ? undefined : "the peer is not connected";
  }
  const action = ACTIONS[command];
  if (action === undefined) return undefined;
  if (selectedId === undefined) return "no job is selected";
  const permission = source.can(selectedId, verbOf(action));
  return permission.allowed ? undefined : permission.reason;
}
