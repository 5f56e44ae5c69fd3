import { parseSpeed } from "../format/bytes.ts";
import type { FormController } from "./form-controller.ts";
import { type Frame, nameToType, type ScreenReach } from "./frame.ts";
import type { Command } from "./keymap.ts";
import { SORT_KEYS, type SortKey } from "./model/order.ts";
import type { JobAction } from "./state/pending.ts";
import { editText, type TextEdit, type TextField } from "./state/text-field.ts";
import type { Overlay } from "./state/ui-state.ts";
import type { Tone } from "./theme.ts";

/** What overlays ask of the controller below them. */
export interface OverlayHost {
  readonly form: FormController;
  readonly frame: () => Frame;
  readonly reach: () => ScreenReach;
  readonly show: (overlay: Overlay | undefined) => void;
  readonly say: (text: string, tone?: Tone) => void;
  readonly setFilter: (filter: string) => void;
  readonly sortBy: (key: SortKey) => void;
  readonly send: (action: JobAction, id: string, speed?: number) => void;
  /** Takes a command as the view below does. */
  readonly act: (command: Command) => void;
  readonly quit: () => void;
}

const EDITS: Readonly<Partial<Record<Command, Exclude<TextEdit["kind"], "insert">>>> = {
  "edit-backspace": "backspace",
  "edit-delete": "delete",
  "edit-left": "left",
  "edit-right": "right",
  "edit-home": "home",
  "edit-end": "end",
  "edit-clear": "clear-before",
  "edit-word": "delete-word",
};

/** The keyboard of everything that lies over a view: help, menu, prompts, dialogs; the form has its own. */
export class OverlayController {
  readonly #host: OverlayHost;

  constructor(host: OverlayHost) {
    this.#host = host;
  }

  /** Takes a command while `overlay` is up. */
  execute(command: Command, overlay: Overlay): void {
    const edit = EDITS[command];
    if (edit !== undefined) return this.edit({ kind: edit });
    switch (overlay.kind) {
      case "help":
        return this.#executeInHelp(command, overlay.scroll);
      case "sort":
        return this.#executeInSort(command, overlay.index);
      case "error":
        this.#show(undefined);
        if (command === "resume") this.#host.act(command);
        return;
      case "filter":
        if (command === "refuse") this.#host.setFilter("");
        return this.#show(undefined);
      case "limit":
        return command === "activate" ? this.#applyLimit(overlay) : this.#show(undefined);
      case "form":
        return this.#host.form.execute(command, overlay.form);
      case "confirm":
        return this.#executeInDialog(command, overlay);
    }
  }

  #executeInHelp(command: Command, scroll: number): void {
    const { pageSize, helpScroll } = this.#host.reach();
    const steps = new Map<Command, number>([
      ["up", -1],
      ["down", 1],
      ["page-up", -pageSize],
      ["page-down", pageSize],
    ]);
    const by = steps.get(command);
    if (by === undefined) return this.#show(undefined);
    this.#show({ kind: "help", scroll: Math.max(0, Math.min(scroll + by, helpScroll)) });
  }

  #executeInSort(command: Command, index: number): void {
    const last = SORT_KEYS.length - 1;
    if (command === "up") return this.#show({ kind: "sort", index: Math.max(0, index - 1) });
    if (command === "down") return this.#show({ kind: "sort", index: Math.min(last, index + 1) });
    this.#show(undefined);
    const key = SORT_KEYS[index];
    if (command !== "activate" || key === undefined) return;
    this.#host.sortBy(key);
  }

  #executeInDialog(command: Command, overlay: Overlay & { readonly kind: "confirm" }): void {
    const { confirmation } = overlay;
    const name = nameToType(this.#host.frame(), confirmation);
    if (command === "next-field" || command === "previous-field") {
      const focus = confirmation.focus === "cancel" ? "confirm" : "cancel";
      return this.#show({ ...overlay, confirmation: { ...confirmation, focus } });
    }
    const wanted =
      name === undefined
        ? command === "confirm" || (command === "activate" && confirmation.focus === "confirm")
        : command === "activate" && confirmation.typed.text.trim() === name;
    if (wanted) return this.#carryOut(overlay);
    if (name !== undefined && command === "activate") {
      return this.#host.say(`Type "${name}" to confirm, or Esc to leave everything as it is`, "warning");
    }
    this.#show(overlay.form === undefined ? undefined : { kind: "form", form: overlay.form });
    this.#host.say("Nothing was changed");
  }

  #carryOut({ confirmation, form }: Overlay & { readonly kind: "confirm" }): void {
    const { intent } = confirmation;
    this.#show(undefined);
    if (intent.kind === "quit") this.#host.quit();
    else if (intent.kind === "start") this.#host.form.start(intent.request, form);
    else this.#host.send(intent.action, intent.jobId);
  }

  #applyLimit(overlay: Overlay & { readonly kind: "limit" }): void {
    const parsed = parseSpeed(overlay.field.text);
    if (!parsed.ok) return this.#show({ ...overlay, problem: parsed.reason });
    this.#show(undefined);
    this.#host.send("set-speed", overlay.jobId, parsed.bytes);
  }

  /** Takes typing for whatever text field has the keyboard. */
  edit(edit: TextEdit): void {
    const { overlay } = this.#host.frame().state;
    const apply = (field: TextField): TextField => editText(field, edit);
    switch (overlay?.kind) {
      case "filter": {
        const field = apply(overlay.field);
        this.#show({ kind: "filter", field });
        return this.#host.setFilter(field.text);
      }
      case "limit":
        return this.#show({ ...overlay, field: apply(overlay.field), problem: undefined });
      case "form":
        return this.#host.form.edit(edit, overlay.form);
      case "confirm": {
        if (nameToType(this.#host.frame(), overlay.confirmation) === undefined) return;
        const confirmation = { ...overlay.confirmation, typed: apply(overlay.confirmation.typed) };
        return this.#show({ ...overlay, confirmation });
      }
      default:
    }
  }

  #show(overlay: Overlay | undefined): void {
    this.#host.show(overlay);
  }
}
