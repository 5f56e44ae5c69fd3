import type { JobSource } from "../job-source/job-source.ts";
import type { UiResult } from "./controller-options.ts";
import type * as RunUi from "./run-ui.tsx";
import type { UiOptions } from "./ui-options.ts";

export type { UiResult } from "./controller-options.ts";
export type { UiOptions } from "./ui-options.ts";

/** Loads the drawing half of the UI. React chooses between its slow and its fast build when it is loaded. */
async function loadRunUi(): Promise<typeof RunUi> {
  if (process.env["NODE_ENV"] !== undefined) return import("./run-ui.tsx");
  process.env["NODE_ENV"] = "production";
  try {
    return await import("./run-ui.tsx");
  } finally {
    // Programs we start must not inherit our choice.
    delete process.env["NODE_ENV"];
  }
}

/**
 * Shows the terminal UI until it ends, and says why it ended. The terminal is given back as it was: after a normal
 * end, on SIGTERM and SIGHUP, while suspended, and when the process dies of an error.
 *
 * Jobs are not touched by the end of the UI: what quitting means for live jobs is the caller's decision.
 *
 * @param source - the jobs; not closed by the UI.
 * @throws TypeError when `stdout` is not a terminal; choose plain or JSON output then.
 */
export async function startUi(source: JobSource, options: UiOptions = {}): Promise<UiResult> {
  const { runUi } = await loadRunUi();
  return runUi(source, options);
}
