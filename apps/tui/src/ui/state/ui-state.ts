import type { SortOrder } from "../model/order.ts";
import type { Tone } from "../theme.ts";
import type { Confirmation } from "./confirmation.ts";
import type { LogEntry } from "./event-log.ts";
import type { NewJobForm } from "./new-job-form.ts";
import type { PendingVerb } from "./pending.ts";
import type { TextField } from "./text-field.ts";

/** What lies over the view and takes the keyboard. */
export type Overlay =
  | { readonly kind: "help"; readonly scroll: number }
  | { readonly kind: "sort"; readonly index: number }
  | { readonly kind: "error"; readonly jobId: string }
  | { readonly kind: "filter"; readonly field: TextField }
  | {
      readonly kind: "limit";
      readonly jobId: string;
      readonly field: TextField;
      readonly problem: string | undefined;
    }
  | { readonly kind: "form"; readonly form: NewJobForm }
  | {
      readonly kind: "confirm";
      readonly confirmation: Confirmation;
      /** The form to go back to. */
      readonly form?: NewJobForm | undefined;
    };

/** The one-line answer to the last action. */
export interface StatusMessage {
  readonly text: string;
  readonly tone: Tone;
  /** The job whose verb it tells of; it goes when that verb is settled, since then it is no longer true. */
  readonly until?: string | undefined;
}

/** How the trend column is scaled. */
export type TrendScale = "shared" | "own";

/** Everything the user decided, and what came of it. The jobs themselves are not in here. */
export interface UiState {
  readonly view: "list" | "detail";
  /** The selection is a job, not a row: it stays when rows move. */
  readonly selectedId: string | undefined;
  /** Row of the selection when it was last seen, to choose a neighbour when the job disappears. */
  readonly selectedIndex: number;
  readonly filter: string;
  readonly sort: SortOrder;
  readonly overlay: Overlay | undefined;
  readonly frozen: boolean;
  readonly tickMs: number;
  readonly trendScale: TrendScale;
  readonly status: StatusMessage | undefined;
  readonly log: readonly LogEntry[];
  readonly pending: ReadonlyMap<string, PendingVerb>;
  /** How often the user interrupted. */
  readonly interrupts: number;
}

/** Times between two looks at the jobs, milliseconds. */
export const TICKS_MS: readonly number[] = [250, 500, 1000, 2000, 5000, 10_000];

/** The state at start. */
export function initialState(tickMs: number): UiState {
  return {
    view: "list",
    selectedId: undefined,
    selectedIndex: 0,
    filter: "",
    sort: { key: "started", reversed: false },
    overlay: undefined,
    frozen: false,
    tickMs,
    trendScale: "shared",
    status: undefined,
    log: [],
    pending: new Map(),
    interrupts: 0,
  };
}
