import { CHANGEABLE_MODES, isChangeable, Keymap, type KeyOverrides, NAMED_KEYS } from "./key-bindings.ts";
import { type Command, COMMAND_ENTRIES, isCommand, type Mode } from "./keymap.ts";

/** A key file that cannot be used: what is wrong and what to write instead, one line. */
export class KeyFileError extends Error {
  override readonly name: string = "KeyFileError";
}

/** What terminals send for these is what they send for another key. */
const SAME_KEYS: ReadonlyMap<string, string> = new Map([
  ["ctrl+h", "backspace"],
  ["ctrl+i", "tab"],
  ["ctrl+j", "enter"],
  ["ctrl+m", "enter"],
]);

/**
 * Reads the user's own keys: a JSON object with names of commands and, for each, a key or a list of keys. An empty list
 * takes a command's keys away. What is not named keeps its keys.
 * @throws KeyFileError for anything that is not understood, and for a key that would mean two things.
 */
export function parseKeyFile(text: string): KeyOverrides {
  const overrides = new Map<Command, readonly string[]>();
  for (const [name, value] of Object.entries(parseObject(text))) {
    overrides.set(changeable(name), keysOf(name, value));
  }
  const keymap = new Keymap(overrides);
  for (const mode of CHANGEABLE_MODES) mustBeClear(keymap, mode);
  return overrides;
}

function parseObject(text: string): object {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new KeyFileError(`is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  throw new KeyFileError('must be an object such as {"pause": ["space"]}');
}

function changeable(name: string): Command {
  if (isCommand(name) && isChangeable(name)) return name;
  const names = COMMAND_ENTRIES.map(([command]) => command).filter(isChangeable);
  const why = isCommand(name) ? `the keys of "${name}" are fixed` : `there is no command "${name}"`;
  throw new KeyFileError(`${why}; those that can be changed are ${names.join(", ")}`);
}

function keysOf(command: string, value: unknown): readonly string[] {
  const keys: readonly unknown[] = Array.isArray(value) ? value : [value];
  return keys.map((key) => {
    if (typeof key !== "string") {
      throw new KeyFileError(`"${command}" needs a key such as "p", or a list of keys`);
    }
    const same = SAME_KEYS.get(key);
    if (same !== undefined)
      throw new KeyFileError(`"${command}": terminals send ${key} for ${same}; write "${same}"`);
    if (!isKey(key)) {
      throw new KeyFileError(
        `"${command}": "${key}" is no key; write one character, ctrl+a to ctrl+z, or one of ${NAMED_KEYS.join(", ")}`,
      );
    }
    return key;
  });
}

function isKey(key: string): boolean {
  if (NAMED_KEYS.includes(key) || /^ctrl\+[a-z]$/u.test(key)) return true;
  // The space bar has a name, because a blank in a file is easily overlooked.
  return /^[^\s\p{Control}]$/u.test(key);
}

function mustBeClear({ entries }: Keymap, mode: Mode): void {
  const owners = new Map<string, Command>();
  for (const [command, { keys }] of entries) {
    for (const key of keys[mode] ?? []) {
      const owner = owners.get(key);
      if (owner !== undefined && owner !== command) {
        const fixed = [owner, command].find((each) => !isChangeable(each));
        throw new KeyFileError(
          fixed === undefined
            ? `"${key}" would mean both ${owner} and ${command}; give one of them another key, or [] for none`
            : `"${key}" is ${fixed}, always; choose another key for ${fixed === owner ? command : owner}`,
        );
      }
      owners.set(key, command);
    }
  }
}
