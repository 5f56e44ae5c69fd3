import { verbPermission } from "../../job-source/verb-rules.ts";
import type { JobView } from "../model/job-view.ts";
import { SORT_KEYS, type SortKey } from "../model/order.ts";
import type { JobEvent, JobVerb } from "../../job-source/job-source.ts";
import { appendLog, describeEvent, type LogEntry } from "./event-log.ts";
import { isConfirmed, isConfirmedBy, type JobAction, type PendingVerb } from "./pending.ts";
import { type Overlay, type StatusMessage, TICKS_MS, type UiState } from "./ui-state.ts";

/** Everything that can happen to a {@link UiState}. */
export type UiAction =
  | {
      /** The jobs were looked at: `order` is what the list shows, `views` is every job. */
      readonly type: "jobs";
      readonly order: readonly string[];
      readonly views: ReadonlyMap<string, JobView>;
      readonly nowMs: number;
    }
  | { readonly type: "move"; readonly by: number; readonly order: readonly string[] }
  | { readonly type: "select"; readonly id: string }
  | { readonly type: "view"; readonly view: UiState["view"] }
  | { readonly type: "overlay"; readonly overlay: Overlay | undefined }
  | { readonly type: "filter"; readonly filter: string }
  | { readonly type: "sort"; readonly key: SortKey }
  | { readonly type: "reverse-sort" | "freeze" | "trend-scale" | "interrupt" }
  | { readonly type: "tick"; readonly by: 1 | -1 }
  | { readonly type: "status"; readonly status: StatusMessage | undefined }
  | { readonly type: "log"; readonly entry: LogEntry }
  | { readonly type: "event"; readonly event: JobEvent }
  | { readonly type: "pending"; readonly id: string; readonly verb: PendingVerb | undefined };

// A limit that the endpoint rounded never equals what was asked for.
const LIMIT_CONFIRMATION_MS = 10_000;

/** The verb an action sends. */
export function verbOf(action: JobAction): JobVerb {
  return action === "force-cancel" ? "cancel" : action;
}

/** Applies one action. Pure: the same state and action always give the same state. */
export function reduce(state: UiState, action: UiAction): UiState {
  switch (action.type) {
    case "jobs":
      return withSelection(withOverlayChecked(withPendingSettled(state, action), action.views), action.order);
    case "move":
      return move(state, action.by, action.order);
    case "select":
      return { ...state, selectedId: action.id };
    case "view":
      return { ...state, view: action.view };
    case "overlay":
      return { ...state, overlay: action.overlay };
    case "filter":
      return { ...state, filter: action.filter };
    case "sort":
      // The same key again turns the order around, as clicking a column title would.
      return {
        ...state,
        sort: { key: action.key, reversed: state.sort.key === action.key && !state.sort.reversed },
      };
    case "reverse-sort":
      return { ...state, sort: { ...state.sort, reversed: !state.sort.reversed } };
    case "freeze":
      return { ...state, frozen: !state.frozen };
    case "trend-scale":
      return { ...state, trendScale: state.trendScale === "shared" ? "own" : "shared" };
    case "interrupt":
      return { ...state, interrupts: state.interrupts + 1 };
    case "tick":
      return { ...state, tickMs: neighbourTick(state.tickMs, action.by) };
    case "status":
      return { ...state, status: action.status };
    case "log":
      return { ...state, log: appendLog(state.log, action.entry) };
    case "event":
      return withEvent(state, action.event);
    case "pending":
      return { ...state, pending: withPending(state.pending, action.id, action.verb) };
  }
}

function neighbourTick(tickMs: number, by: 1 | -1): number {
  const candidates = TICKS_MS.filter((candidate) => (by > 0 ? candidate > tickMs : candidate < tickMs));
  return (by > 0 ? candidates[0] : candidates.at(-1)) ?? tickMs;
}

function move(state: UiState, by: number, order: readonly string[]): UiState {
  if (order.length === 0) return state;
  const index = state.selectedId === undefined ? -1 : order.indexOf(state.selectedId);
  const from = index === -1 ? state.selectedIndex : index;
  const selectedIndex = Math.min(order.length - 1, Math.max(0, from + by));
  return { ...state, selectedIndex, selectedId: order[selectedIndex] };
}

function withSelection(state: UiState, order: readonly string[]): UiState {
  const index = state.selectedId === undefined ? -1 : order.indexOf(state.selectedId);
  if (index !== -1) return index === state.selectedIndex ? state : { ...state, selectedIndex: index };
  const selectedIndex = Math.max(0, Math.min(state.selectedIndex, order.length - 1));
  const selectedId = order[selectedIndex];
  if (state.view === "list" || state.selectedId === undefined) return { ...state, selectedIndex, selectedId };
  // Details must not silently turn into those of another job.
  return {
    ...state,
    view: "list",
    selectedIndex,
    selectedId,
    status: { text: `${state.selectedId} is no longer in the list`, tone: "warning" },
  };
}

function withPending(
  pending: UiState["pending"],
  id: string,
  verb: PendingVerb | undefined,
): UiState["pending"] {
  const next = new Map(pending);
  if (verb === undefined) next.delete(id);
  else next.set(id, verb);
  return next;
}

function withPendingSettled(state: UiState, action: UiAction & { readonly type: "jobs" }): UiState {
  if (state.pending.size === 0) return state;
  const open = [...state.pending].filter(([id, verb]) => {
    const late = verb.action === "set-speed" && action.nowMs - verb.sinceMs > LIMIT_CONFIRMATION_MS;
    return !late && !isConfirmed(verb, action.views.get(id)?.snapshot);
  });
  return open.length === state.pending.size ? state : withPendingOnly(state, new Map(open));
}

/** An event also settles what a look at the jobs may miss: a job that stops again as soon as it is resumed never seems to run. */
function withEvent(state: UiState, event: JobEvent): UiState {
  const entry = describeEvent(event);
  const logged = { ...state, log: appendLog(state.log, entry) };
  const verb = entry.jobId === undefined ? undefined : state.pending.get(entry.jobId);
  if (verb === undefined || !isConfirmedBy(verb, event)) return logged;
  return withPendingOnly(logged, new Map([...state.pending].filter(([id]) => id !== entry.jobId)));
}

/** "Pausing" is told for as long as it is true. */
function withPendingOnly(state: UiState, pending: UiState["pending"]): UiState {
  const until = state.status?.until;
  const over = until !== undefined && !pending.has(until);
  return { ...state, pending, ...(over && { status: undefined }) };
}

function overlayJob(overlay: Overlay): { readonly id: string; readonly verb: JobVerb } | undefined {
  if (overlay.kind === "limit") return { id: overlay.jobId, verb: "set-speed" };
  if (overlay.kind !== "confirm" || overlay.confirmation.intent.kind !== "action") return undefined;
  const { jobId, action } = overlay.confirmation.intent;
  return { id: jobId, verb: verbOf(action) };
}

/** A dialog whose question no longer arises closes by itself, and says so. */
function withOverlayChecked(state: UiState, views: ReadonlyMap<string, JobView>): UiState {
  const { overlay } = state;
  if (overlay === undefined) return state;
  if (overlay.kind === "error" && !views.has(overlay.jobId)) return { ...state, overlay: undefined };
  const subject = overlayJob(overlay);
  if (subject === undefined) return state;
  const job = views.get(subject.id)?.snapshot;
  if (verbPermission(job, subject.verb).allowed) return state;
  const now = job === undefined ? "is gone" : `is ${views.get(subject.id)?.word ?? job.status}`;
  const text = `${subject.id} ${now} meanwhile; nothing was sent`;
  return { ...state, overlay: undefined, status: { text, tone: "warning" } };
}

/** Index of a sort key in the menu. */
export function sortIndex(key: SortKey): number {
  return Math.max(0, SORT_KEYS.indexOf(key));
}
