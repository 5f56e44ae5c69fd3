import type { JobMap, JobSource, JobSourceEvent, NoJobMap } from "../job-source/job-source.ts";
import type { ControllerOptions } from "./controller-options.ts";
import { FormController } from "./form-controller.ts";
import { type Frame, modeOf, type ScreenReach } from "./frame.ts";
import type { KeyPress } from "./key-names.ts";
import type { Command } from "./keymap.ts";
import { refusalOf } from "./job-actions.ts";
import { JobsDisplay } from "./jobs-display.ts";
import { OverlayController } from "./overlay-controller.ts";
import { reduce, type UiAction } from "./state/reducer.ts";
import { initialState, type Overlay, type UiState } from "./state/ui-state.ts";
import type { Tone } from "./theme.ts";
import { messageOf, VerbSender } from "./verb-sender.ts";
import { ViewController } from "./view-controller.ts";

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
  readonly #views: ViewController;
  readonly #verbs: VerbSender;
  readonly #listeners = new Set<() => void>();
  #state: UiState;
  #frame: Frame | undefined;
  #reach: ScreenReach = { pageSize: 10, helpScroll: 0 };
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
      keymap: options.keymap,
      dispatch: (action) => {
        this.#dispatch(action);
      },
      accepted: () => {
        this.#refreshSoon();
      },
    });
    this.#overlays = this.#createOverlays();
    this.#views = this.#createViews();
  }

  #createOverlays(): OverlayController {
    return new OverlayController({
      form: this.#form,
      frame: this.frame,
      reach: () => this.#reach,
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
      act: (command) => {
        this.#views.execute(command);
      },
      quit: () => {
        this.#options.exit({ reason: "quit", liveJobs: this.#display.liveJobs });
      },
    });
  }

  #createViews(): ViewController {
    return new ViewController({
      options: this.#options,
      display: this.#display,
      form: this.#form,
      verbs: this.#verbs,
      frame: this.frame,
      refusal: this.refusal,
      reach: () => this.#reach,
      dispatch: (action) => {
        this.#dispatch(action);
      },
      show: (overlay) => {
        this.#show(overlay);
      },
      say: (text, tone) => {
        this.#say(text, tone);
      },
      setFilter: (filter) => {
        this.#setFilter(filter);
      },
      arrange: () => {
        this.#arrange();
      },
      scheduleTick: () => {
        this.#scheduleTick();
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
      keymap: this.#options.keymap,
      files: this.#options.files,
    };
    return this.#frame;
  };

  /** Tells how far keys move on the screen as it was last drawn. */
  setReach(reach: ScreenReach): void {
    this.#reach = reach;
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
    this.#state = reduce(this.#state, { type: "event", event });
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

  #setFilter(filter: string): void {
    this.#dispatch({ type: "filter", filter });
    this.#arrange();
  }

  #press(key: KeyPress): void {
    const mode = modeOf(this.frame());
    const command = this.#options.keymap.commandFor(mode, key.name);
    this.#forgetAnswer();
    if (command !== undefined) this.#execute(command);
    else if (key.text !== "") this.#overlays.edit({ kind: "insert", text: key.text });
  }

  /** The answer to the last key goes with the next one: it lies over what there is to know of the job. */
  #forgetAnswer(): void {
    // How to end at once is to be read until the end.
    if (this.#state.status !== undefined && this.#state.interrupts === 0) {
      this.#dispatch({ type: "status", status: undefined });
    }
  }

  #execute(command: Command): void {
    const overlay = this.#state.overlay;
    if (command === "interrupt") this.interrupt();
    else if (command === "suspend") this.#options.suspend();
    else if (overlay !== undefined) this.#overlays.execute(command, overlay);
    else this.#views.execute(command);
  }
}
