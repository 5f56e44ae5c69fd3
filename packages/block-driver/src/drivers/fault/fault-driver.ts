import { DRIVER_CONTRACT_VERSION, type BlockDriver } from "../../contract/driver.ts";
import { option, optionSchema, type ChildReference } from "../../contract/options.ts";
import { FaultController } from "./fault-controller.ts";
import { FaultDevice } from "./fault-device.ts";
import { ActiveRule, type FaultRule } from "./rules.ts";

/** Options of the `fault` driver. */
export interface FaultOptions {
  /** The node to disturb. */
  readonly file: ChildReference;
  /** Rules as JSON; see {@link FaultRule}. Programs give a `controller` instead. */
  readonly rules: readonly FaultRule[];
  /** Seed of the rules' probabilities. */
  readonly seed: number;
  /** The handle that the program keeps; its rules come before `rules`. */
  readonly controller: FaultController | undefined;
}

/**
 * A filter that fails, delays, cuts short or holds requests by rule, and logs them: for tests of everything above it.
 */
export const faultDriver: BlockDriver<FaultOptions> = {
  name: "fault",
  kind: "filter",
  contractVersion: DRIVER_CONTRACT_VERSION,
  options: optionSchema({
    file: option.child("the node to disturb"),
    rules: option.json("what to do to which requests", parseRules),
    seed: option.integer("seed of the rules' probabilities", 1),
    controller: option.json("the handle that the program keeps", parseController),
  }),
  async open(options, context) {
    const controller = options.controller ?? new FaultController({ seed: options.seed });
    for (const rule of options.rules) controller.add(rule);
    return new FaultDevice(await context.openChild(options.file, "filtered"), controller);
  },
};

const RULE_KEYS: ReadonlySet<string> = new Set<keyof FaultRule>([
  "operation",
  "offset",
  "length",
  "nth",
  "times",
  "probability",
  "state",
  "newState",
  "error",
  "transferred",
  "delayMs",
  "hold",
]);

function parseRules(value: unknown): readonly FaultRule[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new Error("must be a list of rules");
  return value.map((rule: unknown) => {
    if (!isRule(rule)) throw new Error(`has a rule that is none: ${JSON.stringify(rule)}`);
    // Made once to check its values before anything is opened.
    return new ActiveRule(rule).rule;
  });
}

/** Names only: the values are checked by making the rule. */
function isRule(value: unknown): value is FaultRule {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    Object.keys(value).every((key) => RULE_KEYS.has(key))
  );
}

function parseController(value: unknown): FaultController | undefined {
  if (value === undefined || value instanceof FaultController) return value;
  throw new Error("must be a FaultController");
}
