import { parseSize, parseSpeed } from "../format/bytes.ts";
import { bufferSizeProblem, granularityProblem, jobIdProblem } from "../engine/request-values.ts";
import { UsageError } from "./exit-status.ts";

/** A size such as `64K` or `1.5G`, in bytes. @throws UsageError naming the option. */
export function byteArgument(option: string): (text: string) => number {
  return (text) => {
    const parsed = parseSize(text);
    if (!parsed.ok) throw new UsageError(`${option} ${text}: ${parsed.reason}`);
    return parsed.bytes;
  };
}

/** A size that a mirror takes as granularity. @throws UsageError naming the option. */
export function granularityArgument(option: string): (text: string) => number {
  return checked(option, byteArgument(option), granularityProblem);
}

/** A size that a mirror takes as buffer. @throws UsageError naming the option. */
export function bufferSizeArgument(option: string): (text: string) => number {
  return checked(option, byteArgument(option), bufferSizeProblem);
}

/** The name of a job. @throws UsageError naming the option. */
export function jobIdArgument(option: string): (text: string) => string {
  return checked(option, (text) => text, jobIdProblem);
}

/** The path of an image. @throws UsageError when it is empty, as an unset variable of a script makes it. */
export function pathArgument(name: string): (text: string) => string {
  return checked(
    name,
    (text) => text,
    (path) => (path === "" ? "the path is empty; name a file" : undefined),
  );
}

function checked<T>(
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
