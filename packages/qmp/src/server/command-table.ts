import { commandError } from "../errors.ts";
import type { JsonObject, JsonValue } from "../json/value.ts";
import type { QmpSchema } from "../schema/definition.ts";
import { introspect } from "../schema/introspect.ts";
import type { CommandMap, CommandsOf } from "../schema/type-of.ts";
import { validateArguments } from "../schema/validate.ts";

/** What a command is told besides its arguments. */
export interface CommandContext {
  /** Aborted when the client that asked is gone. What was begun is finished all the same, unless the command minds. */
  readonly signal: AbortSignal;
}

/**
 * What a command does: returns its result, or throws {@link commandError}. Its arguments have been checked against the
 * schema. `undefined` stands for the empty result `{}`.
 */
export type CommandHandler<Arguments, Returns> = (
  args: Arguments,
  context: CommandContext,
) => Returns | undefined | void | Promise<Returns | undefined | void>;

/** Handlers by command name; each is typed by the schema. */
export type CommandHandlers<Commands extends CommandMap> = {
  readonly [Name in keyof Commands]?: CommandHandler<Commands[Name]["arguments"], Commands[Name]["returns"]>;
};

type AnyHandler = (args: JsonObject, context: CommandContext) => unknown;

/**
 * The commands of a server. The schema validates the arguments and answers `query-qmp-schema`; the handlers do the work.
 * `query-commands` and `query-qmp-schema` are there by themselves.
 */
export class CommandTable {
  readonly schema: QmpSchema;
  readonly #handlers: Map<string, AnyHandler> = new Map();
  #introspected: JsonValue | undefined;

  constructor(schema: QmpSchema) {
    this.schema = schema;
    // Negotiation is the connection's own; the name is here so that it is listed.
    this.#handlers.set("qmp_capabilities", () => undefined);
    this.#handlers.set("query-commands", () => this.names.map((name) => ({ name })));
    this.#handlers.set("query-qmp-schema", () => (this.#introspected ??= introspect(schema, this.names)));
  }

  /** Names of the commands there are, in the order of their registration. */
  get names(): string[] {
    return [...this.#handlers.keys()];
  }

  /**
   * Adds commands, typed by the schema that `Schema` is.
   *
   * @throws TypeError for a command that the schema does not describe, or that is there already.
   */
  add<Schema extends QmpSchema>(schema: Schema, handlers: CommandHandlers<CommandsOf<Schema>>): this {
    for (const [name, handler] of Object.entries<unknown>(handlers)) {
      if (!isHandler(handler)) continue;
      if (!Object.hasOwn(this.schema.commands, name) || !Object.hasOwn(schema.commands, name)) {
        throw new TypeError(`The schema does not define the command '${name}'`);
      }
      if (this.#handlers.has(name)) throw new TypeError(`The command '${name}' is there already`);
      this.#handlers.set(name, handler);
    }
    this.#introspected = undefined;
    return this;
  }

  /**
   * Checks what can be checked before a command runs, so that nothing happens if it cannot.
   *
   * @returns the command, ready to be run once.
   * @throws QmpError of class `CommandNotFound`, or `GenericError` for wrong arguments and for out-of-band execution of
   *   a command that does not allow it.
   */
  prepare(
    name: string,
    args: JsonObject,
    isOutOfBand: boolean,
  ): (context: CommandContext) => Promise<unknown> {
    const handler = this.#handlers.get(name);
    const definition = Object.hasOwn(this.schema.commands, name) ? this.schema.commands[name] : undefined;
    if (handler === undefined || definition === undefined) {
      throw commandError(`The command ${name} has not been found`, "CommandNotFound");
    }
    if (isOutOfBand && definition.oob !== true) {
      throw commandError(`The command ${name} does not support OOB`);
    }
    validateArguments(this.schema, definition.arguments, args);
    return async (context) => (await handler(args, context)) ?? {};
  }
}

function isHandler(value: unknown): value is AnyHandler {
  return typeof value === "function";
}
