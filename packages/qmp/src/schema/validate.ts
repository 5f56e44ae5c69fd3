import { commandError } from "../errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../json/value.ts";
import { BUILTIN_JSON_TYPES, isInteger } from "./builtins.ts";
import {
  type AlternateDefinition,
  memberName,
  type Members,
  type QmpSchema,
  structMembers,
  type TypeName,
  type TypeRef,
  type UnionDefinition,
} from "./definition.ts";

/** What people call the JSON types. */
const EXPECTED: Readonly<Record<string, string>> = {
  string: "string",
  boolean: "boolean",
  number: "number",
  int: "integer",
  null: "null",
  object: "object",
  array: "array",
};

/**
 * Checks the arguments of a command: nothing missing, nothing unexpected, everything of its type. Nothing is changed and
 * nothing is filled in. Members that are null count as given.
 *
 * @param type members, or the name of a struct or union.
 * @throws QmpError `QMP_COMMAND_FAILED` of class `GenericError`, naming the parameter by its path, as `file.filename`.
 */
export function validateArguments(schema: QmpSchema, type: Members | TypeName, value: JsonObject): void {
  if (typeof type === "string") checkType(schema, type, value, "");
  else checkMembers(schema, type, value, "");
}

function parameter(path: string): string {
  return path === "" ? "null" : path;
}

function join(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}

function wrongType(path: string, jsonType: string): Error {
  return commandError(
    `Invalid parameter type for '${parameter(path)}', expected: ${EXPECTED[jsonType] ?? jsonType}`,
  );
}

function checkType(schema: QmpSchema, ref: TypeRef, value: JsonValue, path: string): void {
  if (typeof ref !== "string") {
    if (!isArray(value)) throw wrongType(path, "array");
    value.forEach((item, index) => checkType(schema, ref[0], item, `${path}[${index}]`));
    return;
  }
  const builtin = BUILTIN_JSON_TYPES[ref];
  if (builtin !== undefined) {
    if (!isBuiltin(ref, builtin, value)) throw wrongType(path, builtin);
    return;
  }
  const definition = schema.types[ref];
  if (definition === undefined) throw new TypeError(`The schema does not define '${ref}'`);
  if ("enum" in definition) {
    if (typeof value !== "string") throw wrongType(path, "string");
    if (!definition.enum.includes(value)) {
      throw commandError(`Parameter '${parameter(path)}' does not accept value '${value}'`);
    }
  } else if ("alternate" in definition) {
    checkAlternate(schema, definition, value, path);
  } else {
    if (!isJsonObject(value)) throw wrongType(path, "object");
    if ("union" in definition) checkUnion(schema, definition, value, path);
    else checkMembers(schema, structMembers(schema, ref), value, path);
  }
}

function isArray(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value);
}

function isBuiltin(type: string, jsonType: string, value: JsonValue): boolean {
  switch (jsonType) {
    case "int":
      return isInteger(type, value);
    case "number":
      return typeof value === "number" || typeof value === "bigint";
    case "null":
      return value === null;
    case "value":
      return true;
    default:
      return typeof value === jsonType;
  }
}

/** JSON type by which an alternate chooses. */
function jsonTypeOf(schema: QmpSchema, ref: TypeRef): string {
  if (typeof ref !== "string") return "array";
  const builtin = BUILTIN_JSON_TYPES[ref];
  if (builtin !== undefined) return builtin;
  const definition = schema.types[ref];
  return definition !== undefined && "enum" in definition ? "string" : "object";
}

function jsonTypeOfValue(value: JsonValue): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "bigint") return "int";
  return typeof value === "number" ? (Number.isInteger(value) ? "int" : "number") : typeof value;
}

function checkAlternate(
  schema: QmpSchema,
  { alternate }: AlternateDefinition,
  value: JsonValue,
  path: string,
): void {
  const given = jsonTypeOfValue(value);
  const choice = alternate.find((ref) => jsonTypeOf(schema, ref) === given);
  if (choice === undefined)
    throw wrongType(path, alternate.map((ref) => jsonTypeOf(schema, ref)).join(" or "));
  checkType(schema, choice, value, path);
}

function checkUnion(schema: QmpSchema, union: UnionDefinition, value: JsonObject, path: string): void {
  const tagPath = join(path, union.tag);
  const tag = value[union.tag];
  if (tag === undefined) throw commandError(`Parameter '${tagPath}' is missing`);
  if (typeof tag !== "string") throw wrongType(tagPath, "string");
  const added = Object.hasOwn(union.union, tag) ? union.union[tag] : undefined;
  if (added === undefined) throw commandError(`Parameter '${tagPath}' does not accept value '${tag}'`);
  checkMembers(schema, { ...union.base, [union.tag]: "str", ...structMembers(schema, added) }, value, path);
}

function checkMembers(schema: QmpSchema, members: Members, value: JsonObject, path: string): void {
  const known = new Set<string>();
  for (const [key, ref] of Object.entries(members)) {
    const { name, isOptional } = memberName(key);
    known.add(name);
    const member = value[name];
    if (member !== undefined) checkType(schema, ref, member, join(path, name));
    else if (!isOptional) throw commandError(`Parameter '${join(path, name)}' is missing`);
  }
  for (const name of Object.keys(value)) {
    if (!known.has(name)) throw commandError(`Parameter '${join(path, name)}' is unexpected`);
  }
}
