import type { JobMap, NoJobMap } from "../job-source/job-source.ts";
import type { UiController } from "./controller.ts";
import { type Line, lineText } from "./draw/line.ts";
import type { Glyphs } from "./glyphs.ts";
import type { JobView } from "./model/job-view.ts";
import { ScreenWriter } from "./screen-writer.ts";
import type { Theme } from "./theme.ts";
import { drawScreen, reachOf } from "./views/screen.ts";

/** The terminal as far as a picture needs it. */
export interface ScreenOutput {
  readonly columns: number;
  readonly rows: number;
  write(text: string): unknown;
  on(event: "resize", listener: () => void): unknown;
  off(event: "resize", listener: () => void): unknown;
}

/** How a screen is drawn. */
export interface ScreenStyle {
  readonly theme: Theme;
  readonly glyphs: Glyphs;
  readonly color: boolean;
  /** Most pictures per second. */
  readonly maxFps: number;
}

/**
 * Keeps the screen up to date with the controller: draws soon after something changed, but not more often than the style
 * allows, and again when the terminal's size changes.
 */
export class LiveScreen {
  readonly #controller: UiController;
  readonly #output: ScreenOutput;
  readonly #style: ScreenStyle;
  readonly #writer: ScreenWriter;
  #map:
    | { readonly view: JobView; readonly cellCount: number; readonly map: JobMap | NoJobMap | undefined }
    | undefined;
  #unsubscribe: (() => void) | undefined;
  #cancelDraw: (() => void) | undefined;
  #drawnAtMs = -Infinity;
  #running = false;
  #paused = false;

  constructor(controller: UiController, output: ScreenOutput, style: ScreenStyle) {
    this.#controller = controller;
    this.#output = output;
    this.#style = style;
    this.#writer = new ScreenWriter(output, style.theme, style.color);
  }

  /** Begins to draw. */
  start(): void {
    this.#running = true;
    this.#unsubscribe = this.#controller.subscribe(() => this.#drawSoon());
    this.#output.on("resize", this.redraw);
    this.#draw();
  }

  /** Draws no more, whoever asks for it. */
  stop(): void {
    this.#running = false;
    this.#unsubscribe?.();
    this.#output.off("resize", this.redraw);
    this.pause();
  }

  /** Somebody else has the terminal: nothing is drawn until {@link resume}. */
  pause(): void {
    this.#paused = true;
    this.#cancelDraw?.();
    this.#cancelDraw = undefined;
  }

  /** The terminal is ours again. */
  resume(): void {
    this.#paused = false;
    this.redraw();
  }

  /** Draws everything, also what has not changed. */
  readonly redraw = (): void => {
    this.#writer.forget();
    this.#drawSoon();
  };

  /** The picture as text, a line per row, without trailing blanks. */
  text(): string {
    return this.#picture()
      .map((line) => lineText(line).trimEnd())
      .join("\n");
  }

  #drawSoon(): void {
    if (!this.#running || this.#paused || this.#cancelDraw !== undefined) return;
    const waitMs = this.#drawnAtMs + 1000 / this.#style.maxFps - performance.now();
    // Not at once: one key changes the state more than once.
    if (waitMs <= 0) {
      const immediate = setImmediate(() => this.#draw());
      this.#cancelDraw = () => clearImmediate(immediate);
    } else {
      const timer = setTimeout(() => this.#draw(), waitMs);
      this.#cancelDraw = () => clearTimeout(timer);
    }
  }

  #draw(): void {
    this.#cancelDraw = undefined;
    this.#drawnAtMs = performance.now();
    const { columns, rows } = this.#output;
    this.#controller.setReach(
      reachOf(this.#controller.frame(), { columns, rows, glyphs: this.#style.glyphs }),
    );
    this.#writer.draw(this.#picture(), columns);
  }

  #picture(): readonly Line[] {
    const { columns, rows } = this.#output;
    const { refusal } = this.#controller;
    const { glyphs } = this.#style;
    return drawScreen(this.#controller.frame(), { columns, rows, glyphs, refusal, readMap: this.#readMap });
  }

  /** Reading the map again for the same view would let a frozen display move. */
  readonly #readMap = (view: JobView, cellCount: number): JobMap | NoJobMap | undefined => {
    const known = this.#map;
    if (known?.view === view && known.cellCount === cellCount && known.map !== undefined) return known.map;
    const map = this.#controller.map(view.snapshot.id, cellCount);
    this.#map = { view, cellCount, map };
    return map;
  };
}
