import { type Command, COMMAND_ENTRIES, COMMANDS, type CommandInfo, type Mode } from "./keymap.ts";

/** Keys that a user wants for commands in the list and the details, instead of those of the table. */
export type KeyOverrides = ReadonlyMap<Command, readonly string[]>;

/** Modes whose keys a user may change. Dialogs, menus and typing keep theirs: nobody may lock himself in. */
export const CHANGEABLE_MODES: readonly Mode[] = ["list", "detail"];

/** Which key does what: the table, with the user's own keys in it. */
export class Keymap {
  /** Every command as it is reached now, in the order of the table. */
  readonly entries: readonly (readonly [Command, CommandInfo])[];
  readonly #keys: ReadonlyMap<Command, CommandInfo["keys"]>;
  readonly #dispatch = new Map<string, Command>();

  /** @param overrides - without keys that mean two things; see `parseKeyFile`. */
  constructor(overrides: KeyOverrides = new Map()) {
    this.entries = COMMAND_ENTRIES.map(([command, info]) => {
      const own = overrides.get(command);
      return [command, own === undefined ? info : { ...info, keys: changed(info.keys, own) }] as const;
    });
    this.#keys = new Map(this.entries.map(([command, { keys }]) => [command, keys]));
    for (const [command, { keys }] of this.entries) {
      for (const [mode, names] of Object.entries(keys)) {
        for (const name of names) this.#dispatch.set(`${mode} ${name}`, command);
      }
    }
  }

  /** What a key does in a mode. */
  commandFor(mode: Mode, key: string): Command | undefined {
    return this.#dispatch.get(`${mode} ${key}`);
  }

  /** The keys of a command in a mode, most telling first. */
  keysOf(command: Command, mode: Mode): readonly string[] {
    return this.#keys.get(command)?.[mode] ?? [];
  }

  /** How the first key of a command in the views is written; the command's name when it has none. */
  label(command: Command): string {
    const [key] = [...this.keysOf(command, "list"), ...this.keysOf(command, "detail")];
    return key === undefined ? command : keyLabel(key);
  }
}

function changed(keys: CommandInfo["keys"], own: readonly string[]): CommandInfo["keys"] {
  const modes: Mode[] = CHANGEABLE_MODES.filter((mode) => keys[mode] !== undefined);
  // A notice that tells of a key of the views has to mean the one that the user gave it. Closing it keeps its own keys.
  if (keys.notice !== undefined && keys.notice === keys.list) modes.push("notice");
  return { ...keys, ...Object.fromEntries(modes.map((mode) => [mode, own])) };
}

/** The keys as the table has them. */
export const DEFAULT_KEYMAP: Keymap = new Keymap();

/** Whether a user may give a command other keys. Interrupting and suspending belong to the terminal. */
export function isChangeable(command: Command): boolean {
  if (command === "interrupt" || command === "suspend") return false;
  return CHANGEABLE_MODES.some((mode) => COMMANDS[command].keys[mode] !== undefined);
}

const LABELS: Readonly<Record<string, string>> = {
  up: "Up",
  down: "Down",
  left: "Left",
  right: "Right",
  pageup: "PgUp",
  pagedown: "PgDn",
  home: "Home",
  end: "End",
  enter: "Enter",
  escape: "Esc",
  tab: "Tab",
  "shift+tab": "Shift-Tab",
  space: "Space",
  backspace: "Backspace",
  delete: "Delete",
};

/** The keys that have names; all others are called by the character they type, or `ctrl+` and a letter. */
export const NAMED_KEYS: readonly string[] = Object.keys(LABELS);

/** How a key is written for people. */
export function keyLabel(key: string): string {
  return LABELS[key] ?? key.replace(/^ctrl\+(.)$/u, (_, letter: string) => `^${letter.toUpperCase()}`);
}
