import { commandError, type CommandHandlers, type CommandsOf } from "@blockmirror/qmp";
import type { Mirror } from "@blockmirror/mirror";
import type { DaemonParts } from "./daemon-parts.ts";
import type { EXTRA_SCHEMA } from "../schema/extra-schema.ts";

type ExtraCommands = CommandsOf<typeof EXTRA_SCHEMA>;
type ExtraJobInfo = ExtraCommands["x-blockmirror-query-jobs"]["returns"][number];

const DEFAULT_CELLS = 64;
const MAX_CELLS = 65_536;

/** What QMP has no words for: phases, rates, forecasts and maps of mirrors. */
export function extraCommands({ jobs }: DaemonParts): CommandHandlers<ExtraCommands> {
  return {
    "x-blockmirror-query-jobs": () => jobs.list().flatMap(({ mirror }) => describe(mirror)),
    "x-blockmirror-query-dirty-map": ({ id, cells = DEFAULT_CELLS }) => {
      const { mirror } = jobs.find(id);
      if (mirror === undefined) throw commandError(`Job '${id}' has no dirty map`);
      if (cells < 1 || cells > MAX_CELLS) throw commandError(`Parameter 'cells' expects 1 to ${MAX_CELLS}`);
      const map = mirror.map(cells);
      return {
        copied: [...map.copied],
        dirty: [...map.dirty],
        "in-flight": [...map.inFlight],
        failed: [...map.failed],
      };
    },
  };
}

function describe(mirror: Mirror | undefined): ExtraJobInfo[] {
  const snapshot = mirror?.job.snapshot();
  const details = snapshot?.details;
  if (snapshot === undefined || details === undefined) return [];
  return [
    {
      id: snapshot.id,
      type: snapshot.type,
      phase: details.phase,
      source: details.source,
      target: details.target,
      sync: details.sync,
      "copy-mode": details.copyMode,
      "copy-mode-automatic": details.copyModeIsAutomatic,
      "actively-synced": details.activelySynced,
      granularity: details.granularity,
      size: details.size,
      "bytes-copied": details.bytesCopied,
      "bytes-skipped": details.bytesSkipped,
      "bytes-zeroed": details.bytesZeroed,
      "bytes-recopied": details.bytesRecopied,
      "dirty-bytes": details.dirtyBytes,
      "in-flight-bytes": details.inFlightBytes,
      "in-flight-operations": details.inFlightOperations,
      ...(details.copyRateBytesPerSec === undefined ? {} : { "copy-rate": details.copyRateBytesPerSec }),
      ...(details.dirtyRateBytesPerSec === undefined ? {} : { "dirty-rate": details.dirtyRateBytesPerSec }),
      ...forecast(details.etaSec),
      "unanswered-ms": Math.round(details.unansweredMs),
      ...(details.unansweredBy === undefined ? {} : { "unanswered-by": details.unansweredBy }),
      "read-errors": snapshot.errorCounts.read,
      "write-errors": snapshot.errorCounts.write,
      "elapsed-ms": Math.round(snapshot.elapsedMs),
      "paused-ms": Math.round(snapshot.pausedMs),
      ...(snapshot.cleanupError === undefined ? {} : { "cleanup-error": snapshot.cleanupError.message }),
    },
  ];
}

function forecast(etaSec: number | "never" | undefined): Pick<ExtraJobInfo, "forecast"> {
  if (etaSec === "never") return { forecast: { converges: false } };
  return etaSec === undefined ? {} : { forecast: { converges: true, seconds: etaSec } };
}
