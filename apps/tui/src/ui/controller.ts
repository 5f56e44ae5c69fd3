import { describeRate, formatExactSize, parseSpeed } from "../format/bytes.ts";
import type { EndpointInfo, JobMap, JobSource, JobSourceEvent } from "../job-source/job-source.ts";
import type { ControllerOptions } from "./controller-options.ts";
import { FormController } from "./form-controller.ts";
import type { KeyPress } from "./key-names.ts";
import { type Command, commandFor, type Mode, MUTATING_COMMANDS } from "./keymap.ts";
import { freezeSample, JobsModel, type JobsSample, type JobView } from "./model/job-view.ts";
import { matchesFilter, SORT_KEYS, sortJobs } from "./model/order.ts";
import { type Confirmation, needsConfirmation, requiredName } from "./state/confirmation.ts";
import { describeEvent } from "./state/event-log.ts";
import { type JobAction, pendingVerb } from "./state/pending.ts";
import { reduce, sortIndex, type UiAction, verbOf } from "./state/reducer.ts";
import { editText, textField, type TextEdit, type TextField } from "./state/text-field.ts";
import { initialState, type Overlay, type UiState } from "./state/ui-state.ts";
import type { Tone } from "./theme.ts";

/** Everything a screen shows, at one moment. A new object whenever something changed. */
export interface Frame {
  readonly state: UiState;
  readonly endpoint: EndpointInfo;
  /** Jobs that pass the filter, in their order. */
  readonly visible: readonly JobView[];
  /** All jobs, live even while the display is frozen. */
  readonly views: ReadonlyMap<string, JobView>;
  /** All jobs as displayed. */
  readonly sample: JobsSample;
  /** The job that actions go to. */
  readonly selected: JobView | undefined;
  readonly readOnly: boolean;
  readonly canStart: boolean;
}

// Close enough to "at once" for an eye, far enough apart to gather a burst of events into one frame.
const EVENT_DELAY_MS = 50;
const STALE_AFTER_MS = 10_000;

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

/** The keyboard mode of a state. */
export function modeOf(frame: Frame): Mode {
  const { overlay, view } = frame.state;
  switch (overlay?.kind) {
    case undefined:
      return view;
    case "help":
      return "help";
    case "sort":
      return "menu";
    case "error":
      return "notice";
    case "filter":
    case "limit":
      return "input";
    case "form":
      return "form";
    case "confirm":
      return nameToType(frame, overlay.confirmation) === undefined ? "dialog" : "input";
  }
}

/** The name a confirmation demands, judged on the job as it is now. */
export function nameToType(frame: Frame, { intent }: Confirmation): string | undefined {
  if (intent.kind !== "action") return requiredName(intent, undefined, undefined);
  return requiredName(intent, frame.views.get(intent.jobId), frame.state.pending.get(intent.jobId));
}

/**
 * The UI without its pictures: takes keys and job events, keeps the state, sends verbs, and hands out {@link Frame}s.
 * Knows nothing of React, so that it can be tested and driven without a terminal.
 */
export class UiController {
  readonly #source: JobSource;
  readonly #options: ControllerOptions;
  readonly #model = new JobsModel();
  readonly #form: FormController;
  readonly #listeners = new Set<() => void>();
  #state: UiState;
  #live: JobsSample = { atMs: 0, jobs: [] };
  #views: ReadonlyMap<string, JobView> = new Map();
  #frozen: JobsSample | undefined;
  #visible: readonly JobView[] = [];
  #frame: Frame | undefined;
  #pageSize = 10;
  #cancelTick: (() => void) | undefined;
  #cancelRefresh: (() => void) | undefined;
  #unsubscribe: (() => void) | undefined;

  constructor(source: JobSource, options: ControllerOptions) {
    this.#source = source;
    this.#options = options;
    this.#state = initialState(options.tickMs);
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
  }

  /** Begins to look at the jobs. */
  start(): void {
    this.#unsubscribe = this.#source.subscribe((event) => {
      this.#onEvent(event);
    });
    this.refresh();
    this.#scheduleTick();
  }

  /** Stops looking; the last frame stays. */
  stop(): void {
    this.#unsubscribe?.();
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
    this.#frame ??= {
      state: this.#state,
      endpoint: this.#source.endpoint,
      visible: this.#visible,
      views: this.#views,
      sample: this.#frozen ?? this.#live,
      selected: selectedId === undefined ? undefined : this.#views.get(selectedId),
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
  readonly refusal = (command: Command): string | undefined => {
    if (this.#options.readOnly && MUTATING_COMMANDS.has(command)) return "read-only";
    if (command === "new-job") {
      return this.#source.start === undefined ? "this endpoint does not start jobs" : undefined;
    }
    const action = ACTIONS[command];
    if (action === undefined) return undefined;
    const id = this.#state.selectedId;
    if (id === undefined) return "no job is selected";
    const permission = this.#source.can(id, verbOf(action));
    return permission.allowed ? undefined : permission.reason;
  };

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
    this.#edit({ kind: "insert", text });
  }

  /** The disk of a job, if the endpoint can tell. */
  readonly map = (id: string, cellCount: number): JobMap | undefined => this.#source.map?.(id, cellCount);

  /** Looks at the jobs now. */
  refresh(): void {
    this.#cancelRefresh?.();
    this.#cancelRefresh = undefined;
    const nowMs = this.#options.clock.now();
    const staleAfterMs = this.#source.endpoint.state === "dead" ? -1 : STALE_AFTER_MS;
    this.#live = this.#model.sample(this.#source.list(), nowMs, staleAfterMs);
    this.#views = new Map(this.#live.jobs.map((view) => [view.snapshot.id, view]));
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
    const { filter, sort } = this.#state;
    const shown = (this.#frozen ?? this.#live).jobs;
    this.#visible = sortJobs(
      filter === "" ? shown : shown.filter((view) => matchesFilter(view, filter)),
      sort,
    );
    this.#dispatch({
      type: "jobs",
      order: this.#order(),
      views: this.#views,
      nowMs: this.#options.clock.now(),
    });
  }

  #order(): string[] {
    return this.#visible.map((view) => view.snapshot.id);
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
    else if (key.text !== "") this.#edit({ kind: "insert", text: key.text });
  }

  #execute(command: Command): void {
    const overlay = this.#state.overlay;
    if (command === "interrupt") this.interrupt();
    else if (command === "suspend") this.#options.suspend();
    else if (overlay !== undefined) this.#executeInOverlay(command, overlay);
    else if (MUTATING_COMMANDS.has(command)) this.#executeAction(command);
    else this.#executeInView(command);
  }

  #executeInView(command: Command): void {
    const count = this.#visible.length;
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
        this.#frozen = this.#state.frozen ? freezeSample(this.#live) : undefined;
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
    this.#dispatch({ type: "move", by, order: this.#order() });
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

  #liveJobs(): number {
    return this.#live.jobs.filter((view) => !view.concluded).length;
  }

  #quit(): void {
    const liveJobs = this.#liveJobs();
    if (liveJobs > 0 && this.#options.confirmQuit) {
      return this.#confirm({ intent: { kind: "quit", liveJobs }, focus: "cancel", typed: textField() });
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
    const action = ACTIONS[command];
    const view = this.frame().selected;
    if (action === undefined || view === undefined) return;
    const jobId = view.snapshot.id;
    if (action === "set-speed") {
      const { speed } = view.snapshot;
      const field = textField(speed === 0 ? "" : formatExactSize(speed));
      this.#show({ kind: "limit", jobId, field, problem: undefined });
    } else if (needsConfirmation(action, view)) {
      this.#confirm({ intent: { kind: "action", action, jobId }, focus: "cancel", typed: textField() });
    } else {
      this.#send(action, jobId);
    }
  }

  #executeInOverlay(command: Command, overlay: Overlay): void {
    const edit = EDITS[command];
    if (edit !== undefined) return this.#edit({ kind: edit });
    switch (overlay.kind) {
      case "help":
        return this.#executeInHelp(command, overlay.scroll);
      case "sort":
        return this.#executeInSort(command, overlay.index);
      case "error":
        return this.#show(undefined);
      case "filter":
        if (command === "refuse") this.#setFilter("");
        return this.#show(undefined);
      case "limit":
        return command === "activate" ? this.#applyLimit(overlay) : this.#show(undefined);
      case "form":
        return this.#form.execute(command, overlay.form);
      case "confirm":
        return this.#executeInDialog(command, overlay);
    }
  }

  #executeInHelp(command: Command, scroll: number): void {
    const steps = new Map<Command, number>([
      ["up", -1],
      ["down", 1],
      ["page-up", -this.#pageSize],
      ["page-down", this.#pageSize],
    ]);
    const by = steps.get(command);
    if (by === undefined) return this.#show(undefined);
    this.#show({ kind: "help", scroll: Math.max(0, scroll + by) });
  }

  #executeInSort(command: Command, index: number): void {
    const last = SORT_KEYS.length - 1;
    if (command === "up") return this.#show({ kind: "sort", index: Math.max(0, index - 1) });
    if (command === "down") return this.#show({ kind: "sort", index: Math.min(last, index + 1) });
    this.#show(undefined);
    const key = SORT_KEYS[index];
    if (command !== "activate" || key === undefined) return;
    this.#dispatch({ type: "sort", key });
    this.#arrange();
  }

  #executeInDialog(command: Command, overlay: Overlay & { readonly kind: "confirm" }): void {
    const { confirmation } = overlay;
    const name = nameToType(this.frame(), confirmation);
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
      return this.#say(`Type "${name}" to confirm, or Esc to leave everything as it is`, "warning");
    }
    this.#show(overlay.form === undefined ? undefined : { kind: "form", form: overlay.form });
    this.#say("Nothing was changed");
  }

  #carryOut({ confirmation, form }: Overlay & { readonly kind: "confirm" }): void {
    const { intent } = confirmation;
    this.#show(undefined);
    if (intent.kind === "quit") this.#options.exit({ reason: "quit", liveJobs: this.#liveJobs() });
    else if (intent.kind === "start") this.#form.start(intent.request, form);
    else this.#send(intent.action, intent.jobId);
  }

  #applyLimit(overlay: Overlay & { readonly kind: "limit" }): void {
    const parsed = parseSpeed(overlay.field.text);
    if (!parsed.ok) return this.#show({ ...overlay, problem: parsed.reason });
    this.#show(undefined);
    this.#send("set-speed", overlay.jobId, parsed.bytes);
  }

  #edit(edit: TextEdit): void {
    const { overlay } = this.#state;
    const apply = (field: TextField): TextField => editText(field, edit);
    switch (overlay?.kind) {
      case "filter": {
        const field = apply(overlay.field);
        this.#show({ kind: "filter", field });
        return this.#setFilter(field.text);
      }
      case "limit":
        return this.#show({ ...overlay, field: apply(overlay.field), problem: undefined });
      case "form":
        return this.#form.edit(edit, overlay.form);
      case "confirm": {
        if (nameToType(this.frame(), overlay.confirmation) === undefined) return;
        const confirmation = { ...overlay.confirmation, typed: apply(overlay.confirmation.typed) };
        return this.#show({ ...overlay, confirmation });
      }
      default:
    }
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

  #send(action: JobAction, id: string, speed = 0): void {
    const before = this.#views.get(id)?.snapshot.speed ?? 0;
    const nowMs = this.#options.clock.now();
    this.#dispatch({ type: "pending", id, verb: pendingVerb(action, nowMs, speed) });
    this.#say(sentence(action, id, speed, before));
    this.#call(action, id, speed).then(
      () => {
        this.#refreshSoon();
      },
      (error: unknown) => {
        this.#dispatch({ type: "pending", id, verb: undefined });
        const text = `${action} refused: ${messageOf(error)}`;
        this.#say(`${id}: ${text}`, "failure");
        this.#dispatch({ type: "log", entry: { atMs: nowMs, jobId: id, text, tone: "failure" } });
      },
    );
  }
}

function limitText(speed: number): string {
  return speed === 0 ? "no limit" : describeRate(speed);
}

function sentence(action: JobAction, id: string, speed: number, before: number): string {
  switch (action) {
    case "pause":
      return `${id}: pausing; r resumes`;
    case "resume":
      return `${id}: resuming; p pauses`;
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
