import type { ExportSource } from "../exports/export-source.ts";
import type { Clock } from "../job-source/clock.ts";
import type { KeyOverrides } from "./key-bindings.ts";
import type { ThemeName } from "./theme.ts";

/** Settings of `startUi`; every one has a default. */
export interface UiOptions {
  readonly theme?: ThemeName | undefined;
  /** Write colours, bold and inverse; see `wantsColor`. Default true. */
  readonly color?: boolean | undefined;
  /** The user's own keys. Default: those of the table. */
  readonly keys?: KeyOverrides | undefined;
  /** Where the user's own keys are, or would be, for the help. */
  readonly keyFile?: string | undefined;
  /** Draw with ASCII characters only. Default false; see `prefersAscii`. */
  readonly ascii?: boolean | undefined;
  /** Watch only: actions are shown greyed. */
  readonly readOnly?: boolean | undefined;
  /** Sentences instead of pictures, on the main screen. Default: `INK_SCREEN_READER=true` in the environment. */
  readonly screenReader?: boolean | undefined;
  /** Time between two looks at the jobs, milliseconds. Default 1000. */
  readonly tickMs?: number | undefined;
  /** Most frames per second. Default 30. */
  readonly maxFps?: number | undefined;
  /**
   * Orderly end on the first ctrl-c or SIGINT, usually the cancelling of all jobs. The UI stays up and ends when this
   * settles. Without it the UI ends at once.
   */
  readonly onInterrupt?: (() => Promise<void> | void) | undefined;
  /** Called on the second ctrl-c; the UI ends right after. */
  readonly onForceInterrupt?: (() => void) | undefined;
  /** Ends the UI when it settles, for programs that show something and go on. */
  readonly until?: Promise<void> | undefined;
  /** Ask before quitting while jobs are live. Default: true for an embedded endpoint, whose jobs end with us. */
  readonly confirmQuit?: boolean | undefined;
  /** Directory of screen dumps. Default: the XDG state directory of blockmirror. */
  readonly dumpDirectory?: string | undefined;
  /** Keep what is written to the console off the screen while the UI is up. Default true. */
  readonly patchConsole?: boolean | undefined;
  /** What this program exports, to be shown beside the jobs. */
  readonly exports?: ExportSource | undefined;
  readonly clock?: Clock | undefined;
  readonly stdout?: NodeJS.WriteStream | undefined;
  readonly stdin?: NodeJS.ReadStream | undefined;
}
