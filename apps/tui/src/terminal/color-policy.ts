/** Value of `--color`. */
export type ColorMode = "auto" | "always" | "never";

/** What the decision depends on besides the option. */
export interface ColorEnvironment {
  /** Environment variables, usually `process.env`. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether the output stream is a terminal. */
  readonly isTTY: boolean;
}

/**
 * Whether to write colours: the option, then `FORCE_COLOR`, then `NO_COLOR` (non-empty), then the terminal. Programs
 * disagree about `FORCE_COLOR` and `NO_COLOR` together; an explicit force wins here.
 */
export function wantsColor(mode: ColorMode, { env, isTTY }: ColorEnvironment): boolean {
  if (mode !== "auto") return mode === "always";
  const force = env["FORCE_COLOR"];
  if (force !== undefined) return force !== "0" && force.toLowerCase() !== "false";
  const refuse = env["NO_COLOR"];
  if (refuse !== undefined && refuse !== "") return false;
  return isTTY && env["TERM"] !== "dumb";
}
