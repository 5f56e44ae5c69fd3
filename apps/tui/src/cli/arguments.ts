import { parseSize, parseSpeed } from "../format/bytes.ts";
import { UsageError } from "./exit-status.ts";

/** A size such as `64K` or `1.5G`, in bytes. @throws UsageError naming the option. */
export function byteArgument(option: string): (text: string) => number {
  return (text) => {
    const parsed = parseSize(text);
    if (!parsed.ok) throw new UsageError(`${option} ${text}: ${parsed.reason}`);
    return parsed.bytes;
  };
}

/** The path of an image. @throws UsageError when it is empty, as an unset variable of a script makes it. */
export function pathArgument(name: string): (text: string) => string {
  return checked(
    name,
    (text) => text,
    (path) => (path === "" ? "the path is empty; name a file" : undefined),
  );
}

/** An argument that is parsed and then judged. @throws UsageError naming the option. */
export function checked<T>(
  option: string,
  parse: (text: string) => T,
  problemOf: (value: T) => string | undefined,
): (text: string) => T {
  return (text) => {
    const value = parse(text);
    const problem = problemOf(value);
    if (problem !== undefined) throw new UsageError(`${option} ${JSON.stringify(text)}: ${problem}`);
    return value;
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
