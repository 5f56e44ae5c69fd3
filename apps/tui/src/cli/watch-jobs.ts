import type { JobSource } from "../job-source/job-source.ts";
import { reportJobs } from "../output/event-lines.ts";
import { jsonWording } from "../output/json.ts";
import { plainWording } from "../output/plain.ts";
import type { DisplayOptions } from "./display.ts";
import { chooseOutput } from "./job-view.ts";
import { readOwnKeys } from "./own-keys.ts";
import { onOutputLost } from "./standard-output.ts";
import { uiSettings } from "./ui-settings.ts";

/**
 * Shows the jobs of somebody else until the user has seen enough: in the terminal UI, or as lines until a signal comes or
 * `until` settles. The jobs are not touched by the end of the watching.
 */
export async function watchJobs(
  source: JobSource,
  display: DisplayOptions,
  until?: Promise<void>,
): Promise<"quit" | "interrupted"> {
  const mode = chooseOutput(display.output);
  if (mode === "tui") return watchInUi(source, display);
  const wording = mode === "json" ? jsonWording : plainWording;
  const reporter = reportJobs(source, process.stdout, wording, display.intervalMs);
  try {
    return await untilInterrupted(until);
  } finally {
    reporter.stop();
  }
}

function untilInterrupted(until: Promise<void> | undefined): Promise<"quit" | "interrupted"> {
  return new Promise((resolve) => {
    const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
    const end = (result: "quit" | "interrupted"): void => {
      unwatch();
      for (const name of signals) process.off(name, interrupt);
      resolve(result);
    };
    const interrupt = (): void => end("interrupted");
    for (const name of signals) process.on(name, interrupt);
    // Whoever read the lines has gone; there is nobody left to tell.
    const unwatch = onOutputLost(() => end("quit"));
    void until?.then(() => end("quit"));
  });
}

async function watchInUi(source: JobSource, display: DisplayOptions): Promise<"quit" | "interrupted"> {
  const settings = uiSettings(display, readOwnKeys(process.env));
  // Loaded only now: no other output needs it.
  const { startUi } = await import("../ui/start-ui.tsx");
  const { reason } = await startUi(source, {
    ...settings,
    confirmQuit: false,
  });
  return reason === "quit" || reason === "done" ? "quit" : "interrupted";
}
