import type { NbdServer } from "@blockmirror/nbd";
import { describeBytes } from "../format/bytes.ts";
import { formatTimeOfDay } from "../format/duration.ts";
import type { JobReporter, LineSink } from "./event-lines.ts";

/** An image that is served. */
export interface ServedImage {
  readonly image: string;
  /** The export's name. */
  readonly name: string;
  readonly uris: readonly string[];
}

/** Tells where each image is served, and then who comes and goes, a line each. */
export function reportExports(
  server: NbdServer,
  served: readonly ServedImage[],
  sink: LineSink,
  output: "plain" | "json",
): JobReporter {
  const say = (plain: string, json: Readonly<Record<string, unknown>>): void => {
    sink.write(output === "json" ? `${JSON.stringify(json)}\n` : `${plain}\n`);
  };
  for (const { image, name, uris } of served) {
    say(`${image} is served at ${uris.join(" and ")}`, {
      event: "EXPORT_ADDED",
      data: { image, export: name, uris },
    });
  }
  const stop = server.subscribe((event) => {
    if (event.type !== "client-connected" && event.type !== "client-disconnected") return;
    const at = formatTimeOfDay(Date.now());
    const { exportName, client } = event;
    const label = exportName === "" ? "the image" : `'${exportName}'`;
    if (event.type === "client-connected") {
      say(`${at} client ${client.id} uses ${label}`, {
        event: "CLIENT_CONNECTED",
        data: { export: exportName, client: client.id },
      });
      return;
    }
    const exported = server.exports().find(({ name }) => name === exportName);
    const done = exported?.statistics();
    say(
      `${at} client ${client.id} has left ${label}; so far ${describeBytes(done?.bytesRead)} read, ${describeBytes(done?.bytesWritten)} written`,
      {
        event: "CLIENT_DISCONNECTED",
        data: {
          export: exportName,
          client: client.id,
          "bytes-read": done?.bytesRead,
          "bytes-written": done?.bytesWritten,
        },
      },
    );
  });
  return { stop };
}
