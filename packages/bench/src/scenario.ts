import type { PeerName } from "@blockmirror/peers";

import type { BenchRow } from "./row.ts";

/** What a scenario is given. */
export interface BenchContext {
  /** An empty directory of its own, removed afterwards. */
  readonly directory: string;
  /** Timed runs of each contestant, after one that is not counted. */
  readonly runs: number;
  /** Bytes of data in the scenarios that copy a full image; the bars are set for {@link FULL_DATA_BYTES}. */
  readonly dataBytes: number;
  /** Says on stderr what goes on. */
  readonly log: (text: string) => void;
}

/** Something to measure side by side. */
export interface Scenario {
  /** What a filter on the command line matches: `raw/full`. */
  readonly name: string;
  readonly title: string;
  /** Without these it is skipped, and the report says so. */
  readonly needs: readonly PeerName[];
  run(context: BenchContext): Promise<readonly BenchRow[]>;
}

/** Size of a full image in the scenarios that bars are set for: 2 GiB. */
export const FULL_DATA_BYTES: number = 2 * 2 ** 30;
