/**
 * A JSON value as it crosses the wire. QMP has 64-bit integers, so a whole number that a JavaScript number cannot hold
 * exactly (beyond 2^53-1) is a `bigint`; every other number is a `number`. Nothing is ever rounded silently.
 */
export type JsonValue = null | boolean | number | bigint | string | JsonArray | JsonObject;

/** An array of {@link JsonValue}. */
export interface JsonArray extends ReadonlyArray<JsonValue> {}

/** An object of {@link JsonValue}; a member that is `undefined` is not there. */
export interface JsonObject {
  readonly [name: string]: JsonValue | undefined;
}

/** Whether a value is an object, neither an array nor null. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
