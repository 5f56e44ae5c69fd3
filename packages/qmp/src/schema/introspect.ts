import type { JsonObject } from "../json/value.ts";
import { BUILTIN_JSON_TYPES } from "./builtins.ts";
import {
  memberName,
  type Members,
  type QmpSchema,
  structMembers,
  type TypeName,
  type TypeRef,
} from "./definition.ts";

/**
 * The answer to `query-qmp-schema`: one object per command, event and type that can be reached from them, in the shape
 * of QEMU's SchemaInfo. Types go by their own names; clients must not rely on names, and do not with QEMU either.
 *
 * @param commands names of the commands that the server has; those of the schema that it lacks are left out.
 */
export function introspect(schema: QmpSchema, commands: Iterable<string>): JsonObject[] {
  return new Introspection(schema).run(commands);
}

class Introspection {
  readonly #schema: QmpSchema;
  readonly #done: Map<string, JsonObject> = new Map();

  constructor(schema: QmpSchema) {
    this.#schema = schema;
  }

  run(commands: Iterable<string>): JsonObject[] {
    const roots: JsonObject[] = [];
    for (const name of commands) {
      const command = this.#schema.commands[name];
      if (command === undefined) throw new TypeError(`The schema does not define the command '${name}'`);
      const { arguments: args, returns, oob, features } = command;
      roots.push({
        name,
        "meta-type": "command",
        "arg-type": typeof args === "string" ? this.#type(args) : this.#members(`${name}-arg`, args),
        "ret-type": this.#type(returns),
        ...(oob === true ? { "allow-oob": true } : {}),
        ...(features === undefined ? {} : { features }),
      });
    }
    for (const [name, { data }] of Object.entries(this.#schema.events)) {
      roots.push({ name, "meta-type": "event", "arg-type": this.#members(`${name}-arg`, data) });
    }
    return [...roots, ...this.#done.values()];
  }

  /** Name of the type in the answer; describes it on first use. */
  #type(ref: TypeRef): string {
    if (typeof ref !== "string") {
      const element = this.#type(ref[0]);
      const name = `[${element}]`;
      this.#add(name, () => ({ "meta-type": "array", "element-type": element }));
      return name;
    }
    const jsonType = BUILTIN_JSON_TYPES[ref];
    if (jsonType !== undefined) {
      // The integer types are one to clients: only their values differ.
      const name = jsonType === "int" ? "int" : ref;
      this.#add(name, () => ({ "meta-type": "builtin", "json-type": jsonType }));
      return name;
    }
    this.#add(ref, () => this.#describe(ref));
    return ref;
  }

  #describe(name: TypeName): JsonObject {
    const definition = this.#schema.types[name];
    if (definition === undefined) throw new TypeError(`The schema does not define '${name}'`);
    if ("enum" in definition) return this.#enum(definition.enum);
    if ("alternate" in definition) {
      return {
        "meta-type": "alternate",
        members: definition.alternate.map((choice) => ({ type: this.#type(choice) })),
      };
    }
    if ("struct" in definition) return this.#object(structMembers(this.#schema, name));
    const tags = `${name}-${definition.tag}`;
    this.#add(tags, () => this.#enum(Object.keys(definition.union)));
    const shape = this.#object(definition.base);
    return {
      ...shape,
      members: [{ name: definition.tag, type: tags }, ...this.#memberList(definition.base)],
      tag: definition.tag,
      variants: Object.entries(definition.union).map(([word, added]) => ({
        case: word,
        type: this.#type(added),
      })),
    };
  }

  #enum(words: readonly string[]): JsonObject {
    return { "meta-type": "enum", members: words.map((word) => ({ name: word })), values: words };
  }

  #object(members: Members): JsonObject {
    return { "meta-type": "object", members: this.#memberList(members) };
  }

  #members(name: string, members: Members): string {
    this.#add(name, () => this.#object(members));
    return name;
  }

  #memberList(members: Members): JsonObject[] {
    return Object.entries(members).map(([key, ref]) => {
      const { name, isOptional } = memberName(key);
      return { name, type: this.#type(ref), ...(isOptional ? { default: null } : {}) };
    });
  }

  /** Describes a type once; a type may contain itself. */
  #add(name: string, describe: () => JsonObject): void {
    if (this.#done.has(name)) return;
    this.#done.set(name, {});
    this.#done.set(name, { name, ...describe() });
  }
}
