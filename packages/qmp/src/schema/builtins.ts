import type { JsonValue } from "../json/value.ts";

/**
 * A whole number of up to 64 bits. A `number` wherever that is exact, which is everywhere below 2^53; a `bigint` beyond.
 * Call `Number` on it where rounding would not hurt.
 */
export type QmpInteger = number | bigint;

/** TypeScript's view of the builtin types. */
export interface Builtins {
  readonly str: string;
  readonly bool: boolean;
  readonly number: number;
  readonly int: QmpInteger;
  readonly int64: QmpInteger;
  readonly size: QmpInteger;
  readonly uint64: QmpInteger;
  readonly uint32: number;
  readonly uint16: number;
  readonly uint8: number;
  readonly null: null;
  readonly any: JsonValue;
}

const TWO_63 = 2n ** 63n;

/** Lowest and highest value of each integer type. */
const INTEGER_RANGES: Readonly<Record<string, readonly [low: bigint, high: bigint]>> = {
  int: [-TWO_63, TWO_63 - 1n],
  int64: [-TWO_63, TWO_63 - 1n],
  // Sizes travel as signed 64-bit numbers inside every block layer: what lies above is refused at the door.
  size: [0n, TWO_63 - 1n],
  uint64: [0n, 2n * TWO_63 - 1n],
  uint32: [0n, 2n ** 32n - 1n],
  uint16: [0n, 2n ** 16n - 1n],
  uint8: [0n, 2n ** 8n - 1n],
};

/** JSON type of each builtin, as introspection names it. */
export const BUILTIN_JSON_TYPES: Readonly<Record<string, string>> = {
  str: "string",
  bool: "boolean",
  number: "number",
  int: "int",
  int64: "int",
  size: "int",
  uint64: "int",
  uint32: "int",
  uint16: "int",
  uint8: "int",
  null: "null",
  any: "value",
};

/** Whether `value` is a whole number, `number` or `bigint`, within the range of the builtin integer type. */
export function isInteger(type: string, value: unknown): boolean {
  const range = INTEGER_RANGES[type];
  if (range === undefined) return false;
  if (typeof value === "bigint") return value >= range[0] && value <= range[1];
  return (
    Number.isSafeInteger(value) && Number(value) >= Number(range[0]) && Number(value) <= Number(range[1])
  );
}
