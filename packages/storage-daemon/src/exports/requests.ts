import { commandError, type BlockType } from "@blockmirror/qmp";
import type { ObjectStore } from "../objects/object-store.ts";
import type { ExportRequest, ServerRequest } from "./block-exports.ts";
import { listenChoices } from "./server-address.ts";

/** The arguments of an NBD server, on the command line and of `nbd-server-start` alike. */
export interface ServerArguments {
  readonly addr: BlockType<"SocketAddress">;
  readonly "tls-creds"?: string;
  readonly "tls-authz"?: string;
  readonly "max-connections"?: number;
}

/** @throws QmpError for an address or credentials that cannot be used. */
export function serverRequest(args: ServerArguments, objects: ObjectStore): ServerRequest {
  if (args["tls-authz"] !== undefined)
    throw commandError("Parameter 'tls-authz' is not supported; leave it out");
  const id = args["tls-creds"];
  return {
    listen: listenChoices(args.addr),
    maxConnections: args["max-connections"] ?? 0,
    tls: id === undefined ? undefined : objects.serverCredentials(id),
  };
}

/**
 * The arguments of `block-export-add` and `--export` with their defaults.
 * @throws QmpError for an `iothread`, of which there are none here.
 */
export function exportRequest(args: BlockType<"BlockExportOptions">): ExportRequest {
  if (args.iothread !== undefined) throw commandError(`iothread "${args.iothread}" not found`);
  return {
    id: args.id,
    nodeName: args["node-name"],
    name: args.name ?? args["node-name"],
    description: args.description,
    writable: args.writable ?? false,
    writethrough: args.writethrough ?? false,
    bitmaps: args.bitmaps ?? [],
    allocationDepth: args["allocation-depth"] ?? false,
  };
}
