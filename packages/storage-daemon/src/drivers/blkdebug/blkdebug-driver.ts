import { readFile } from "node:fs/promises";
import {
  BlockError,
  DRIVER_CONTRACT_VERSION,
  option,
  optionSchema,
  type BlockDriver,
  type ChildReference,
} from "@blockmirror/block-driver";
import { BlkdebugDevice, type BlkdebugLimits } from "./blkdebug-device.ts";
import { parseConfigFile } from "./config-file.ts";
import { injectErrorRule, setStateRule, type RuleMembers } from "./parse-rules.ts";
import { BlkdebugRules, type BlkdebugRuleSet, type InjectErrorRule, type SetStateRule } from "./rules.ts";

/** Options of the `blkdebug` driver. */
export interface BlkdebugOptions extends BlkdebugLimits {
  /** The node to disturb. */
  readonly image: ChildReference;
  /** A file with rules, which come before those given here. */
  readonly config: string | undefined;
  readonly injectError: readonly InjectErrorRule[];
  readonly setState: readonly SetStateRule[];
}

/** Limits are below what fits into a signed number of 32 bits. */
const LIMIT_BOUNDS = { min: 0, max: 2 ** 31 - 2 };

/**
 * QEMU's `blkdebug`: a filter that fails requests by event, kind, sector and state, and that has the alignments and limits
 * it is told to have.
 */
export const blkdebugDriver: BlockDriver<BlkdebugOptions> = {
  name: "blkdebug",
  kind: "filter",
  contractVersion: DRIVER_CONTRACT_VERSION,
  options: optionSchema({
    image: option.child("the node to disturb"),
    config: option.optionalString("a file with rules"),
    align: option.integer("alignment of requests; a power of two, 0 = none", 0, LIMIT_BOUNDS),
    maxTransfer: option.integer("largest read or write; 0 = no limit", 0, LIMIT_BOUNDS),
    optWriteZero: option.integer("alignment of zero requests; 0 = none", 0, LIMIT_BOUNDS),
    maxWriteZero: option.integer("largest zero request; 0 = no limit", 0, LIMIT_BOUNDS),
    optDiscard: option.integer("alignment of discards; 0 = none", 0, LIMIT_BOUNDS),
    maxDiscard: option.integer("largest discard; 0 = no limit", 0, LIMIT_BOUNDS),
    injectError: option.json("errors to inject", (value) => rules(value, injectErrorRule)),
    setState: option.json("changes of state", (value) => rules(value, setStateRule)),
  }),
  async open(options, context) {
    checkLimits(options);
    const filed: BlkdebugRuleSet =
      options.config === undefined ? { errors: [], states: [] } : await readConfigFile(options.config);
    const child = await context.openChild(options.image, "filtered");
    const all = new BlkdebugRules({
      errors: [...filed.errors, ...options.injectError],
      states: [...filed.states, ...options.setState],
    });
    return new BlkdebugDevice(child, all, options);
  },
};

function rules<Rule>(value: unknown, parse: (members: RuleMembers) => Rule): readonly Rule[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new Error("must be a list of rules");
  return value.map((rule: unknown) => {
    if (typeof rule !== "object" || rule === null) throw new Error("must be a list of rules");
    return parse(Object.fromEntries(Object.entries(rule)));
  });
}

/** @throws BlockError `EINVAL` when limits contradict each other. */
function checkLimits(limits: BlkdebugLimits): void {
  const { align, optWriteZero, optDiscard } = limits;
  const mustBeMultiple = (name: string, value: number, ...units: readonly number[]): void => {
    if (units.some((unit) => unit !== 0 && value % unit !== 0)) throw cannotMeet(name, value);
  };
  if (align !== 0 && !Number.isInteger(Math.log2(align))) throw cannotMeet("align", align);
  mustBeMultiple("max-transfer", limits.maxTransfer, align);
  mustBeMultiple("opt-write-zero", optWriteZero, align);
  mustBeMultiple("max-write-zero", limits.maxWriteZero, align, optWriteZero);
  mustBeMultiple("opt-discard", optDiscard, align);
  mustBeMultiple("max-discard", limits.maxDiscard, align, optDiscard);
}

function cannotMeet(name: string, value: number): BlockError {
  return new BlockError("EINVAL", `Cannot meet constraints with ${name} ${value}`, { operation: "open" });
}

/** @throws BlockError `EINVAL` naming the file. */
async function readConfigFile(path: string): Promise<BlkdebugRuleSet> {
  try {
    return parseConfigFile(await readFile(path, "utf8"));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new BlockError("EINVAL", `Could not read blkdebug config file ${path}: ${why}`, {
      operation: "open",
      cause: error,
    });
  }
}
