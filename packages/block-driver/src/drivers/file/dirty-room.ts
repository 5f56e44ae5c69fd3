import fs from "node:fs";

/** The kernel is asked this often; what is written in between is far less than the room it has to have. */
const INTERVAL_MS = 100;
/** Share of the room that may be in use. */
const MOST = 0.7;

/**
 * Whether the kernel takes more dirty pages without slowing the writer down. It begins to hold writers up when dirty
 * pages exceed the mean of its two thresholds (Linux documentation, vm.dirty_background_ratio and vm.dirty_ratio), and
 * tells in `/proc/vmstat` how near that is.
 */
export class DirtyRoom {
  readonly #read: () => string;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  #hasRoom = false;

  /** `read` returns what `/proc/vmstat` says; it may throw, and then there is no room. */
  constructor(read: () => string = () => fs.readFileSync("/proc/vmstat", "latin1")) {
    this.#read = read;
  }

  /** The answer, at most 100 ms old. */
  hasRoom(nowMs: number): boolean {
    if (nowMs - this.#askedAtMs >= INTERVAL_MS) {
      this.#askedAtMs = nowMs;
      this.#hasRoom = this.#ask();
    }
    return this.#hasRoom;
  }

  #ask(): boolean {
    let text: string;
    try {
      text = this.#read();
    } catch {
      return false;
    }
    const pages = (name: string): number => {
      const digits = new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1];
      return digits === undefined ? Number.NaN : Number(digits);
    };
    const room = (pages("nr_dirty_threshold") + pages("nr_dirty_background_threshold")) / 2;
    return pages("nr_dirty") + pages("nr_writeback") < room * MOST;
  }
}
