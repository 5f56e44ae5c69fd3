/** Name of a type: a builtin, or one of the table. */
export type TypeName = string;

/** A type, or an array of one: `"str"`, `["str"]`. */
export type TypeRef = TypeName | readonly [TypeName];

/** Members by name; a `?` at the end of the name makes it optional: `{ device: "str", "speed?": "int" }`. */
export interface Members {
  readonly [name: string]: TypeRef;
}

/** One of several words. */
export interface EnumDefinition {
  readonly enum: readonly string[];
}

/** An object with named members, added to those of `base`. */
export interface StructDefinition {
  readonly struct: Members;
  readonly base?: TypeName;
}

/**
 * An object whose further members follow from one of them: `tag` names it, `union` gives for each of its values the
 * struct that is added, or `Empty`.
 */
export interface UnionDefinition {
  readonly union: Readonly<Record<string, TypeName>>;
  readonly tag: string;
  readonly base: Members;
}

/** Any of several types that differ in their JSON type. */
export interface AlternateDefinition {
  readonly alternate: readonly TypeRef[];
}

/** How a type of the table is defined. */
export type TypeDefinition = EnumDefinition | StructDefinition | UnionDefinition | AlternateDefinition;

/** A command: its arguments, as members or as the name of a struct or union, and what it returns. */
export interface CommandDefinition {
  readonly arguments: Members | TypeName;
  readonly returns: TypeRef;
  /** May be run out of band. Default false. */
  readonly oob?: boolean;
  /** Words such as `deprecated` and `unstable`, as introspection shows them. */
  readonly features?: readonly string[];
}

/** An event: what its `data` hold. */
export interface EventDefinition {
  readonly data: Members;
}

/** Everything that a QMP server says about itself: types, commands, events. Plain data, so that types follow from it. */
export interface QmpSchema {
  readonly types: Readonly<Record<TypeName, TypeDefinition>>;
  readonly commands: Readonly<Record<string, CommandDefinition>>;
  readonly events: Readonly<Record<string, EventDefinition>>;
}

/** The name of a member without its mark, and whether it may be absent. */
export function memberName(key: string): { readonly name: string; readonly isOptional: boolean } {
  return key.endsWith("?") ? { name: key.slice(0, -1), isOptional: true } : { name: key, isOptional: false };
}

/** Members of a struct and of those it is based on, base first. */
export function structMembers(schema: QmpSchema, name: TypeName): Members {
  const definition = schema.types[name];
  if (definition === undefined || !("struct" in definition)) throw new TypeError(`'${name}' is not a struct`);
  return definition.base === undefined
    ? definition.struct
    : { ...structMembers(schema, definition.base), ...definition.struct };
}
