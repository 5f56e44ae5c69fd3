import { keyLabel, type Keymap } from "../key-bindings.ts";
import type { Command, Mode } from "../keymap.ts";
import type { JobView } from "./job-view.ts";

/** A key worth showing now. */
export interface Hint {
  readonly command: Command;
  readonly key: string;
  readonly label: string;
  /** Why it would be refused; `undefined` when it works. */
  readonly refusal: string | undefined;
}

const LABELS: Readonly<Partial<Record<Command, string>>> = {
  pause: "pause",
  resume: "resume",
  limit: "limit",
  complete: "complete",
  cancel: "cancel",
  finalize: "finalize",
  dismiss: "dismiss",
  "new-job": "new",
  filter: "filter",
  help: "help",
  quit: "quit",
  "open-detail": "details",
  "toggle-view": "list",
  "next-job": "next",
  confirm: "yes",
  refuse: "no",
  activate: "accept",
  submit: "start",
  "next-field": "move",
  back: "close",
  // One word for both.
  "edit-right": "choose",
  up: "",
  down: "move",
};

function jobCommands(view: JobView | undefined): Command[] {
  const status = view?.snapshot.status;
  if (view?.concluded === true) return ["dismiss"];
  const steer: Command[] = [view?.snapshot.userPaused === true ? "resume" : "pause", "limit"];
  const end: Command[] = [status === "pending" ? "finalize" : "complete", "cancel"];
  // What waits for a decision names the decision first: a narrow terminal drops the last ones.
  return status === "ready" || status === "pending" ? [...end, ...steer] : [...steer, ...end];
}

function commandsFor(mode: Mode, view: JobView | undefined): Command[] {
  switch (mode) {
    case "list":
      return [...jobCommands(view), "new-job", "open-detail", "filter", "help", "quit"];
    case "detail":
      return [...jobCommands(view), "toggle-view", "next-job", "help", "quit"];
    case "dialog":
      return ["confirm", "refuse", "next-field", "activate"];
    case "input":
      return ["activate", "refuse"];
    case "form":
      return ["next-field", "edit-right", "activate", "submit", "refuse"];
    case "menu":
      return ["up", "down", "activate", "back"];
    case "help":
      return ["up", "down", "back"];
    case "notice":
      return view?.snapshot.userPaused === true ? ["resume", "back"] : ["back"];
  }
}

/** The five to nine keys that matter in a mode, for the job at hand. */
export function hintsFor(
  mode: Mode,
  view: JobView | undefined,
  refusal: (command: Command) => string | undefined,
  keymap: Keymap,
): Hint[] {
  return commandsFor(mode, view).flatMap((command) => {
    const [key] = keymap.keysOf(command, mode);
    if (key === undefined) return [];
    const label = mode !== "dialog" && command === "refuse" ? "leave" : (LABELS[command] ?? command);
    return [{ command, key: keyLabel(key), label, refusal: refusal(command) }];
  });
}
