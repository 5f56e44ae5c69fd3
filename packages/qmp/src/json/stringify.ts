/** What JSON.stringify leaves as it is and QMP does not: everything beyond printable ASCII. */
const NOT_ASCII = /[\u007f-\uffff]/g;

/** So deep, whatever is there is looked at with care: it may contain itself. */
const PLAIN_DEPTH = 64;

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** JSON text of a string in ASCII. */
function stringifyString(text: string): string {
  return JSON.stringify(text).replace(NOT_ASCII, escapeUnit);
}

/**
 * JSON text of a value in ASCII, as QMP wants it: on one line, or spread over many with 4 spaces per level. A `bigint` is
 * written with all its digits; members that are `undefined` are left out.
 *
 * @throws TypeError for what JSON has no word for: NaN, infinities, functions, symbols, cycles, and `undefined` outside
 *   of an object.
 */
export function stringify(value: unknown, options: { readonly pretty?: boolean } = {}): string {
  const indent = options.pretty === true ? 4 : 0;
  // Looking first and leaving the work to the engine is many times as fast as writing it piece by piece.
  if (isPlain(value, 0)) return JSON.stringify(value, undefined, indent).replace(NOT_ASCII, escapeUnit);
  return stringifyValue(value, [], indent > 0);
}

/** Whether JSON.stringify writes the value as it is meant, but for characters beyond ASCII. */
function isPlain(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case "string":
    case "boolean":
      return true;
    case "number":
      return Number.isFinite(value);
    case "object":
      if (value === null) return true;
      if (depth > PLAIN_DEPTH || "toJSON" in value) return false;
      if (Array.isArray(value)) return value.every((item: unknown) => isPlain(item, depth + 1));
      for (const member of Object.values(value)) {
        if (member !== undefined && !isPlain(member, depth + 1)) return false;
      }
      return true;
    default:
      return false;
  }
}

function stringifyValue(value: unknown, above: unknown[], pretty: boolean): string {
  switch (typeof value) {
    case "string":
      return stringifyString(value);
    case "number":
      if (!Number.isFinite(value)) throw new TypeError(`JSON cannot express the number ${value}`);
      return String(value);
    case "bigint":
    case "boolean":
      return String(value);
    case "object":
      return value === null ? "null" : stringifyComposite(value, above, pretty);
    default:
      throw new TypeError(`JSON cannot express a value of type ${typeof value}`);
  }
}

function stringifyComposite(value: object, above: unknown[], pretty: boolean): string {
  if (above.includes(value)) throw new TypeError("JSON cannot express an object that contains itself");
  above.push(value);
  const items: string[] = [];
  const isArray = Array.isArray(value);
  if (isArray) {
    for (const item of value) items.push(stringifyValue(item, above, pretty));
  } else {
    for (const [name, member] of Object.entries(value)) {
      if (member === undefined) continue;
      items.push(`${stringifyString(name)}:${pretty ? " " : ""}${stringifyValue(member, above, pretty)}`);
    }
  }
  above.pop();
  const [open, close] = isArray ? "[]" : "{}";
  if (!pretty || items.length === 0) return `${open}${items.join(",")}${close}`;
  const indent = "    ".repeat(above.length);
  return `${open}\n${items.map((item) => `${indent}    ${item}`).join(",\n")}\n${indent}${close}`;
}
