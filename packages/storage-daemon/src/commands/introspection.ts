import type { BlockCommands, CommandHandlers } from "@blockmirror/qmp";
import type { DaemonParts } from "./daemon-parts.ts";

/** What the daemon says of itself, and its end. The lists of commands and types are the command table's own. */
export function introspectionCommands(daemon: DaemonParts): CommandHandlers<BlockCommands> {
  return {
    "query-version": () => daemon.version,
    // The events of jobs and exports that end come first, then the answer, then the end of the connection.
    quit: async () => {
      await daemon.quit();
    },
  };
}
