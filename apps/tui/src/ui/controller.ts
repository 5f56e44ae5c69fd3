import { formatExactSize } from "../format/bytes.ts";
import type { JobMap, JobSource, JobSourceEvent, NoJobMap } from "../job-source/job-source.ts";
import type { ControllerOptions } from "./controller-options.ts";
import { FormController } from "./form-controller.ts";
import { type Frame, modeOf } from "./frame.ts";
import type { KeyPress } from "./key-names.ts";
import { type Command, commandFor, MUTATING_COMMANDS } from "./keymap.ts";
import { actionOf, refusalOf } from "./job-actions.ts";
import { JobsDisplay } from "./jobs-display.ts";
import { OverlayController } from "./overlay-controller.ts";
import { type Confirmation, needsConfirmation } from "./state/confirmation.ts";
import { describeEvent } from "./state/event-log.ts";
import { reduce, sortIndex, type UiAction } from "./state/reducer.ts";
import { proposal, textField } from "./state/text-field.ts";
import { initialState, type Overlay, type UiState } from "./state/ui-state.ts";
import type { Tone } from "./theme.ts";
import { messageOf, VerbSender } from "./verb-sender.ts";

// Close enough to "at once" for an eye, far enough apart to gather a burst of events into one frame.
const EVENT_DELAY_MS = 50;

/**
 * The UI without its pictures: takes keys and job events, keeps the state, sends verbs, and hands out {@link Frame}s.
 * Knows nothing of React, so that it can be tested and driven without a terminal.
 */
export class UiController {
  readonly #source: JobSource;
  readonly #options: ControllerOptions;
  readonly #display: JobsDisplay;
  readonly #form: FormController;
  readonly #overlays: OverlayController;
  readonly #verbs: VerbSender;
  readonly #listeners = new Set<() => void>();
  #state: UiState;
  #frame: Frame | undefined;
  #pageSize = 10;
  #cancelTick: (() => void) | undefined;
  #cancelRefresh: (() => void) | undefined;
  #unsubscribe: (() => void) | undefined;
  #unsubscribeExports: (() => void) | undefined;

  constructor(source: JobSource, options: ControllerOptions) {
    this.#source = source;
    this.#options = options;
    this.#state = initialState(options.tickMs);
    this.#display = new JobsDisplay(source, options.exports);
    this.#form = new FormController(source, {
      overlay: () => this.#state.overlay,
      show: (overlay) => {
        this.#dispatch({ type: "overlay", overlay });
      },
      started: (id) => {
        this.#dispatch({ type: "select", id });
        this.#say(`${id} started`, "running");
        this.refresh();
      },
      failed: (message) => {
        this.#say(message, "failure");
      },
    });
    this.#verbs = new VerbSender(source, {
      clock: options.clock,
      dispatch: (action) => {
        this.#dispatch(action);
      },
      accepted: () => {
        this.#refreshSoon();
      },
    });
    this.#overlays = this.#createOverlays();
  }

  #createOverlays(): OverlayController {
    return new OverlayController({
      form: this.#form,
      frame: this.frame,
      pageSize: () => this.#pageSize,
      show: (overlay) => {
        this.#show(overlay);
      },
      say: (text, tone) => {
        this.#say(text, tone);
      },
      setFilter: (filter) => {
        this.#setFilter(filter);
      },
      sortBy: (key) => {
        this.#dispatch({ type: "sort", key });
        this.#arrange();
      },
      send: (action, id, speed) => {
        this.#verbs.send(action, id, speed, this.#display.views.get(id)?.snapshot.speed);
      },
      quit: () => {
        this.#options.exit({ reason: "quit", liveJobs: this.#display.liveJobs });
      },
    });
  }

  /** Begins to look at the jobs. */
  start(): void {
    this.#unsubscribe = this.#source.subscribe((event) => {
      this.#onEvent(event);
    });
    this.#unsubscribeExports = this.#options.exports?.subscribe(() => {
      this.#refreshSoon();
    });
    this.refresh();
    this.#scheduleTick();
  }

  /** Stops looking; the last frame stays. */
  stop(): void {
    this.#unsubscribe?.();
    this.#unsubscribeExports?.();
    this.#cancelTick?.();
    this.#cancelRefresh?.();
    this.#cancelRefresh = undefined;
  }

  /** For `useSyncExternalStore`. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  };

  /** For `useSyncExternalStore`: the same object until something changes. */
  readonly frame = (): Frame => {
    const selectedId = this.#state.selectedId;
    const { visible, views, sample, exports } = this.#display;
    this.#frame ??= {
      state: this.#state,
      endpoint: this.#source.endpoint,
      visible,
      views,
      sample,
      selected: selectedId === undefined ? undefined : views.get(selectedId),
      exports,
      readOnly: this.#options.readOnly,
      canStart: this.#source.start !== undefined,
    };
    return this.#frame;
  };

  /** Rows that a page key moves by. */
  setPageSize(rows: number): void {
    this.#pageSize = Math.max(1, rows);
  }

  /** Why an action is not possible now; `undefined` when it is. */
  readonly refusal = (command: Command): string | undefined =>
    refusalOf(command, this.#source, this.#state.selectedId, this.#options.readOnly);

  /** Handles the key presses of one chunk of input. What follows a key that opened a dialog is not meant for it. */
  press(keys: readonly KeyPress[]): void {
    const before = this.frame().state.overlay;
    for (const key of keys) {
      this.#press(key);
      if (before === undefined && this.frame().state.overlay?.kind === "confirm") return;
    }
  }

  /** Pasted text goes into text fields and nowhere else: a paste must not press command keys. */
  paste(text: string): void {
    this.#overlays.edit({ kind: "insert", text });
  }

  /** The disk of a job, or why there is no picture of it; undefined when that is not known yet. */
  readonly map = (id: string, cellCount: number): JobMap | NoJobMap | undefined =>
    this.#source.map === undefined
      ? { reason: "this endpoint has no map of the disk" }
      : this.#source.map(id, cellCount);

  /** Looks at the jobs now. */
  refresh(): void {
    this.#cancelRefresh?.();
    this.#cancelRefresh = undefined;
    this.#display.look(this.#options.clock.now());
    this.#arrange();
  }

  /** An interrupt by key or by signal. */
  interrupt(): void {
    this.#dispatch({ type: "interrupt" });
    const { onInterrupt, onForceInterrupt, exit } = this.#options;
    if (this.#state.interrupts > 1) {
      onForceInterrupt?.();
      exit({ reason: "force-interrupt" });
      return;
    }
    if (onInterrupt === undefined) {
      exit({ reason: "interrupt" });
      return;
    }
    this.#dispatch({ type: "overlay", overlay: undefined });
    this.#say("Interrupted: jobs are being cancelled in order; ctrl-c again stops at once", "warning");
    Promise.resolve(onInterrupt()).then(
      () => {
        exit({ reason: "interrupt" });
      },
      (error: unknown) => {
        this.#say(`Cancelling failed: ${messageOf(error)}; ctrl-c again stops at once`, "failure");
      },
    );
  }

  #onEvent(event: JobSourceEvent): void {
    if (event.event === "changed") return;
    this.#state = reduce(this.#state, { type: "log", entry: describeEvent(event) });
    this.#refreshSoon();
  }

  #refreshSoon(): void {
    this.#cancelRefresh ??= this.#options.clock.schedule(EVENT_DELAY_MS, () => {
      this.refresh();
    });
  }

  #scheduleTick(): void {
    this.#cancelTick?.();
    this.#cancelTick = this.#options.clock.schedule(this.#state.tickMs, () => {
      this.refresh();
      this.#scheduleTick();
    });
  }

  /** Filters and sorts again, and lets the state follow. */
  #arrange(): void {
    this.#display.arrange(this.#state);
    const { order, views } = this.#display;
    this.#dispatch({ type: "jobs", order, views, nowMs: this.#options.clock.now() });
  }

  #dispatch(action: UiAction): void {
    this.#state = reduce(this.#state, action);
    this.#frame = undefined;
    for (const listener of this.#listeners) listener();
  }

  #say(text: string, tone: Tone = "plain"): void {
    this.#dispatch({ type: "status", status: { text, tone } });
  }

  #show(overlay: Overlay | undefined): void {
    this.#dispatch({ type: "overlay", overlay });
  }

  #press(key: KeyPress): void {
    const mode = modeOf(this.frame());
    const command = commandFor(mode, key.name);
    if (command !== undefined) this.#execute(command);
    else if (key.text !== "") this.#overlays.edit({ kind: "insert", text: key.text });
  }

  #execute(command: Command): void {
    const overlay = this.#state.overlay;
    if (command === "interrupt") this.interrupt();
    else if (command === "suspend") this.#options.suspend();
    else if (overlay !== undefined) this.#overlays.execute(command, overlay);
    else if (MUTATING_COMMANDS.has(command)) this.#executeAction(command);
    else this.#executeInView(command);
  }

  #executeInView(command: Command): void {
    const count = this.#display.visible.length;
    switch (command) {
      case "up":
      case "previous-job":
        return this.#move(-1);
      case "down":
      case "next-job":
        return this.#move(1);
      case "page-up":
        return this.#move(-this.#pageSize);
      case "page-down":
        return this.#move(this.#pageSize);
      case "first":
        return this.#move(-count);
      case "last":
        return this.#move(count);
      case "open-detail":
        return this.#setView("detail");
      case "toggle-view":
        return this.#setView(this.#state.view === "list" ? "detail" : "list");
      case "back":
        return this.#back();
      case "filter":
        return this.#show({ kind: "filter", field: textField(this.#state.filter) });
      case "sort":
        return this.#show({ kind: "sort", index: sortIndex(this.#state.sort.key) });
      case "help":
        return this.#show({ kind: "help", scroll: 0 });
      default:
        return this.#executeDisplay(command);
    }
  }

  #executeDisplay(command: Command): void {
    switch (command) {
      case "reverse-sort":
      case "trend-scale":
        this.#dispatch({ type: command });
        return this.#arrange();
      case "freeze":
        this.#dispatch({ type: "freeze" });
        this.#display.freeze(this.#state.frozen);
        return this.#arrange();
      case "faster":
      case "slower":
        this.#dispatch({ type: "tick", by: command === "faster" ? -1 : 1 });
        this.#scheduleTick();
        return this.#say(`Updates every ${this.#state.tickMs / 1000} s`);
      case "show-error":
        return this.#showError();
      case "copy-name":
        return this.#copyName();
      case "screen-dump":
        return this.#dumpScreen();
      case "quit":
        return this.#quit();
      default:
    }
  }

  #move(by: number): void {
    this.#dispatch({ type: "move", by, order: this.#display.order });
  }

  #setView(view: UiState["view"]): void {
    if (view === "detail" && this.#state.selectedId === undefined)
      return this.#say("There is no job to look at");
    this.#dispatch({ type: "view", view });
  }

  #back(): void {
    if (this.#state.view === "detail") return this.#setView("list");
    if (this.#state.filter !== "") this.#setFilter("");
    else this.#dispatch({ type: "status", status: undefined });
  }

  #setFilter(filter: string): void {
    this.#dispatch({ type: "filter", filter });
    this.#arrange();
  }

  #showError(): void {
    const view = this.frame().selected;
    if (view === undefined) return this.#say("no job is selected");
    if (view.snapshot.error === undefined && view.snapshot.ioStatus === "ok") {
      return this.#say(`${view.snapshot.id} has no error`);
    }
    this.#show({ kind: "error", jobId: view.snapshot.id });
  }

  #copyName(): void {
    const id = this.#state.selectedId;
    if (id === undefined) return this.#say("no job is selected");
    this.#options.copyText(id);
    this.#say(`Sent "${id}" to the clipboard`);
  }

  #dumpScreen(): void {
    this.#options.dumpScreen().then(
      (path) => {
        this.#say(`Screen written to ${path}`);
      },
      (error: unknown) => {
        this.#say(`Screen not written: ${messageOf(error)}`, "failure");
      },
    );
  }

  #quit(): void {
    const { liveJobs, clients } = this.#display;
    if (liveJobs + clients > 0 && this.#options.confirmQuit) {
      const intent = { kind: "quit", liveJobs, clients } as const;
      return this.#confirm({ intent, focus: "cancel", typed: textField() });
    }
    this.#options.exit({ reason: "quit", liveJobs });
  }

  #confirm(confirmation: Confirmation): void {
    this.#show({ kind: "confirm", confirmation });
  }

  #executeAction(command: Command): void {
    const refusal = this.refusal(command);
    if (refusal !== undefined) return this.#say(refusal, "warning");
    if (command === "new-job") return this.#form.open();
    const action = actionOf(command);
    const view = this.frame().selected;
    if (action === undefined || view === undefined) return;
    const jobId = view.snapshot.id;
    if (action === "set-speed") {
      const { speed } = view.snapshot;
      const field = proposal(speed === 0 ? "" : formatExactSize(speed));
      this.#show({ kind: "limit", jobId, field, problem: undefined });
    } else if (needsConfirmation(action, view)) {
      this.#confirm({ intent: { kind: "action", action, jobId }, focus: "cancel", typed: textField() });
    } else {
      this.#verbs.send(action, jobId);
    }
  }
}
