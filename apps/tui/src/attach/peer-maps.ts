import { createJobMap, type JobMap, type NoJobMap } from "../job-source/job-source.ts";
import { asObject, numbersOf } from "./peer-answers.ts";
import type { QmpPeer } from "./qmp-peer.ts";

/** The command that tells the map of a job's disk; only our own daemon has it. */
export const MAP_COMMAND = "x-blockmirror-query-dirty-map";

/** Most cells that are asked for. */
const MOST_CELLS = 65_536;

/** A map as it was last told. */
interface KnownMap {
  readonly id: string;
  readonly cellCount: number;
  answer: JobMap | NoJobMap | undefined;
  askedAtMs: number;
}

/**
 * The map of the job somebody looks at. A look returns what was told last and has it asked for again when it is older than
 * `maxAgeMs`, so a map is never more than one look behind. One map is kept: only one disk is on a screen.
 */
export class PeerMaps {
  readonly #peer: QmpPeer;
  readonly #maxAgeMs: number;
  readonly #arrived: () => void;
  #known: KnownMap | undefined;

  /** @param arrived - told when an answer came that was not there before. */
  constructor(peer: QmpPeer, maxAgeMs: number, arrived: () => void) {
    this.#peer = peer;
    this.#maxAgeMs = maxAgeMs;
    this.#arrived = arrived;
  }

  /** The map as far as it is known at `nowMs`; undefined before the first answer. */
  look(id: string, cellCount: number, nowMs: number): JobMap | NoJobMap | undefined {
    const cells = Math.min(cellCount, MOST_CELLS);
    const before = this.#known;
    if (before?.id === id && before.cellCount === cells && nowMs - before.askedAtMs < this.#maxAgeMs) {
      return before.answer;
    }
    const same = before?.id === id && before.cellCount === cells;
    const known: KnownMap = {
      id,
      cellCount: cells,
      answer: same ? before.answer : undefined,
      askedAtMs: nowMs,
    };
    this.#known = known;
    void this.#ask(known);
    return known.answer;
  }

  async #ask(known: KnownMap): Promise<void> {
    const isNew = known.answer === undefined;
    const { id, cellCount } = known;
    try {
      const answer = await this.#peer.execute(MAP_COMMAND, { id, cells: cellCount });
      known.answer = readMap(answer, cellCount) ?? { reason: "the peer's map cannot be read" };
    } catch (error) {
      // A job without a map, or one that has just ended; in the peer's words.
      known.answer = { reason: error instanceof Error ? error.message : String(error) };
    }
    if (isNew) this.#arrived();
  }
}

function readMap(answer: unknown, cellCount: number): JobMap | undefined {
  const object = asObject(answer);
  const map = createJobMap(cellCount);
  const parts = [
    [map.copied, "copied"],
    [map.dirty, "dirty"],
    [map.inFlight, "in-flight"],
    [map.failed, "failed"],
  ] as const;
  for (const [cells, name] of parts) {
    const shares = numbersOf(object, name);
    if (shares?.length !== cellCount) return undefined;
    cells.set(shares);
  }
  return map;
}
