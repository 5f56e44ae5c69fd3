/**
 * What each package may depend on at run time. Dependencies point down this list and never up: that is what lets any
 * package be used alone. A package that is not here fails the check, so that its place is a decision.
 *
 * `external` is the budget of run-time dependencies from outside; a new one needs a record in docs/decisions.
 *
 * @type {Record<string, { internal: readonly string[], external: readonly string[] }>}
 */
export const LAYERS = {
  "@blockmirror/hbitmap": { internal: [], external: [] },
  "@blockmirror/ratelimit": { internal: [], external: [] },
  "@blockmirror/qmp": { internal: [], external: [] },
  "@blockmirror/block-driver": {
    internal: ["@blockmirror/hbitmap", "@blockmirror/ratelimit"],
    external: ["koffi"],
  },
  "@blockmirror/blockjob": { internal: ["@blockmirror/ratelimit"], external: [] },
  "@blockmirror/mirror": {
    internal: ["@blockmirror/hbitmap", "@blockmirror/block-driver", "@blockmirror/blockjob"],
    external: [],
  },
  "@blockmirror/nbd": { internal: ["@blockmirror/block-driver"], external: [] },
  "@blockmirror/storage-daemon": {
    internal: [
      "@blockmirror/hbitmap",
      "@blockmirror/ratelimit",
      "@blockmirror/block-driver",
      "@blockmirror/blockjob",
      "@blockmirror/mirror",
      "@blockmirror/nbd",
      "@blockmirror/qmp",
    ],
    external: [],
  },
  blockmirror: {
    internal: [
      "@blockmirror/hbitmap",
      "@blockmirror/ratelimit",
      "@blockmirror/block-driver",
      "@blockmirror/blockjob",
      "@blockmirror/mirror",
      "@blockmirror/nbd",
      "@blockmirror/qmp",
      "@blockmirror/storage-daemon",
    ],
    external: ["commander", "ink", "react", "string-width"],
  },
};

/** External dependencies that may only be optional: the package has to work without them. */
export const OPTIONAL_ONLY = ["koffi"];
