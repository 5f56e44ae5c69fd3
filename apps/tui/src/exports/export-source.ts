import { latencyQuantileMs, type NbdServer, type TrafficStatistics } from "@blockmirror/nbd";

/** A client of an export at one moment. */
export interface ClientSnapshot {
  /** Unique among the clients of a server. */
  readonly id: number;
  /** Address and port, or the path of the socket it came through. */
  readonly address: string;
  readonly secure: boolean;
  readonly traffic: TrafficStatistics;
}

/** An export at one moment. */
export interface ExportSnapshot {
  /** The name that clients ask for; may be empty. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly writable: boolean;
  /** What it leads to now: the file, or the node's name. */
  readonly image: string;
  /** Where clients find it. */
  readonly uris: readonly string[];
  readonly traffic: TrafficStatistics;
  readonly clients: readonly ClientSnapshot[];
}

/** Where a user interface learns of exports and their clients. */
export interface ExportSource {
  /** The exports as they are now, in the order they were added. */
  list(): readonly ExportSnapshot[];
  /**
   * The latency in milliseconds that the fraction `quantile` of the requests in a latency histogram did not exceed;
   * undefined without requests.
   */
  latencyMs(histogram: readonly number[], quantile: number): number | undefined;
  /** Has `listener` called when an export or a client comes or goes, until the function returned is called. */
  subscribe(listener: () => void): () => void;
}

/** The exports of a server of this process. */
export function exportsOf(server: NbdServer): ExportSource {
  return {
    list: () => {
      const clients = server.clients();
      return server.exports().map((exported) => ({
        name: exported.name,
        size: exported.size,
        writable: exported.writable,
        image: exported.node.info.filename ?? exported.node.name,
        uris: server.uris(exported.name),
        traffic: exported.statistics(),
        clients: clients
          .filter((client) => client.exportName === exported.name)
          .map((client) => ({
            id: client.id,
            address: client.address,
            secure: client.isSecure,
            traffic: client.statistics(),
          })),
      }));
    },
    latencyMs: latencyQuantileMs,
    subscribe: (listener) => server.subscribe(listener),
  };
}
