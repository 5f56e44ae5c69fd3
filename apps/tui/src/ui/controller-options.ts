import type { ExportSource } from "../exports/export-source.ts";
import type { Clock } from "../job-source/clock.ts";
import type { ProgramFile } from "./frame.ts";
import type { Keymap } from "./key-bindings.ts";

/** Why the UI ended. */
export type UiResult =
  | { readonly reason: "quit"; readonly liveJobs: number }
  /** What the option `until` waited for has happened. */
  | { readonly reason: "done" }
  | { readonly reason: "interrupt" | "force-interrupt" }
  | { readonly reason: "signal"; readonly signal: NodeJS.Signals };

/** What the controller needs from the world around it. */
export interface ControllerOptions {
  readonly clock: Clock;
  readonly readOnly: boolean;
  readonly tickMs: number;
  /** Ends the UI. */
  readonly exit: (result: UiResult) => void;
  /** Orderly end of the jobs on the first interrupt; the UI ends when it settles. */
  readonly onInterrupt?: (() => Promise<void> | void) | undefined;
  /** Second interrupt: stop at once. */
  readonly onForceInterrupt?: (() => void) | undefined;
  /** What this program exports. */
  readonly exports?: ExportSource | undefined;
  /** Ask before quitting while jobs are live or exports have clients. */
  readonly confirmQuit: boolean;
  readonly suspend: () => void;
  /** Puts a text on the user's clipboard, as far as the terminal lets us. */
  readonly copyText: (text: string) => void;
  /** Writes the screen to a file and returns its path. */
  readonly dumpScreen: () => Promise<string>;
  /** Draws the whole screen again, over whatever somebody else wrote there. */
  readonly redraw: () => void;
  /** Gives the terminal to the user's pager until he has read a text. */
  readonly page: (text: string) => Promise<void>;
  readonly keymap: Keymap;
  /** Files that belong to the program, for the help. */
  readonly files: readonly ProgramFile[];
}
