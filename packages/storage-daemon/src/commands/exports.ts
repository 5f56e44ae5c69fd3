import type { BlockCommands, CommandHandlers } from "@blockmirror/qmp";
import { exportRequest, serverRequest } from "../exports/requests.ts";
import { unwrapAddress } from "../exports/server-address.ts";
import type { DaemonParts } from "./daemon-parts.ts";

/** The NBD server and exports, under their present names and their deprecated ones; and objects that they refer to. */
export function exportCommands({ exports, nodes, objects }: DaemonParts): CommandHandlers<BlockCommands> {
  return {
    "nbd-server-start": (args) =>
      exports.start(serverRequest({ ...args, addr: unwrapAddress(args.addr) }, objects)),
    "nbd-server-stop": () => exports.stop(),
    "block-export-add": (args) => exports.add(exportRequest(args)),
    "block-export-del": ({ id, mode }) => exports.remove(id, mode),
    "query-block-exports": () => exports.list(),
    "nbd-server-add": ({ device, name = device, description, writable = false, bitmap }) => {
      const node = nodes.find(device);
      exports.add({
        id: name,
        nodeName: device,
        name,
        description,
        // This command never refused a node that is read-only.
        writable: writable && !node.info.readOnly,
        writethrough: false,
        bitmaps: bitmap === undefined ? [] : [bitmap],
        allocationDepth: false,
      });
    },
    "nbd-server-remove": ({ name, mode }) => exports.remove(name, mode),
    "object-add": (options) => objects.add(options),
    "object-del": ({ id }) => objects.remove(id),
  };
}
