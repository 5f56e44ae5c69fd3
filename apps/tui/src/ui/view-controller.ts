import { formatExactSize } from "../format/bytes.ts";
import type { ControllerOptions } from "./controller-options.ts";
import type { FormController } from "./form-controller.ts";
import type { Frame, ScreenReach } from "./frame.ts";
import { actionOf } from "./job-actions.ts";
import type { JobsDisplay } from "./jobs-display.ts";
import { type Command, MUTATING_COMMANDS } from "./keymap.ts";
import { hasErrors } from "./model/fields.ts";
import { reportText } from "./model/report.ts";
import { type Confirmation, needsConfirmation } from "./state/confirmation.ts";
import { sortIndex, type UiAction } from "./state/reducer.ts";
import { proposal, textField } from "./state/text-field.ts";
import type { Overlay, UiState } from "./state/ui-state.ts";
import type { Tone } from "./theme.ts";
import { messageOf, type VerbSender } from "./verb-sender.ts";

/** What the views ask of the controller below them. */
export interface ViewHost {
  readonly options: ControllerOptions;
  readonly display: JobsDisplay;
  readonly form: FormController;
  readonly verbs: VerbSender;
  readonly frame: () => Frame;
  /** Why a command is not possible now; undefined when it is. */
  readonly refusal: (command: Command) => string | undefined;
  readonly reach: () => ScreenReach;
  readonly dispatch: (action: UiAction) => void;
  readonly show: (overlay: Overlay | undefined) => void;
  readonly say: (text: string, tone?: Tone) => void;
  readonly setFilter: (filter: string) => void;
  /** Filters and sorts again. */
  readonly arrange: () => void;
  /** Looks at the jobs at the present pace from now on. */
  readonly scheduleTick: () => void;
}

/** The keyboard of the list and the details: moving, display, and what is done to the selected job. */
export class ViewController {
  readonly #host: ViewHost;

  constructor(host: ViewHost) {
    this.#host = host;
  }

  /** Takes a command while nothing lies over the view. */
  execute(command: Command): void {
    if (MUTATING_COMMANDS.has(command)) return this.#executeAction(command);
    const count = this.#host.display.visible.length;
    switch (command) {
      case "up":
      case "previous-job":
        return this.#move(-1);
      case "down":
      case "next-job":
        return this.#move(1);
      case "page-up":
        return this.#move(-this.#host.reach().pageSize);
      case "page-down":
        return this.#move(this.#host.reach().pageSize);
      case "first":
        return this.#move(-count);
      case "last":
        return this.#move(count);
      case "open-detail":
        return this.#setView("detail");
      case "toggle-view":
        return this.#setView(this.#host.frame().state.view === "list" ? "detail" : "list");
      case "back":
        return this.#back();
      case "filter":
        return this.#host.show({ kind: "filter", field: textField(this.#host.frame().state.filter) });
      case "sort":
        return this.#host.show({ kind: "sort", index: sortIndex(this.#host.frame().state.sort.key) });
      case "help":
        return this.#host.show({ kind: "help", scroll: 0 });
      default:
        return this.#executeDisplay(command);
    }
  }

  #executeDisplay(command: Command): void {
    switch (command) {
      case "reverse-sort":
      case "trend-scale":
        this.#host.dispatch({ type: command });
        return this.#host.arrange();
      case "freeze":
        this.#host.dispatch({ type: "freeze" });
        this.#host.display.freeze(this.#host.frame().state.frozen);
        return this.#host.arrange();
      case "faster":
      case "slower":
        this.#host.dispatch({ type: "tick", by: command === "faster" ? -1 : 1 });
        this.#host.scheduleTick();
        return this.#host.say(`Updates every ${this.#host.frame().state.tickMs / 1000} s`);
      case "show-error":
        return this.#showError();
      case "copy-name":
        return this.#copyName();
      case "screen-dump":
        return this.#dumpScreen();
      case "redraw":
        return this.#host.options.redraw();
      case "read-log":
        return this.#readLog();
      case "quit":
        return this.#quit();
      default:
    }
  }

  #move(by: number): void {
    this.#host.dispatch({ type: "move", by, order: this.#host.display.order });
  }

  #setView(view: UiState["view"]): void {
    if (view === "detail" && this.#host.frame().state.selectedId === undefined)
      return this.#host.say("There is no job to look at");
    this.#host.dispatch({ type: "view", view });
  }

  #back(): void {
    if (this.#host.frame().state.view === "detail") return this.#setView("list");
    if (this.#host.frame().state.filter !== "") this.#host.setFilter("");
    else this.#host.dispatch({ type: "status", status: undefined });
  }

  #showError(): void {
    const view = this.#host.frame().selected;
    if (view === undefined) return this.#host.say("no job is selected");
    if (!hasErrors(view.snapshot)) return this.#host.say(`${view.snapshot.id} has no error`);
    this.#host.show({ kind: "error", jobId: view.snapshot.id });
  }

  #copyName(): void {
    const id = this.#host.frame().state.selectedId;
    if (id === undefined) return this.#host.say("no job is selected");
    this.#host.options.copyText(id);
    this.#host.say(`Sent "${id}" to the clipboard`);
  }

  #dumpScreen(): void {
    this.#host.options.dumpScreen().then(
      (path) => {
        this.#host.say(`Screen written to ${path}`);
      },
      (error: unknown) => {
        this.#host.say(`Screen not written: ${messageOf(error)}`, "failure");
      },
    );
  }

  #readLog(): void {
    const { selected, state } = this.#host.frame();
    this.#host.options.page(reportText(selected, state.log)).catch((error: unknown) => {
      this.#host.say(messageOf(error), "failure");
    });
  }

  #quit(): void {
    const { liveJobs, readyJobs, clients } = this.#host.display;
    if (liveJobs + clients > 0 && this.#host.options.confirmQuit) {
      const intent = { kind: "quit", liveJobs, readyJobs, clients } as const;
      return this.#confirm({ intent, focus: "cancel", typed: textField() });
    }
    this.#host.options.exit({ reason: "quit", liveJobs });
  }

  #confirm(confirmation: Confirmation): void {
    this.#host.show({ kind: "confirm", confirmation });
  }

  #executeAction(command: Command): void {
    const refusal = this.#host.refusal(command);
    if (refusal !== undefined) return this.#host.say(refusal, "warning");
    if (command === "new-job") return this.#host.form.open();
    const action = actionOf(command);
    const view = this.#host.frame().selected;
    if (action === undefined || view === undefined) return;
    const jobId = view.snapshot.id;
    if (action === "set-speed") {
      const { speed } = view.snapshot;
      const field = proposal(speed === 0 ? "" : formatExactSize(speed));
      this.#host.show({ kind: "limit", jobId, field, problem: undefined });
    } else if (needsConfirmation(action, view)) {
      this.#confirm({ intent: { kind: "action", action, jobId }, focus: "cancel", typed: textField() });
    } else {
      this.#host.verbs.send(action, jobId);
    }
  }
}
