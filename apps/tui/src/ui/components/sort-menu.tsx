import { type ReactNode, use } from "react";
import { segment } from "../draw/line.ts";
import { SORT_KEYS, type SortOrder } from "../model/order.ts";
import { StyleContext } from "../style-context.ts";
import { type Area, OverlayBox } from "./overlay-box.tsx";

/** The list of sort keys. */
export function SortMenu(props: {
  readonly area: Area;
  readonly index: number;
  readonly order: SortOrder;
}): ReactNode {
  const { glyphs } = use(StyleContext);
  const lines = SORT_KEYS.map((key, index) => {
    const selected = index === props.index;
    const direction = props.order.reversed ? glyphs.sortUp : glyphs.sortDown;
    const mark = key === props.order.key ? ` ${direction}` : "";
    return [segment(`${selected ? ">" : " "} ${key}${mark}`, selected ? "selection" : "plain")];
  });
  return <OverlayBox area={props.area} title="Sort by" lines={lines} width={24} />;
}
