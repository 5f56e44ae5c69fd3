import type { JobMap, NoJobMap } from "../job-source/job-source.ts";
import type { UiController } from "./controller.ts";
import type { JobView } from "./model/job-view.ts";

/** Reads the map of the disk that is shown, once for each view: reading it again would let a frozen display move. */
export class MapReader {
  readonly #controller: Pick<UiController, "map">;
  #known:
    | { readonly view: JobView; readonly cellCount: number; readonly map: JobMap | NoJobMap | undefined }
    | undefined;

  constructor(controller: Pick<UiController, "map">) {
    this.#controller = controller;
  }

  /** The map of the view's job in that many cells; undefined while there is none yet. */
  readonly read = (view: JobView, cellCount: number): JobMap | NoJobMap | undefined => {
    const known = this.#known;
    if (known?.view === view && known.cellCount === cellCount && known.map !== undefined) return known.map;
    const map = this.#controller.map(view.snapshot.id, cellCount);
    this.#known = { view, cellCount, map };
    return map;
  };
}
