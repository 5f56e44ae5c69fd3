import { describeBytes } from "../../format/bytes.ts";
import { fit, truncateMiddle } from "../../format/text.ts";
import { fitLine, type Line, lineWidth, segment } from "../draw/line.ts";
import { type Glyphs, spell } from "../glyphs.ts";
import { showName } from "../model/cells.ts";
import { EXPORT_GAP, type ExportTable, fitExportColumns } from "../model/export-columns.ts";
import { type ClientView, countClients, type ExportView, type TrafficView } from "../model/export-view.ts";
import type { Tone } from "../theme.ts";

/** Rows above the first export: the rule with its title, and the titles of the columns. */
const TITLE_ROWS = 2;

/** Rows that all exports, with their addresses, and clients take. */
export function exportRows(exports: readonly ExportView[]): number {
  return TITLE_ROWS + Math.max(1, exports.length * 2 + countClients(exports));
}

function plural(count: number, noun: string): string {
  return `${count === 0 ? "no" : count} ${noun}${count === 1 ? "" : "s"}`;
}

function ruleLine(exports: readonly ExportView[], width: number, glyphs: Glyphs): Line {
  const line: Line = [
    segment(`${glyphs.horizontal.repeat(2)} `, "frame"),
    segment("EXPORTS", "heading"),
    segment(`  ${plural(exports.length, "export")}, ${plural(countClients(exports), "client")} `, "dim"),
  ];
  const rest = glyphs.horizontal.repeat(Math.max(0, width - lineWidth(line)));
  return fitLine([...line, segment(rest, "frame")], width, glyphs.ellipsis);
}

function titleLine({ nameWidth, columns }: ExportTable, width: number): Line {
  const titles = columns.map(
    (column) => `${" ".repeat(EXPORT_GAP)}${fit(column.title, column.width, "right")}`,
  );
  return fitLine([segment(` ${fit("NAME", nameWidth)}${titles.join("")}`, "heading")], width);
}

function trafficLine(
  name: string,
  tone: Tone,
  traffic: TrafficView,
  { nameWidth, columns }: ExportTable,
  width: number,
  glyphs: Glyphs,
): Line {
  const figures = columns.map((column) =>
    segment(" ".repeat(EXPORT_GAP) + spell(column.text(traffic), glyphs), column.tone(traffic)),
  );
  const shown = fit(truncateMiddle(name, nameWidth, glyphs.ellipsis), nameWidth, "left", glyphs.ellipsis);
  return fitLine([segment(` ${shown}`, tone), ...figures], width, glyphs.ellipsis);
}

function exportName(view: ExportView, width: number, glyphs: Glyphs): string {
  const name = showName(view.name === "" ? view.image : view.name, glyphs);
  const facts = `${name}  ${describeBytes(view.size)}${view.writable ? "" : "  read-only"}`;
  return facts.length <= width ? facts : name;
}

function clientName(client: ClientView, glyphs: Glyphs): string {
  const how = client.secure ? " TLS" : "";
  return `  #${client.id}${how} ${showName(client.address, glyphs)}`;
}

/** Exports with their clients below them: rates, latencies of the last seconds, and totals. */
export function drawExportsPane(
  exports: readonly ExportView[],
  width: number,
  height: number,
  glyphs: Glyphs,
): Line[] {
  const table = fitExportColumns(width);
  const rows: Line[] = [];
  for (const view of exports) {
    const name = exportName(view, table.nameWidth, glyphs);
    rows.push(trafficLine(name, "strong", view, table, width, glyphs));
    const where = truncateMiddle(view.uris.join("  "), width - 4, glyphs.ellipsis);
    rows.push(fitLine([segment(`   ${where}`, "dim")], width, glyphs.ellipsis));
    for (const client of view.clients) {
      rows.push(trafficLine(clientName(client, glyphs), "plain", client, table, width, glyphs));
    }
  }
  const room = Math.max(0, height - TITLE_ROWS);
  if (rows.length > room && room > 0) {
    const hidden = rows.length - room + 1;
    const more = segment(` ${glyphs.ellipsis} and ${hidden} more; a taller terminal shows them`, "dim");
    rows.splice(room - 1, rows.length, fitLine([more], width, glyphs.ellipsis));
  }
  const lines = [ruleLine(exports, width, glyphs), titleLine(table, width), ...rows].slice(0, height);
  const blanks: Line[] = Array.from({ length: Math.max(0, height - lines.length) }, () => []);
  return [...lines, ...blanks];
}
