import { ThrottleDevice, type BlockNode } from "@blockmirror/block-driver";
import { commandError, isJsonObject, stringify, type JsonObject, type JsonValue } from "@blockmirror/qmp";
import { backingChain } from "./node-info.ts";
import { zeroDetection } from "./node-options.ts";
import type { NodeChange, NodeStore } from "./node-store.ts";

/** Options that may differ: they have no effect, or changing them is what reopening is for. */
const FREE: ReadonlySet<string> = new Set([
  "node-name",
  "driver",
  "read-only",
  "auto-read-only",
  "force-share",
  "discard",
  "cache",
  "detect-zeroes",
  "backing",
  "throttle-group",
]);

/** One change that was made, and how it is taken back. */
interface Change {
  readonly apply: () => Promise<void>;
  readonly undo: () => Promise<void>;
}

/**
 * Changes the options of nodes that are in use: `read-only`, `backing`, `detect-zeroes` and `throttle-group`. All nodes or
 * none: everything is checked first, and when a later node cannot be changed, those before it get back what they had.
 *
 * @throws QmpError of class `GenericError`, or BlockError.
 */
export async function reopenNodes(nodes: NodeStore, all: readonly JsonObject[]): Promise<void> {
  const change = nodes.beginChange();
  try {
    await applyAll(all.flatMap((options) => changesOf(nodes, change, options)));
  } finally {
    change.end();
  }
  for (const options of all) nodes.renew(options);
}

async function applyAll(changes: readonly Change[]): Promise<void> {
  const done: Change[] = [];
  try {
    for (const change of changes) {
      await change.apply();
      done.push(change);
    }
  } catch (error) {
    // What cannot be put back says less than what went wrong.
    for (const change of done.toReversed()) await change.undo().catch(() => undefined);
    throw error;
  }
}

function changesOf(nodes: NodeStore, change: NodeChange, options: JsonObject): Change[] {
  const name = options["node-name"];
  if (typeof name !== "string") throw commandError("node-name not specified");
  const node = nodes.graph.find(name);
  if (node === undefined) throw commandError(`Failed to find node with node-name='${name}'`);
  checkUnchanged(nodes, node, options);
  return [
    ...backingChange(nodes, node, options["backing"]),
    ...groupChange(change, node, options["throttle-group"]),
    ...modeChange(nodes, node, options["read-only"]),
    // Whether discards free space stays as it was unless it is said again.
    ...zeroDetectionChange(node, { discard: nodes.record(node)?.options["discard"], ...options }),
  ];
}

/** Refuses a change of what cannot be changed while a node is in use. */
function checkUnchanged(nodes: NodeStore, node: BlockNode, options: JsonObject): void {
  const record = nodes.record(node)?.options ?? {};
  if ((record["driver"] ?? node.info.driver) !== options["driver"]) throw cannotChange("driver");
  for (const [option, value] of Object.entries(options)) {
    if (FREE.has(option) || value === undefined) continue;
    if (option === "file" || option === "data-file") {
      checkChild(node, option, value, record[option]);
    } else if (stringify(value) !== stringify(record[option] ?? null)) {
      throw cannotChange(option);
    }
  }
}

/** A child may be given by its name, or as it was given before. */
function checkChild(node: BlockNode, option: string, value: JsonValue, before: JsonValue | undefined): void {
  const child = (option === "file" ? (node.child("file") ?? node.child("filtered")) : node.child("data"))
    ?.node;
  if (typeof value === "string") {
    if (child?.name !== value) throw cannotChange(option);
  } else if (isJsonObject(value)) {
    const known = isJsonObject(before) ? before : {};
    for (const [name, member] of Object.entries(value)) {
      if (FREE.has(name) && name !== "driver") continue;
      if (member !== undefined && stringify(member) !== stringify(known[name] ?? null)) {
        throw cannotChange(`${option}.${name}`);
      }
    }
  }
}

function cannotChange(option: string): Error {
  return commandError(`Cannot change the option '${option}'`);
}

function backingChange(nodes: NodeStore, node: BlockNode, backing: JsonValue | undefined): Change[] {
  const before = node.child("backing")?.node ?? null;
  if (backing === undefined) {
    // Opened with what its image names, it would be asked to guess whether that is to stay.
    if (before !== null) throw commandError(`backing is missing for '${node.name}'`);
    return [];
  }
  if (isJsonObject(backing)) throw cannotChange("backing.driver");
  const after = typeof backing === "string" ? nodes.find(backing) : null;
  if (after === before) return [];
  if (after !== null && backingChain(after).includes(node)) {
    throw commandError(`Making '${after.name}' a backing child of '${node.name}' would create a cycle`);
  }
  return [
    {
      apply: () => nodes.graph.setBacking(node, after),
      undo: () => nodes.graph.setBacking(node, before),
    },
  ];
}

function zeroDetectionChange(node: BlockNode, options: JsonObject): Change[] {
  const after = zeroDetection(options);
  const before = node.detectZeroes;
  const set = async (value: typeof after): Promise<void> => {
    node.detectZeroes = value;
  };
  return after === before ? [] : [{ apply: () => set(after), undo: () => set(before) }];
}

/** Requests that wait in the group go on waiting in the other one. */
function groupChange(change: NodeChange, node: BlockNode, name: JsonValue | undefined): Change[] {
  const { device } = node;
  if (!(device instanceof ThrottleDevice) || typeof name !== "string") return [];
  const before = change.keepGroup(device.group);
  const after = change.context.throttleGroup(name);
  const move = async (group: typeof after): Promise<void> => device.moveTo(group);
  return [{ apply: () => move(after), undo: () => move(before) }];
}

function modeChange(nodes: NodeStore, node: BlockNode, given: JsonValue | undefined): Change[] {
  const readOnly = given === true;
  if (node.info.readOnly === readOnly) return [];
  return [
    {
      apply: () => nodes.graph.reopen(node, { readOnly }),
      undo: () => nodes.graph.reopen(node, { readOnly: !readOnly }),
    },
  ];
}
