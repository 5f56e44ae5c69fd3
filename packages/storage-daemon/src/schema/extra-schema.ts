/**
 * Commands of this daemon's own, with what QMP lacks: phases, rates, the forecast and the dirty map of a mirror. Their
 * names begin with `x-blockmirror-`.
 */
export const EXTRA_SCHEMA = {
  types: {
    Empty: { struct: {} },
    BlockmirrorPhase: { enum: ["scan", "zero", "copy", "converge", "ready", "switch"] },
    BlockmirrorForecast: {
      struct: {
        /** False: the source is written as fast as it is copied. */
        converges: "bool",
        /** Seconds; absent until the rates are known, and when it does not converge. */
        "seconds?": "number",
      },
    },
    BlockmirrorJobInfo: {
      struct: {
        id: "str",
        type: "str",
        phase: "BlockmirrorPhase",
        source: "str",
        target: "str",
        sync: "str",
        "copy-mode": "str",
        "copy-mode-automatic": "bool",
        "actively-synced": "bool",
        granularity: "int",
        size: "int",
        "bytes-copied": "int",
        "bytes-skipped": "int",
        "bytes-zeroed": "int",
        "bytes-recopied": "int",
        "dirty-bytes": "int",
        "in-flight-bytes": "int",
        "in-flight-operations": "int",
        "copy-rate?": "number",
        "dirty-rate?": "number",
        "forecast?": "BlockmirrorForecast",
        /** Milliseconds since a device last answered anything that the job waits for. */
        "unanswered-ms": "int",
        /** `source` or `target`, where only one of them is waited for. */
        "unanswered-by?": "str",
        "read-errors": "int",
        "write-errors": "int",
        "elapsed-ms": "int",
        "paused-ms": "int",
        /** What the job held and could not give back when it ended, and why. */
        "cleanup-error?": "str",
      },
    },
    BlockmirrorDirtyMap: {
      struct: { copied: ["number"], dirty: ["number"], "in-flight": ["number"], failed: ["number"] },
    },
  },
  commands: {
    "x-blockmirror-query-jobs": { arguments: {}, returns: ["BlockmirrorJobInfo"], features: ["unstable"] },
    "x-blockmirror-query-dirty-map": {
      arguments: { id: "str", "cells?": "uint32" },
      returns: "BlockmirrorDirtyMap",
      features: ["unstable"],
    },
  },
  events: {},
} as const;
