import { parseSize, parseSpeed } from "../format/bytes.ts";
import { UsageError } from "./exit-status.ts";

/** A size such as `64K` or `1.5G`, in bytes. @throws UsageError naming the option. */
export function sizeArgument(option: string): (text: string) => number {
  return (text) => {
    const parsed = parseSize(text);
    if (!parsed.ok) throw new UsageError(`${option} ${text}: ${parsed.reason}`);
    return parsed.bytes;
  };
}

/** A speed such as `50M`, in bytes per second; 0 = unlimited. @throws UsageError naming the option. */
export function speedArgument(option: string): (text: string) => number {
  return (text) => {
    const parsed = parseSpeed(text);
    if (!parsed.ok) throw new UsageError(`${option} ${text}: ${parsed.reason}`);
    return parsed.bytes;
  };
}

/** One of a few words. @throws UsageError listing them. */
export function choiceArgument<const C extends string>(
  option: string,
  choices: readonly C[],
): (text: string) => C {
  return (text) => {
    const choice = choices.find((word) => word === text);
    if (choice === undefined) throw new UsageError(`${option} ${text}: must be one of ${choices.join(", ")}`);
    return choice;
  };
}
