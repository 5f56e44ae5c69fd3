import { UsageError } from "./usage-error.ts";

/** Options with a value. */
const WITH_VALUE = [
  "blockdev",
  "chardev",
  "monitor",
  "nbd-server",
  "export",
  "object",
  "pidfile",
  "trace",
] as const;

/** Options without one. */
const SWITCHES = ["daemonize", "help", "version"] as const;

const SHORT: Readonly<Record<string, string>> = { "-h": "--help", "-V": "--version", "-T": "--trace" };

/** An option as it stands on the command line. */
export type CommandLineOption =
  | { readonly name: (typeof WITH_VALUE)[number]; readonly value: string }
  | { readonly name: (typeof SWITCHES)[number] };

/**
 * Splits a command line in qemu-storage-daemon's spelling into its options, in their order: `--name value` or
 * `--name=value`.
 *
 * @throws UsageError
 */
export function splitArguments(args: readonly string[]): CommandLineOption[] {
  const options: CommandLineOption[] = [];
  for (let index = 0; index < args.length; index += 1) {
    const given = args[index] ?? "";
    const word = SHORT[given] ?? given;
    const equals = word.indexOf("=");
    const name = equals < 0 ? word : word.slice(0, equals);
    const isSwitch = SWITCHES.find((each) => name === `--${each}`);
    const withValue = WITH_VALUE.find((each) => name === `--${each}`);
    if (isSwitch !== undefined && equals < 0) {
      options.push({ name: isSwitch });
    } else if (withValue !== undefined) {
      if (equals < 0) index += 1;
      const value = equals < 0 ? args[index] : word.slice(equals + 1);
      if (value === undefined) throw new UsageError(`Option '--${withValue}' needs a value`);
      options.push({ name: withValue, value });
    } else {
      throw new UsageError(
        given.startsWith("-") ? `Unknown option '${given}'` : `Unexpected argument '${given}'`,
      );
    }
  }
  return options;
}
