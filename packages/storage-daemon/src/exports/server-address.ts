import type { ListenOptions } from "@blockmirror/nbd";
import { commandError, type BlockType } from "@blockmirror/qmp";

/** Where a server may listen: at the first of these that is free. */
export type ListenChoices = readonly [ListenOptions, ...ListenOptions[]];

/** @throws QmpError for an address that the NBD server cannot listen at. */
export function listenChoices(address: BlockType<"SocketAddress">): ListenChoices {
  switch (address.type) {
    case "unix":
      if (address.abstract === true) throw commandError("Abstract sockets are not supported; use a path");
      return [{ path: address.path }];
    case "inet": {
      const port = Number(address.port);
      if (!Number.isInteger(port) || port < 0 || port > 65_535) {
        throw commandError("Parameter 'addr.port' expects a number from 0 to 65535");
      }
      if (address.ipv4 !== undefined || address.ipv6 !== undefined) {
        throw commandError(
          "Parameters 'addr.ipv4' and 'addr.ipv6' are not supported; give an address of that family as 'addr.host'",
        );
      }
      if (address.mptcp === true) throw commandError("Parameter 'addr.mptcp' is not supported; leave it out");
      const { host, to = port } = address;
      const others = Array.from({ length: Math.max(0, to - port) }, (_, index) => ({
        host,
        port: port + 1 + index,
      }));
      return [{ host, port }, ...others];
    }
    case "vsock":
    case "fd":
      throw commandError(
        `The NBD server cannot listen at an address of type '${address.type}'; use unix or inet`,
      );
  }
}

/** `nbd-server-start` wraps the members of an address into `data`, and nothing else does. */
export function unwrapAddress(address: BlockType<"SocketAddressLegacy">): BlockType<"SocketAddress"> {
  switch (address.type) {
    case "unix":
      return { type: "unix", ...address.data };
    case "inet":
      return { type: "inet", ...address.data };
    case "vsock":
      return { type: "vsock", ...address.data };
    case "fd":
      return { type: "fd", ...address.data };
  }
}
