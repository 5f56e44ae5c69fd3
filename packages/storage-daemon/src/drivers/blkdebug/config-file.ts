import { injectErrorRule, setStateRule } from "./parse-rules.ts";
import type { BlkdebugRuleSet, InjectErrorRule, SetStateRule } from "./rules.ts";

type ValueType = "word" | "number" | "switch";

/** What may be said of a rule in each kind of group. */
const GROUPS: Readonly<Record<string, Readonly<Record<string, ValueType>>>> = {
  "inject-error": {
    id: "word",
    event: "word",
    state: "number",
    iotype: "word",
    errno: "number",
    sector: "number",
    once: "switch",
    immediately: "switch",
  },
  "set-state": { id: "word", event: "word", state: "number", new_state: "number" },
};

const IDENTIFIER = /^[A-Za-z][A-Za-z0-9._-]*$/;

/** `[group]` or `[group "id"]`, from the first column on; what follows the bracket is not looked at. */
const HEADER = /^\[(?:(?<named>[^\s"\]]+) "(?<id>[^"\]]+)"|(?<plain>[^\]]*))\]/;

/** `key = "value"`; what follows the value is not looked at. */
const ENTRY = /^\s*(?<key>\S+)\s*(?:=\s*"(?<value>[^"]*)")?/;

/** A group of the file: one rule. */
interface Group {
  readonly kind: string;
  readonly line: number;
  readonly members: Record<string, unknown>;
}

/**
 * Reads the rules of a configuration file: groups `[inject-error]` and `[set-state]`, each with lines `key = "value"`, and
 * lines that begin with `#`.
 *
 * @throws Error that names the line and says what is wrong with it.
 */
export function parseConfigFile(text: string): BlkdebugRuleSet {
  const errors: InjectErrorRule[] = [];
  const states: SetStateRule[] = [];
  for (const { kind, line, members } of groupsOf(text)) {
    at(line, () => {
      if (kind === "set-state") states.push(setStateRule(members));
      else errors.push(injectErrorRule(members));
    });
  }
  return { errors, states };
}

function groupsOf(text: string): Group[] {
  const groups: Group[] = [];
  const ids = new Set<string>();
  for (const [index, line] of text.split("\n").entries()) {
    if (line === "" || line.startsWith("#")) continue;
    at(index + 1, () => {
      const group = groups.at(-1);
      if (line.startsWith("[")) groups.push(openGroup(line, index + 1, ids));
      else if (group === undefined) throw new Error("comes before the first group");
      else readEntry(line, group);
    });
  }
  return groups;
}

function openGroup(line: string, number: number, ids: Set<string>): Group {
  const { named, id, plain } = HEADER.exec(line)?.groups ?? {};
  const kind = named ?? plain ?? line;
  if (!Object.hasOwn(GROUPS, kind)) throw new Error(`there is no group '${kind}'`);
  if (id !== undefined) {
    if (!IDENTIFIER.test(id)) throw new Error(`'${id}' is no identifier`);
    if (ids.has(`${kind} ${id}`)) throw new Error(`there is a group '${id}' already`);
    ids.add(`${kind} ${id}`);
  }
  return { kind, line: number, members: {} };
}

function readEntry(line: string, { kind, members }: Group): void {
  const { key, value } = ENTRY.exec(line)?.groups ?? {};
  if (key === undefined) throw new Error("is neither a group nor an entry");
  const type = Object.hasOwn(GROUPS[kind] ?? {}, key) ? GROUPS[kind]?.[key] : undefined;
  if (type === undefined) throw new Error(`group '${kind}' has no '${key}'`);
  if (value === undefined) throw new Error(`'${key}' needs a value: ${key} = "..."`);
  members[key] = valueOf(type, key, value);
}

function valueOf(type: ValueType, key: string, text: string): unknown {
  switch (type) {
    case "word":
      return text;
    case "number":
      return numberOf(key, text);
    case "switch":
      return switchOf(key, text);
  }
}

/** Decimal, hexadecimal with `0x` and octal with `0`, as in C. */
function numberOf(key: string, text: string): number {
  const [, sign, digits = ""] = /^\s*([+-]?)(0x[0-9a-f]+|\d+)$/i.exec(text) ?? [];
  const value = /^0[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number(digits);
  if (digits === "" || /^0\d*[89]/.test(digits)) throw new Error(`'${key}' expects a number`);
  if (!Number.isSafeInteger(value)) throw new Error(`'${key}' is too large: at most 2^53-1`);
  return sign === "-" ? -value : value;
}

function switchOf(key: string, text: string): boolean {
  if (["on", "yes", "true", "y"].includes(text)) return true;
  if (["off", "no", "false", "n"].includes(text)) return false;
  throw new Error(`'${key}' expects on or off`);
}

function at(line: number, run: () => void): void {
  try {
    run();
  } catch (error) {
    throw new Error(`line ${line}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}
