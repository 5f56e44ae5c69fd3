import { commandError, type QmpInteger } from "@blockmirror/qmp";

/**
 * An integer argument as a number.
 *
 * @param name what the parameter is called in the message.
 * @throws QmpError of class `GenericError` beyond 2^53-1, which is the largest size there can be.
 */
export function safeInteger(name: string, value: QmpInteger): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) {
    throw commandError(`Parameter '${name}' is out of range: ${value} is more than 2^53-1`);
  }
  return number;
}
