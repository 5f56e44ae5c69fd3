import { BlockError } from "../errors.ts";

/** One option of a driver: what it accepts, for validation and for generated documentation. */
export interface OptionField<T> {
  /** The JSON type, as tools describe it. */
  readonly type: "string" | "bytes" | "integer" | "boolean" | "choice" | "child" | "json";
  readonly description: string;
  /** False when the option may be left out. */
  readonly required: boolean;
  /** The allowed words of a `choice`. */
  readonly choices?: readonly string[];
  /** Checks one value (undefined when absent); throws an `Error` whose message completes "option X ...". */
  parse(value: unknown): T;
}

/** The type that a set of fields parses to. */
export type OptionValues<F> = { readonly [K in keyof F]: F[K] extends OptionField<infer T> ? T : never };

/** A driver's options: named fields, and the strict parser made from them. */
export interface OptionSchema<T> {
  /** The fields by name. */
  readonly fields: Readonly<Record<string, OptionField<unknown>>>;
  /**
   * Checks `input` and fills defaults. Unknown names are refused.
   * @throws BlockError `EINVAL` naming `where` and the option.
   */
  parse(input: Readonly<Record<string, unknown>>, where: string): T;
}

/** A reference to a child: the name of an open node, or the description of a node to open. */
export type ChildReference = string | DeviceSpec;

/**
 * What a node does with a write that is zeroes from end to end: `off` writes them, `on` makes a `writeZeroes` of it, and
 * `unmap` gives the space back as well. Looking costs a read of each buffer; writes of data are found out early.
 */
export type ZeroDetection = "off" | "on" | "unmap";

/**
 * A device to open, as JSON: the driver, its options, and optionally the node's name and mode. Children nest:
 * `{ driver: "raw", file: { driver: "file", filename: "disk.raw" } }`.
 */
export interface DeviceSpec {
  readonly driver: string;
  /** Name of the node in the graph; generated when absent. */
  readonly nodeName?: string;
  /** Refuse every change. Default: as the parent, and false at the top. */
  readonly readOnly?: boolean;
  /** What becomes of writes of zeroes. Default `off`. */
  readonly detectZeroes?: ZeroDetection;
  readonly [option: string]: unknown;
}

/** Builds a strict {@link OptionSchema} from fields made with {@link option}. */
export function optionSchema<F extends Readonly<Record<string, OptionField<unknown>>>>(
  fields: F,
): OptionSchema<OptionValues<F>> {
  const names = Object.keys(fields);
  return {
    fields,
    parse(input, where) {
      const unknown = Object.keys(input).find((name) => !names.includes(name));
      if (unknown !== undefined) {
        const known = names.length === 0 ? "it has no options" : `it has ${names.join(", ")}`;
        throw new BlockError("EINVAL", `${where}: unknown option '${unknown}'; ${known}`);
      }
      const parsed = mapFields(fields, (name, field) => {
        try {
          return field.parse(input[name]);
        } catch (error) {
          const text = error instanceof Error ? error.message : String(error);
          throw new BlockError("EINVAL", `${where}: option '${name}' ${text}`, { cause: error });
        }
      });
      return parsed;
    },
  };
}

/** The one place where the mapped type is stated; the loop below visits exactly the keys of `fields`. */
function mapFields<F extends Readonly<Record<string, OptionField<unknown>>>>(
  fields: F,
  parse: (name: string, field: OptionField<unknown>) => unknown,
): OptionValues<F> {
  const entries = Object.entries(fields).map(([name, field]) => [name, parse(name, field)] as const);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- `fromEntries` forgets which key has which type
  return Object.fromEntries(entries) as OptionValues<F>;
}

function field<T>(
  type: OptionField<T>["type"],
  description: string,
  required: boolean,
  parse: (value: unknown) => T,
  choices?: readonly string[],
): OptionField<T> {
  return choices === undefined
    ? { type, description, required, parse }
    : { type, description, required, parse, choices };
}

function missing(): never {
  throw new Error("is required");
}

function refuse(expected: string, value: unknown): never {
  throw new Error(`must be ${expected}, not ${JSON.stringify(value) ?? typeof value}`);
}

function asString(value: unknown): string {
  return typeof value === "string" && value !== "" ? value : refuse("a non-empty string", value);
}

function asInteger(value: unknown, min: number, max: number, what: string): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= min && value <= max) return value;
  return refuse(`${what} from ${min} to ${max}`, value);
}

function asBoolean(value: unknown): boolean {
  return typeof value === "boolean" ? value : refuse("true or false", value);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function asChild(value: unknown): ChildReference {
  if (typeof value === "string" && value !== "") return value;
  if (isRecord(value) && typeof value["driver"] === "string") return { ...value, driver: value["driver"] };
  return refuse("a node name or an object with a 'driver'", value);
}

/** Bounds of a numeric option; both ends are inclusive. */
export interface NumberBounds {
  readonly min?: number;
  readonly max?: number;
}

/** Makers of option fields. Those with `Optional` yield `undefined` when the option is absent. */
export const option: {
  string(description: string): OptionField<string>;
  optionalString(description: string): OptionField<string | undefined>;
  /** A byte count: a safe integer, 0 or more unless bounded otherwise. */
  bytes(description: string, bounds?: NumberBounds): OptionField<number>;
  optionalBytes(description: string, bounds?: NumberBounds): OptionField<number | undefined>;
  integer(description: string, fallback: number, bounds?: NumberBounds): OptionField<number>;
  boolean(description: string, fallback: boolean): OptionField<boolean>;
  choice<const C extends string>(description: string, choices: readonly C[], fallback: C): OptionField<C>;
  child(description: string): OptionField<ChildReference>;
  /** A child, or `null` for explicitly none, or `undefined` when absent. */
  optionalChild(description: string): OptionField<ChildReference | null | undefined>;
  /** Any value, checked by `parse`, which throws an `Error` completing "option X ...". */
  json<T>(description: string, parse: (value: unknown) => T): OptionField<T>;
} = {
  string: (description) =>
    field("string", description, true, (value) => (value === undefined ? missing() : asString(value))),
  optionalString: (description) =>
    field("string", description, false, (value) => (value === undefined ? undefined : asString(value))),
  bytes: (description, { min = 0, max = Number.MAX_SAFE_INTEGER } = {}) =>
    field("bytes", description, true, (value) =>
      value === undefined ? missing() : asInteger(value, min, max, "a number of bytes"),
    ),
  optionalBytes: (description, { min = 0, max = Number.MAX_SAFE_INTEGER } = {}) =>
    field("bytes", description, false, (value) =>
      value === undefined ? undefined : asInteger(value, min, max, "a number of bytes"),
    ),
  integer: (description, fallback, { min = 0, max = Number.MAX_SAFE_INTEGER } = {}) =>
    field("integer", description, false, (value) =>
      value === undefined ? fallback : asInteger(value, min, max, "an integer"),
    ),
  boolean: (description, fallback) =>
    field("boolean", description, false, (value) => (value === undefined ? fallback : asBoolean(value))),
  choice: (description, choices, fallback) =>
    field(
      "choice",
      description,
      false,
      (value) => {
        if (value === undefined) return fallback;
        return choices.find((choice) => choice === value) ?? refuse(`one of ${choices.join(", ")}`, value);
      },
      choices,
    ),
  child: (description) =>
    field("child", description, true, (value) => (value === undefined ? missing() : asChild(value))),
  optionalChild: (description) =>
    field("child", description, false, (value) =>
      value === undefined || value === null ? value : asChild(value),
    ),
  json: (description, parse) => field("json", description, false, parse),
};
