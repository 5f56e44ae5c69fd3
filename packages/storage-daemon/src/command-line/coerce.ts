import {
  isJsonObject,
  memberName,
  structMembers,
  type JsonObject,
  type JsonValue,
  type Members,
  type QmpSchema,
  type TypeRef,
} from "@blockmirror/qmp";
import { UsageError } from "./usage-error.ts";

const BOOLEANS: Readonly<Record<string, boolean>> = {
  on: true,
  yes: true,
  true: true,
  y: true,
  off: false,
  no: false,
  false: false,
  n: false,
};

const SUFFIXES = "BKMGTPE";

/**
 * Gives text from the command line the types that a schema asks for: `on` becomes true, `64K` becomes 65536. What does not
 * fit the schema is left as it is, for the check of the arguments to refuse.
 *
 * @throws UsageError for a switch or a number that is none.
 */
export function coerce(schema: QmpSchema, type: TypeRef | Members, value: JsonValue, path = ""): JsonValue {
  if (isList(type)) return coerceList(schema, type[0], value, path);
  if (typeof type !== "string") return isJsonObject(value) ? coerceMembers(schema, type, value, path) : value;
  if (typeof value === "string") {
    const text = coerceText(type, value, path);
    if (text !== undefined) return text;
  }
  const definition = schema.types[type];
  if (definition === undefined || "enum" in definition) return value;
  if ("alternate" in definition) {
    const choice = definition.alternate.find((each) => schema.types[String(each)] !== undefined);
    return choice !== undefined && isJsonObject(value) ? coerce(schema, choice, value, path) : value;
  }
  if (!isJsonObject(value)) return value;
  if ("struct" in definition) return coerceMembers(schema, structMembers(schema, type), value, path);
  const tag = value[definition.tag];
  const added = typeof tag === "string" ? definition.union[tag] : undefined;
  const members =
    added === undefined ? definition.base : { ...definition.base, ...structMembers(schema, added) };
  return coerceMembers(schema, members, value, path);
}

function isList(type: TypeRef | Members): type is readonly [string] {
  return Array.isArray(type);
}

function coerceList(schema: QmpSchema, item: TypeRef, value: JsonValue, path: string): JsonValue {
  if (!Array.isArray(value)) return value;
  return value.map((each: JsonValue, index) => coerce(schema, item, each, `${path}.${index}`));
}

function coerceMembers(schema: QmpSchema, members: Members, value: JsonObject, path: string): JsonObject {
  const types = new Map(Object.entries(members).map(([key, type]) => [memberName(key).name, type]));
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => {
      const type = types.get(name);
      if (type === undefined || member === undefined) return [name, member];
      return [name, coerce(schema, type, member, path === "" ? name : `${path}.${name}`)];
    }),
  );
}

/** The value, or undefined when the type is text or none of the builtins. */
function coerceText(type: string, text: string, path: string): JsonValue | undefined {
  switch (type) {
    case "bool": {
      const value = Object.hasOwn(BOOLEANS, text) ? BOOLEANS[text] : undefined;
      if (value === undefined) throw new UsageError(`Parameter '${path}' expects 'on' or 'off'`);
      return value;
    }
    case "int":
    case "int64":
    case "uint64":
    case "uint32":
    case "uint16":
    case "uint8":
      return integer(text, path);
    case "size": {
      // Hexadecimal has no suffixes, since some are digits.
      if (/^0x[0-9a-f]+$/i.test(text)) return exact(BigInt(text));
      const match = /^([0-9]+)([BKMGTPE]?)$/i.exec(text);
      if (match === null) throw new UsageError(`Parameter '${path}' expects a size`);
      const [, digits = "", suffix = ""] = match;
      const power = suffix === "" ? 0 : SUFFIXES.indexOf(suffix.toUpperCase());
      return exact(BigInt(digits) * 1024n ** BigInt(power));
    }
    default:
      return undefined;
  }
}

/** Reads an integer as C does, and so QEMU: `0x` makes it hexadecimal, and a leading 0 octal. */
function integer(text: string, path: string): number | bigint {
  const match = /^([-+]?)(?:(0x[0-9a-f]+)|0([0-7]+)|([0-9]+))$/i.exec(text);
  const [, sign, hexadecimal, octal, decimal = ""] = match ?? [];
  if (match === null || /^0[0-9]/.test(decimal)) {
    throw new UsageError(`Parameter '${path}' expects an integer`);
  }
  const value = BigInt(hexadecimal ?? (octal === undefined ? decimal : `0o${octal}`));
  return exact(sign === "-" ? -value : value);
}

function exact(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
