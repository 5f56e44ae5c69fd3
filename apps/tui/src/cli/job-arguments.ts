import { bufferSizeProblem, granularityProblem, jobIdProblem } from "../engine/request-values.ts";
import { byteArgument, checked } from "./arguments.ts";

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
