import type { ChildRole, DeviceEvent, DriverKind } from "../contract/driver.ts";
import type {
  BlockChild,
  BlockDevice,
  Borrower,
  DeviceInfo,
  IoOptions,
  ResizeOptions,
  StatusOptions,
  WriteOptions,
  ZeroOptions,
} from "../contract/device.ts";
import type { ExtentList } from "../contract/extents.ts";
import type { IoVec, MaybePromise } from "../contract/io.ts";
import { BlockError } from "../errors.ts";
import { NodeRequests } from "./node-requests.ts";
import type { Permission } from "../contract/permissions.ts";
import { hasPermission, permissionMask, type PermissionClaim } from "./permissions.ts";

/** What the graph makes a node from. */
export interface NodeInit {
  readonly name: string;
  readonly kind: DriverKind;
  /** Opened by name for a user, rather than inline for a parent: closed only when the user says so. */
  readonly owned: boolean;
  /** Called whenever the last request in flight has ended. */
  readonly onIdle: () => void;
  /** Called when the device reports something outside any request. */
  readonly onEvent: (event: DeviceEvent) => void;
}

/**
 * A vertex of the block graph: it owns one device, knows its parents and children, tracks the requests in flight and
 * holds the dirty bitmaps. I/O goes through a {@link BlockEdge}.
 */
export class BlockNode extends NodeRequests {
  readonly kind: DriverKind;
  readonly owned: boolean;
  /** Edges of everybody who uses this node. */
  readonly parents: ReadonlySet<BlockEdge>;
  /** Edges to this node's children. */
  readonly children: ReadonlySet<BlockEdge>;
  readonly #parents = new Set<BlockEdge>();
  readonly #children = new Set<BlockEdge>();
  /** Drained sections that wait for requests in this node. */
  #drains = 0;

  constructor(init: NodeInit) {
    super(init.name, init.onIdle, init.onEvent);
    this.kind = init.kind;
    this.owned = init.owned;
    this.parents = this.#parents;
    this.children = this.#children;
  }

  /** The child of that role, if there is one. */
  child(role: ChildRole): BlockEdge | undefined {
    for (const edge of this.#children) if (edge.role === role) return edge;
    return undefined;
  }

  /** The graph's part; a device that comes while the node is drained is told so. */
  override own(device: BlockDevice, readOnly: boolean): void {
    super.own(device, readOnly);
    if (this.#drains > 0) device.setDrained?.(true);
  }

  /** The graph's part: somebody waits for the requests in this node. */
  beginDrain(): void {
    this.#drains += 1;
    if (this.#drains === 1 && this.isOpen) this.device.setDrained?.(true);
  }

  /** The graph's part: once for each {@link beginDrain}. */
  endDrain(): void {
    this.#drains -= 1;
    if (this.#drains === 0 && this.isOpen) this.device.setDrained?.(false);
  }

  /** The graph's part: records an edge on its node or its owner. */
  link(edge: BlockEdge, side: "parent" | "child"): void {
    (side === "parent" ? this.#parents : this.#children).add(edge);
  }

  /** The graph's part: forgets an edge. */
  unlink(edge: BlockEdge, side: "parent" | "child"): void {
    (side === "parent" ? this.#parents : this.#children).delete(edge);
  }
}

/** What a parent is told of a drained section that begins. */
export interface DrainNotice {
  /**
   * The section belongs to somebody who is in the middle of changing the graph: see `BlockGraph.changing`. A parent that is in
   * the middle of a change itself says that it is quiet as soon as it submits nothing, or the two would wait for each other.
   */
  readonly duringChange: boolean;
}

/**
 * Who attaches to a node: an export, a job, a program. Names appear in refusals, so make them tell:
 * `export 'disk'`, `mirror job 'm0'`.
 */
export interface ParentInit extends PermissionClaim {
  readonly name: string;
  /**
   * A parent with drain callbacks promises to be quiet between them by itself: `onDrainBegin` settles when it submits
   * nothing more and has nothing half done, no change of the graph either. Requests of a parent without them are held back by the edge instead.
   */
  readonly onDrainBegin?: (section: DrainNotice) => MaybePromise<void>;
  readonly onDrainEnd?: () => void;
}

/** How the graph holds back requests while a node is drained. */
export interface DrainGate {
  /** Undefined when requests may pass; otherwise settles when they may try again. */
  admission(node: BlockNode): Promise<void> | undefined;
}

/**
 * A parent's handle on a node, and the only way to do I/O. It follows the graph: after a replacement it leads to the new
 * node, and while the node is drained its requests wait in order.
 *
 * Operations answer synchronously when the device below does, and may throw as well as reject. Offsets and lengths are
 * bytes inside the node's size; anything else is refused with `EINVAL` before any effect. Errors are {@link BlockError}.
 */
export class BlockEdge implements BlockChild {
  /** Name of the parent, for messages. */
  readonly parentName: string;
  /** The node that owns this edge as a child; undefined for users from outside the graph. */
  readonly owner: BlockNode | undefined;
  /** What the child is to its owner; undefined for users from outside the graph. */
  readonly role: ChildRole | undefined;
  readonly onDrainBegin: ((section: DrainNotice) => MaybePromise<void>) | undefined;
  readonly onDrainEnd: (() => void) | undefined;
  readonly #gate: DrainGate;
  #node: BlockNode;
  /** The most this edge shares, in bits: a filter shares what its parents share, within this. The graph's to change. */
  sharesAtMost: number;
  #uses: number;
  #shares: number;
  #isRetired = false;

  /** Edges are made by the graph: see `BlockGraph.attach`. */
  constructor(
    node: BlockNode,
    init: ParentInit,
    gate: DrainGate,
    child?: { readonly owner: BlockNode; readonly role: ChildRole },
  ) {
    this.#node = node;
    this.#gate = gate;
    this.parentName = init.name;
    this.owner = child?.owner;
    this.role = child?.role;
    this.onDrainBegin = init.onDrainBegin;
    this.onDrainEnd = init.onDrainEnd;
    this.#uses = permissionMask(init.uses);
    this.#shares = permissionMask(init.shares);
    this.sharesAtMost = this.#shares;
  }

  /** The node this edge leads to now. */
  get node(): BlockNode {
    return this.#node;
  }

  get info(): DeviceInfo {
    return this.#node.info;
  }

  /** Permissions in use, in bits of `permissions.ts`. */
  get uses(): number {
    return this.#uses;
  }

  /** Permissions tolerated from others, in bits of `permissions.ts`. */
  get shares(): number {
    return this.#shares;
  }

  /** Reads exactly the vector's length. */
  read(offset: number, into: IoVec, options?: IoOptions): MaybePromise<void> {
    const wait = this.#admission(undefined);
    if (wait !== undefined) return wait.then(() => this.read(offset, into, options));
    return this.#node.read(offset, into, options);
  }

  /** Writes exactly the vector's length. The buffers stay unchanged until it settles. */
  write(offset: number, from: IoVec, options?: WriteOptions): MaybePromise<void> {
    const wait = this.#admission(this.#writing());
    if (wait !== undefined) return wait.then(() => this.write(offset, from, options));
    return this.#node.write(offset, from, options);
  }

  /** Makes the range read as zeroes; emulated by writing where the device cannot, unless `noFallback`. */
  writeZeroes(offset: number, length: number, options?: ZeroOptions): MaybePromise<void> {
    const wait = this.#admission(this.#writing());
    if (wait !== undefined) return wait.then(() => this.writeZeroes(offset, length, options));
    return this.#node.writeZeroes(offset, length, options);
  }

  /** Says that the content is not needed any more; does nothing where the device has no discard. */
  discard(offset: number, length: number, options?: IoOptions): MaybePromise<void> {
    const wait = this.#admission("write");
    if (wait !== undefined) return wait.then(() => this.discard(offset, length, options));
    return this.#node.discard(offset, length, options);
  }

  /** Makes every write that settled before durable. */
  flush(options?: IoOptions): MaybePromise<void> {
    const wait = this.#admission(undefined);
    if (wait !== undefined) return wait.then(() => this.flush(options));
    return this.#node.flush(options);
  }

  /** Changes the node's size; needs the `resize` permission. */
  async resize(size: number, options?: ResizeOptions): Promise<void> {
    for (let wait = this.#admission("resize"); wait !== undefined; wait = this.#admission("resize"))
      await wait;
    await this.#node.resize(size, options);
  }

  /** Describes the range as this one layer sees it. See `resolveStatus` for the whole chain. */
  status(offset: number, length: number, extents: ExtentList, options?: StatusOptions): MaybePromise<void> {
    const wait = this.#admission(undefined);
    if (wait !== undefined) return wait.then(() => this.status(offset, length, extents, options));
    return this.#node.status(offset, length, extents, options);
  }

  /**
   * Copies from another node where the storage of both can, without moving the bytes through this process: it may share
   * space instead of copying it. Returns the bytes copied from the start of the range, 0 when it cannot be done like this;
   * whoever asks reads and writes the rest. What was not reported as copied has unknown content afterwards, as after a
   * failed write. It rejects as a read or a write would.
   */
  copyFrom(offset: number, source: BlockEdge, sourceOffset: number, length: number): MaybePromise<number> {
    // Both are admitted at one instant: a request that waits for one and is in flight on the other could make a drain of
    // both wait for ever.
    const wait = this.#admission(this.#writing()) ?? source.#admission(undefined);
    if (wait !== undefined) return wait.then(() => this.copyFrom(offset, source, sourceOffset, length));
    return this.#node.copyFrom(offset, source.#node, sourceOffset, length);
  }

  /** For devices that pass a copy on to what is below them: see `BlockDevice.copyRange`. Users call {@link copyFrom}. */
  copyRange(
    offset: number,
    storage: BlockDevice,
    sourceOffset: number,
    length: number,
  ): MaybePromise<number> {
    const wait = this.#admission(this.#writing());
    if (wait !== undefined) return wait.then(() => this.copyRange(offset, storage, sourceOffset, length));
    return this.#node.copyRange(offset, storage, sourceOffset, length);
  }

  /** For devices that lend what is below them: see `BlockDevice.lend`. */
  lend(offset: number, length: number, borrow: Borrower): MaybePromise<number> {
    const wait = this.#admission(undefined);
    if (wait !== undefined) return wait.then(() => this.lend(offset, length, borrow));
    return this.#node.lend(offset, length, borrow);
  }

  /** Called by the graph inside a drained section; nobody else moves edges. */
  moveTo(node: BlockNode): void {
    this.#node = node;
  }

  /** Called by the graph when the claim changes. */
  reclaim(uses: number, shares: number): void {
    this.#uses = uses;
    this.#shares = shares;
  }

  /** Called by the graph when the edge is gone: its claim counts no more, so it must do nothing any more. */
  retire(): void {
    this.#isRetired = true;
  }

  /**
   * Checks that the request may be made at all, and holds it back while the node is drained. Requests of nodes are never
   * held back: they serve requests that were admitted above, which the drain waits for.
   */
  #admission(permission: Permission | undefined): Promise<void> | undefined {
    if (this.#isRetired) {
      throw new BlockError(
        "ESHUTDOWN",
        `${this.parentName} is not attached to node '${this.#node.name}' any more`,
        { node: this.#node.name },
      );
    }
    if (permission !== undefined) this.#demand(permission);
    if (this.owner !== undefined || this.onDrainBegin !== undefined) return undefined;
    return this.#gate.admission(this.#node);
  }

  /** Who may only write what is there already is trusted to do that. */
  #writing(): Permission {
    return hasPermission(this.#uses, "write-unchanged") ? "write-unchanged" : "write";
  }

  /** What a filter passes on was demanded of its own parents, one of whom may have left since. */
  #demand(permission: Permission): void {
    if (this.role === "filtered") return;
    if (!hasPermission(this.#uses, permission)) {
      throw new TypeError(`${this.parentName} has not claimed '${permission}' on node '${this.#node.name}'`);
    }
  }
}
