import { segment } from "../draw/line.ts";
import type { Glyphs } from "../glyphs.ts";
import { SORT_KEYS, type SortOrder } from "../model/order.ts";
import type { Overlay } from "./overlay.ts";

/** The list of sort keys. */
export function drawSortMenu(chosen: number, order: SortOrder, glyphs: Glyphs): Overlay {
  const lines = SORT_KEYS.map((key, index) => {
    const selected = index === chosen;
    const direction = order.reversed ? glyphs.sortUp : glyphs.sortDown;
    const mark = key === order.key ? ` ${direction}` : "";
    return [segment(`${selected ? ">" : " "} ${key}${mark}`, selected ? "selection" : "plain")];
  });
  return { title: "Sort by", lines, width: 24 };
}
