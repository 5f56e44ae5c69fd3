import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  BlockGraph,
  createDefaultRegistry,
  FaultController,
  type BlockNode,
} from "@blockmirror/block-driver";
import { afterEach } from "vitest";
import { NbdServer, type ExportInit, type NbdAddress, type NbdServerOptions } from "../../../src/index.ts";

export const SEED: number = Number(process.env["BLOCKMIRROR_SEED"] ?? 20_261_123);

const cleanups: (() => void | Promise<void>)[] = [];

/** Runs after the test, last registered first. */
export function onCleanup(cleanup: () => void | Promise<void>): void {
  cleanups.push(cleanup);
}

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

export function temporaryDirectory(): string {
  const directory = mkdtempSync(path.join(tmpdir(), "bm-nbd-"));
  onCleanup(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Bytes that tell their place. */
export function pattern(length: number, salt = 0): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let index = 0; index < length; index += 1)
    bytes[index] = (index * 7 + (index >> 8) * 13 + salt) & 0xff;
  return bytes;
}

export interface Serving {
  readonly graph: BlockGraph;
  readonly node: BlockNode;
  readonly server: NbdServer;
  readonly address: NbdAddress;
  readonly directory: string;
  /** Rules of the node, when it was made with `faulty`. */
  readonly faults: FaultController;
}

export interface ServeInit {
  readonly size?: number;
  readonly server?: Omit<NbdServerOptions, "graph">;
  readonly exported?: Partial<Omit<ExportInit, "node">>;
  /** Puts the fault filter above the memory. */
  readonly faulty?: boolean;
}

/** A server with one writable export `disk` of memory, on a Unix socket. */
export async function serve(init: ServeInit = {}): Promise<Serving> {
  const { size = 1024 * 1024 } = init;
  const graph = new BlockGraph({ registry: createDefaultRegistry() });
  const directory = temporaryDirectory();
  const faults = new FaultController();
  const memory = { driver: "memory", size };
  const node = await graph.open(
    init.faulty === true
      ? { driver: "fault", file: memory, controller: faults, nodeName: "disk" }
      : { ...memory, nodeName: "disk" },
  );
  const server = new NbdServer({ graph, ...init.server });
  onCleanup(() => graph.closeAll());
  onCleanup(() => server.close({ graceMs: 100 }));
  server.addExport({ name: "disk", node, writable: true, ...init.exported });
  const address = await server.listen({ path: path.join(directory, "nbd.sock") });
  return { graph, node, server, address, directory, faults };
}

/** Reads the node itself, past every client. */
export async function contentOf(
  graph: BlockGraph,
  node: BlockNode,
  offset: number,
  length: number,
): Promise<Buffer> {
  const edge = graph.attach(node, {
    name: "test",
    uses: ["read"],
    shares: ["read", "write", "write-unchanged", "resize"],
  });
  const bytes = Buffer.alloc(length);
  await edge.read(offset, [bytes]);
  await graph.detach(edge);
  return bytes;
}
