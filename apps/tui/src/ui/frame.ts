import type { EndpointInfo } from "../job-source/job-source.ts";
import type { Keymap } from "./key-bindings.ts";
import type { Mode } from "./keymap.ts";
import type { ExportView } from "./model/export-view.ts";
import type { JobsSample, JobView } from "./model/job-view.ts";
import { type Confirmation, requiredName } from "./state/confirmation.ts";
import type { UiState } from "./state/ui-state.ts";

/** A file or directory that belongs to the program, for the help. */
export interface ProgramFile {
  readonly label: string;
  readonly path: string;
}

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
  /** What this program exports, as displayed; undefined when it exports nothing. */
  readonly exports: readonly ExportView[] | undefined;
  readonly readOnly: boolean;
  readonly canStart: boolean;
  readonly keymap: Keymap;
  readonly files: readonly ProgramFile[];
}

/** How far keys move, which the size of the terminal decides. */
export interface ScreenReach {
  /** Jobs on a page. */
  readonly pageSize: number;
  /** Lines that the help can be scrolled by. */
  readonly helpScroll: number;
}

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
