import { BlockError, type BlockNode } from "@blockmirror/block-driver";
import type { NbdExport, NbdServer, NbdServerTls } from "@blockmirror/nbd";
import { commandError, type BlockType } from "@blockmirror/qmp";
import { findBitmap, requireBitmap } from "../bitmaps/find-bitmap.ts";
import type { NodeStore } from "../nodes/node-store.ts";
import type { ListenChoices } from "./server-address.ts";

/** An export as `block-export-add` describes it, with its defaults filled in. */
export interface ExportRequest {
  readonly id: string;
  readonly nodeName: string;
  /** Name that clients ask for. */
  readonly name: string;
  readonly description: string | undefined;
  readonly writable: boolean;
  readonly writethrough: boolean;
  readonly bitmaps: readonly (string | BlockType<"BlockDirtyBitmap">)[];
  readonly allocationDepth: boolean;
}

/** How the NBD server begins. */
export interface ServerRequest {
  readonly listen: ListenChoices;
  /** 0 = no limit. */
  readonly maxConnections: number;
  readonly tls: NbdServerTls | undefined;
}

interface ExportEntry {
  readonly id: string;
  readonly exported: NbdExport;
  isShuttingDown: boolean;
}

/**
 * How long the removal of an export waits, in milliseconds, for what its clients have in flight. Storage that works needs
 * less; storage that hangs must not keep a monitor from all that its client could do about it.
 */
const REMOVAL_MS = 1000;

const EXPORT_ID = /^[A-Za-z][A-Za-z0-9._-]*$/;

/** The NBD server of a daemon and what it exports, by QMP's rules. Exports follow their nodes through pivots. */
export class BlockExports {
  readonly #nodes: NodeStore;
  readonly #onDeleted: (id: string) => void;
  readonly #onError: (error: unknown) => void;
  readonly #entries: Map<string, ExportEntry> = new Map();
  /** Exports that are going. */
  readonly #removals: Set<Promise<void>> = new Set();
  #server: NbdServer | undefined;
  /** Starting and stopping take time; meanwhile nobody else may. */
  #changing: Promise<void> | undefined;
  #isEnding = false;

  /**
   * @param onDeleted called when an export is gone.
   * @param onError told of what went wrong with a removal that nobody waits for any more.
   */
  constructor(nodes: NodeStore, onDeleted: (id: string) => void, onError: (error: unknown) => void) {
    this.#nodes = nodes;
    this.#onDeleted = onDeleted;
    this.#onError = onError;
  }

  /** @throws QmpError when it runs already; BlockError when it cannot listen there. */
  async start({ listen, maxConnections, tls }: ServerRequest): Promise<void> {
    if (this.#isEnding) throw commandError("The NBD server cannot start: the daemon ends");
    if (this.#server !== undefined || this.#changing !== undefined)
      throw commandError("NBD server already running");
    await this.#change(async () => {
      // The server and the jobs are loaded by the first who wants one: a daemon has to answer soon after its start.
      const { NbdServer } = await import("@blockmirror/nbd");
      const server = new NbdServer({
        graph: this.#nodes.graph,
        ...(maxConnections === 0 ? {} : { maxConnections }),
        ...(tls === undefined ? {} : { tls }),
      });
      await listenAtFirstFree(server, listen);
      this.#server = server;
    });
  }

  /** Ends the server and every export. @throws QmpError when it does not run. */
  async stop(): Promise<void> {
    const server = this.#running();
    this.#server = undefined;
    await this.#change(async () => {
      try {
        for (const entry of this.#entries.values()) entry.isShuttingDown = true;
        await server.close();
      } finally {
        await Promise.allSettled(this.#removals);
        for (const entry of this.#entries.values()) this.#forget(entry);
        await this.#nodes.releaseUnused();
      }
    });
  }

  /** @throws QmpError or BlockError when it cannot be; nothing has happened then. */
  add(request: ExportRequest): void {
    const { id, name } = request;
    if (!EXPORT_ID.test(id)) throw commandError(`Invalid block export id '${id}'`);
    if (this.#entries.has(id)) throw commandError(`Block export id '${id}' is already in use`);
    const node = this.#nodes.find(request.nodeName);
    const server = this.#running();
    if (server.exports().some((exported) => exported.name === name)) {
      throw commandError(`NBD server already has export named '${name}'`);
    }
    if (request.writable && node.info.readOnly) {
      throw commandError(`Cannot export node '${node.name}' writable: it is read-only`);
    }
    const exported = server.addExport({
      name,
      node,
      writable: request.writable,
      writethrough: request.writethrough,
      bitmaps: request.bitmaps.map((bitmap) => this.#bitmapName(node, bitmap, request.writable)),
      allocationDepth: request.allocationDepth,
      ...(request.description === undefined ? {} : { description: request.description }),
    });
    this.#entries.set(id, { id, exported, isShuttingDown: false });
  }

  /**
   * Hangs up on its clients and removes it. Returns when it is gone; or, after a second, while requests are in flight still:
   * then it is listed as shutting down until they have ended.
   *
   * @throws QmpError when there is none, or with mode `safe` when a client uses it.
   */
  async remove(id: string, mode: BlockType<"BlockExportRemoveMode"> = "safe"): Promise<void> {
    const entry = this.#entries.get(id);
    if (entry === undefined || entry.isShuttingDown) throw commandError(`Export '${id}' is not found`);
    if (mode === "safe" && entry.exported.clientCount > 0) throw commandError(`export '${id}' still in use`);
    entry.isShuttingDown = true;
    const removal = this.#remove(entry);
    this.#removals.add(removal);
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<"late">((resolve) => (timer = setTimeout(resolve, REMOVAL_MS, "late")));
    try {
      // Of what goes wrong later nobody else would hear.
      if ((await Promise.race([removal, patience])) === "late") removal.catch(this.#onError);
    } finally {
      clearTimeout(timer);
      void removal.finally(() => this.#removals.delete(removal)).catch(() => undefined);
    }
  }

  async #remove(entry: ExportEntry): Promise<void> {
    try {
      await this.#server?.removeExport(entry.exported.name, "hard");
    } finally {
      this.#forget(entry);
      await this.#nodes.releaseUnused();
    }
  }

  /** Newest first. */
  list(): BlockType<"BlockExportInfo">[] {
    return [...this.#entries.values()].toReversed().map(({ id, exported, isShuttingDown }) => ({
      id,
      type: "nbd",
      "node-name": exported.node.name,
      "shutting-down": isShuttingDown,
    }));
  }

  /** Ends the server for good, if it runs, or starts, or is being stopped. */
  async close(): Promise<void> {
    this.#isEnding = true;
    // What comes of it is told to whoever asked for it.
    await this.#changing?.catch(() => undefined);
    if (this.#server !== undefined) await this.stop();
  }

  async #change(work: () => Promise<void>): Promise<void> {
    this.#changing = work();
    try {
      await this.#changing;
    } finally {
      this.#changing = undefined;
    }
  }

  #forget({ id }: ExportEntry): void {
    if (this.#entries.delete(id)) this.#onDeleted(id);
  }

  #running(): NbdServer {
    if (this.#server === undefined) throw commandError("NBD server not running");
    return this.#server;
  }

  /** The server looks for bitmaps on the node and its backing chain. */
  #bitmapName(node: BlockNode, bitmap: string | BlockType<"BlockDirtyBitmap">, writable: boolean): string {
    const name = typeof bitmap === "string" ? bitmap : bitmap.name;
    if (typeof bitmap !== "string") requireBitmap(this.#nodes.find(bitmap.node), name);
    for (let at: BlockNode | undefined = node; at !== undefined; at = below(at)) {
      const found = findBitmap(at, name);
      if (found === undefined) continue;
      // Who reads the disk and the bitmap together must be able to trust that neither changes.
      if (!writable && found.enabled) {
        throw commandError(`Enabled bitmap '${name}' incompatible with readonly export`);
      }
      return name;
    }
    throw commandError(`Bitmap '${name}' is not found`);
  }
}

/** @throws BlockError what the last of them met, or the first that failed for another reason than being taken. */
async function listenAtFirstFree(server: NbdServer, [first, ...others]: ListenChoices): Promise<void> {
  try {
    await server.listen(first);
  } catch (error) {
    const [second, ...rest] = others;
    const isTaken = error instanceof BlockError && error.code === "EBUSY";
    if (!isTaken || second === undefined) throw error;
    await listenAtFirstFree(server, [second, ...rest]);
  }
}

function below(node: BlockNode): BlockNode | undefined {
  return (node.child("filtered") ?? node.child("backing"))?.node;
}
