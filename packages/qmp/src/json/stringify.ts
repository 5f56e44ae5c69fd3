/** What JSON.stringify leaves as it is and QMP does not: everything beyond printable ASCII. */
const NOT_ASCII = /[\u007f-\uffff]/g;

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** JSON text of a string in ASCII. */
function stringifyString(text: string): string {
  return JSON.stringify(text).replace(NOT_ASCII, escapeUnit);
}

/**
 * JSON text of a value on one line and in ASCII, as QMP wants it. A `bigint` is written with all its digits; members that
 * are `undefined` are left out.
 *
 * @throws TypeError for what JSON has no word for: NaN, infinities, functions, symbols, cycles, and `undefined` outside
 *   of an object.
 */
export function stringify(value: unknown): string {
  return stringifyValue(value, []);
}

function stringifyValue(value: unknown, above: unknown[]): string {
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
      return value === null ? "null" : stringifyComposite(value, above);
    default:
      throw new TypeError(`JSON cannot express a value of type ${typeof value}`);
  }
}

function stringifyComposite(value: object, above: unknown[]): string {
  if (above.includes(value)) throw new TypeError("JSON cannot express an object that contains itself");
  above.push(value);
  let text: string;
  if (Array.isArray(value)) {
    text = `[${value.map((item: unknown) => stringifyValue(item, above)).join(", ")}]`;
  } else {
    const members: string[] = [];
    for (const [name, member] of Object.entries(value)) {
      if (member !== undefined) members.push(`${stringifyString(name)}: ${stringifyValue(member, above)}`);
    }
    text = `{${members.join(", ")}}`;
  }
  above.pop();
  return text;
}
