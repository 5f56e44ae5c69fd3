import type { BlockGraph, BlockNode } from "@blockmirror/block-driver";
import { NbdServer, type NbdServerTls } from "@blockmirror/nbd";
import type { ListenAddress } from "./listen-address.ts";

/** Images of a graph, served over NBD at one address. */
export class ExportServer implements AsyncDisposable {
  readonly server: NbdServer;
  readonly #address: ListenAddress;

  private constructor(server: NbdServer, address: ListenAddress) {
    this.server = server;
    this.#address = address;
  }

  /**
   * Listens; there is nothing to be had yet.
   * @throws BlockError when somebody listens there, or a file is in the way.
   */
  static async listen(
    graph: BlockGraph,
    address: ListenAddress,
    tls: NbdServerTls | undefined,
  ): Promise<ExportServer> {
    const server = new NbdServer({ graph, ...(tls !== undefined && { tls }) });
    await server.listen(address.listen);
    return new ExportServer(server, address);
  }

  /** Serves a node; without a name under that of the address. Returns the addresses that clients use. */
  add(node: BlockNode, writable: boolean, name: string = this.#address.exportName): readonly string[] {
    this.server.addExport({ name, node, writable, allocationDepth: true });
    return this.server.uris(name);
  }

  /** Resolves when the last client has left; at once when there is none. */
  async lastClientLeft(): Promise<void> {
    while (this.server.clients().length > 0) {
      await new Promise<void>((resolve) => {
        const end = this.server.subscribe((event) => {
          if (event.type !== "client-disconnected") return;
          end();
          resolve();
        });
      });
    }
  }

  close(): Promise<void> {
    return this.server.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
