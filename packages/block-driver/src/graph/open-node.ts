import type { ChildRole, OpenContext } from "../contract/driver.ts";
import type { BlockChild, BlockDevice } from "../contract/device.ts";
import type { ChildReference, DeviceSpec, ZeroDetection } from "../contract/options.ts";
import type { Permission } from "../contract/permissions.ts";
import { BlockError } from "../errors.ts";
import { checkDevice } from "./check-device.ts";
import { childClaim } from "./claims.ts";
import { askGate } from "./gate.ts";
import { BlockEdge, type BlockNode } from "./node.ts";
import { attachStoredBitmaps } from "./stored-bitmaps.ts";
import type { GraphStructure } from "./structure.ts";

/** Who opens a node and how. */
export interface OpenHow {
  readonly owned: boolean;
  readonly readOnly: boolean;
  readonly depth: number;
  readonly signal?: AbortSignal;
}

/**
 * Opens a node and the children its spec describes. Nothing stays open after a failure.
 * @throws BlockError whatever the driver meets, or `ESHUTDOWN` when the graph was closed meanwhile.
 */
export async function openNode(
  structure: GraphStructure,
  spec: DeviceSpec,
  how: OpenHow,
): Promise<BlockNode> {
  const driver = structure.registry.get(spec.driver);
  const readOnly = spec.readOnly ?? how.readOnly;
  const detectZeroes = zeroDetection(spec);
  const node = structure.makeNode(spec.nodeName ?? structure.generateName(), driver.kind, how.owned);
  node.detectZeroes = detectZeroes;
  structure.openedFrom.set(node, { spec, depth: how.depth });
  const attached: BlockEdge[] = [];
  try {
    const device = await openDevice(structure, node, { spec, readOnly, ...depthAndSignal(how) }, attached);
    node.own(device, readOnly);
    if (structure.nodes.get(node.name) !== node) throw closedMeanwhile(node);
    checkDevice(node, structure.nodes.values());
    await attachStoredBitmaps(node);
    return node;
  } catch (error) {
    if (structure.nodes.get(node.name) === node) structure.nodes.delete(node.name);
    // What closing may meet on top says less than why the opening failed.
    await node.shut().catch(() => {});
    for (const edge of attached) await structure.unlinkChild(edge).catch(() => {});
    throw error;
  }
}

/** A spec may come from JSON, whatever its type says. */
function zeroDetection({ driver, nodeName, detectZeroes = "off" }: DeviceSpec): ZeroDetection {
  if (["off", "on", "unmap"].includes(detectZeroes)) return detectZeroes;
  throw new BlockError(
    "EINVAL",
    `node '${nodeName ?? driver}': option 'detectZeroes' must be off, on or unmap, not ${JSON.stringify(detectZeroes)}`,
  );
}

/** What a device is opened from. */
export interface DeviceOpening {
  readonly spec: DeviceSpec;
  readonly readOnly: boolean;
  readonly depth: number;
  readonly signal?: AbortSignal;
}

/**
 * Has the driver open a device for `node`. Children that the node has already are used as they are; others are opened,
 * and their edges added to `attached` for the caller to take away if it fails.
 */
export async function openDevice(
  structure: GraphStructure,
  node: BlockNode,
  how: DeviceOpening,
  attached: BlockEdge[],
): Promise<BlockDevice> {
  const { spec, readOnly } = how;
  const signal = how.signal === undefined ? {} : { signal: how.signal };
  const present = new Set(node.children);
  const takePresent = (role: ChildRole): BlockEdge | undefined => {
    for (const edge of present) if (edge.role === role && present.delete(edge)) return edge;
    return undefined;
  };
  const addChild = async (
    reference: ChildReference,
    role: ChildRole,
    depth: number,
    shares?: readonly Permission[],
  ): Promise<BlockChild> => {
    const childReadOnly = readOnly || role === "backing";
    const child = await resolveReference(structure, reference, { readOnly: childReadOnly, depth, ...signal });
    if (structure.nodes.get(node.name) !== node) {
      if (!child.owned) await structure.closeIfUnused(child);
      throw closedMeanwhile(node);
    }
    const edge = new BlockEdge(
      child,
      {
        name: `node '${node.name}'`,
        ...childClaim(role, readOnly),
        ...(shares === undefined ? {} : { shares }),
      },
      structure.sections,
      { owner: node, role },
    );
    try {
      attached.push(structure.link(edge));
    } catch (error) {
      if (!child.owned) await structure.closeIfUnused(child);
      throw error;
    }
    return edge;
  };
  const context: OpenContext = {
    nodeName: node.name,
    readOnly,
    ...signal,
    openChild: async (reference, role, shares) =>
      takePresent(role) ?? addChild(reference, role, how.depth, shares),
    openImplicit: async (reference, role) => {
      const already = takePresent(role);
      if (already !== undefined) return already;
      const depth = how.depth + 1;
      const allowed = await askGate(structure.gate, node, {
        reference,
        role,
        depth,
        writable: !readOnly && role !== "backing",
      });
      return addChild(allowed, role, depth);
    },
    report: (event) => node.report(event),
    beginWork: () => node.beginWork(),
  };
  return structure.registry.get(spec.driver).open(spec, context);
}

/** The open node of that name, or a new one by its spec. */
export async function resolveReference(
  structure: GraphStructure,
  reference: ChildReference,
  how: Omit<OpenHow, "owned">,
): Promise<BlockNode> {
  if (typeof reference !== "string") return openNode(structure, reference, { ...how, owned: false });
  const node = structure.nodes.get(reference);
  if (node === undefined) throw new BlockError("EINVAL", `there is no node named '${reference}'`);
  if (!node.isOpen) {
    throw new BlockError("EINVAL", `node '${reference}' is still being opened and cannot be a child yet`);
  }
  return node;
}

function depthAndSignal({ depth, signal }: OpenHow): {
  readonly depth: number;
  readonly signal?: AbortSignal;
} {
  return signal === undefined ? { depth } : { depth, signal };
}

function closedMeanwhile(node: BlockNode): BlockError {
  return new BlockError("ESHUTDOWN", `node '${node.name}' was closed while it was being opened`, {
    node: node.name,
    operation: "open",
  });
}
