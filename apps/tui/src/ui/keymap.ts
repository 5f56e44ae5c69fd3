/** Where the keyboard goes. Each mode has its own bindings. */
export type Mode = "list" | "detail" | "dialog" | "input" | "form" | "menu" | "help" | "notice";

/** Everything a key can do. */
export type Command =
  | "up"
  | "down"
  | "page-up"
  | "page-down"
  | "first"
  | "last"
  | "open-detail"
  | "back"
  | "toggle-view"
  | "next-job"
  | "previous-job"
  | "filter"
  | "sort"
  | "reverse-sort"
  | "freeze"
  | "faster"
  | "slower"
  | "trend-scale"
  | "pause"
  | "resume"
  | "limit"
  | "complete"
  | "cancel"
  | "force-cancel"
  | "finalize"
  | "dismiss"
  | "new-job"
  | "show-error"
  | "screen-dump"
  | "redraw"
  | "copy-name"
  | "read-log"
  | "help"
  | "quit"
  | "interrupt"
  | "suspend"
  | "confirm"
  | "refuse"
  | "activate"
  | "submit"
  | "next-field"
  | "previous-field"
  | "edit-backspace"
  | "edit-delete"
  | "edit-left"
  | "edit-right"
  | "edit-home"
  | "edit-end"
  | "edit-clear"
  | "edit-word";

/** Sections of the help screen. */
export type Category = "Move" | "Jobs" | "Display" | "Program" | "Dialogs" | "Typing";

/** How one command is reached. */
export interface CommandInfo {
  readonly category: Category;
  readonly description: string;
  /** Keys per mode, most telling first. Names are those of {@link keyName}. */
  readonly keys: Readonly<Partial<Record<Mode, readonly string[]>>>;
}

function views(...keys: string[]): CommandInfo["keys"] {
  return { list: keys, detail: keys };
}

/** Keys of the views that mean the same in a notice, which tells of them. */
function viewsAndNotice(...keys: string[]): CommandInfo["keys"] {
  return { list: keys, detail: keys, notice: keys };
}

function everywhere(...keys: string[]): CommandInfo["keys"] {
  return {
    list: keys,
    detail: keys,
    dialog: keys,
    input: keys,
    form: keys,
    menu: keys,
    help: keys,
    notice: keys,
  };
}

function typing(...keys: string[]): CommandInfo["keys"] {
  return { input: keys, form: keys };
}

/** The one table behind key dispatch, the footer, the help screen and the documentation; see `Keymap` for the user's own. */
export const COMMANDS: Readonly<Record<Command, CommandInfo>> = {
  up: {
    category: "Move",
    description: "Move up",
    keys: {
      list: ["up", "k"],
      detail: ["up", "k"],
      menu: ["up", "k"],
      help: ["up", "k"],
    },
  },
  down: {
    category: "Move",
    description: "Move down",
    keys: {
      list: ["down", "j"],
      detail: ["down", "j"],
      menu: ["down", "j"],
      help: ["down", "j"],
    },
  },
  "page-up": { category: "Move", description: "Page up", keys: { ...views("pageup"), help: ["pageup"] } },
  "page-down": {
    category: "Move",
    description: "Page down",
    keys: { ...views("pagedown"), help: ["pagedown"] },
  },
  first: { category: "Move", description: "First job", keys: views("g", "home") },
  last: { category: "Move", description: "Last job", keys: views("G", "end") },
  "open-detail": { category: "Move", description: "Details of the job", keys: { list: ["enter"] } },
  back: {
    category: "Move",
    description: "One level up; clears the filter",
    keys: {
      ...views("escape"),
      menu: ["escape", "q", "s"],
      help: ["escape", "q", "?", "enter"],
      notice: ["escape", "q", "e", "enter"],
    },
  },
  "toggle-view": { category: "Move", description: "List or details", keys: views("tab") },
  "next-job": { category: "Move", description: "Next job", keys: views("]") },
  "previous-job": { category: "Move", description: "Previous job", keys: views("[") },

  "new-job": { category: "Jobs", description: "New mirror job", keys: views("n") },
  pause: { category: "Jobs", description: "Pause", keys: views("p") },
  resume: { category: "Jobs", description: "Resume", keys: viewsAndNotice("r") },
  limit: { category: "Jobs", description: "Set the speed limit", keys: views("l") },
  complete: { category: "Jobs", description: "Complete: switch users to the target", keys: views("c") },
  cancel: { category: "Jobs", description: "Cancel", keys: views("x") },
  "force-cancel": { category: "Jobs", description: "Force-cancel", keys: views("X") },
  finalize: { category: "Jobs", description: "Finalize a pending job", keys: views("f") },
  dismiss: { category: "Jobs", description: "Dismiss a concluded job", keys: views("d") },
  "show-error": { category: "Jobs", description: "Show the job's error", keys: views("e") },
  "copy-name": { category: "Jobs", description: "Copy the job's name", keys: views("y") },
  "read-log": {
    category: "Jobs",
    description: "Read facts, errors and events in $PAGER",
    keys: views("v"),
  },

  filter: { category: "Display", description: "Filter: words, !words, state:, type:", keys: views("/") },
  sort: { category: "Display", description: "Sort by", keys: views("s") },
  "reverse-sort": { category: "Display", description: "Reverse the order", keys: views("S") },
  freeze: { category: "Display", description: "Freeze the display", keys: views("space") },
  faster: { category: "Display", description: "Update more often", keys: views("+", "=") },
  slower: { category: "Display", description: "Update less often", keys: views("-", "_") },
  "trend-scale": {
    category: "Display",
    description: "Trend scale: all rows or each its own",
    keys: views("z"),
  },
  "screen-dump": { category: "Display", description: "Write the screen to a file", keys: views("w") },
  redraw: { category: "Display", description: "Draw the screen again", keys: views("ctrl+l") },

  help: { category: "Program", description: "This help", keys: views("?") },
  quit: { category: "Program", description: "Quit", keys: views("q") },
  interrupt: {
    category: "Program",
    description: "Interrupt: cancel in order; twice: force",
    keys: everywhere("ctrl+c"),
  },
  suspend: { category: "Program", description: "Suspend to the shell", keys: everywhere("ctrl+z") },

  confirm: { category: "Dialogs", description: "Do it", keys: { dialog: ["y"] } },
  refuse: {
    category: "Dialogs",
    description: "Leave everything as it is",
    keys: { dialog: ["n", "escape", "q"], input: ["escape"], form: ["escape"] },
  },
  activate: {
    category: "Dialogs",
    description: "Take the marked choice",
    keys: { dialog: ["enter"], input: ["enter"], form: ["enter"], menu: ["enter"] },
  },
  submit: { category: "Dialogs", description: "Start the job, from any field", keys: { form: ["ctrl+s"] } },
  "next-field": {
    category: "Dialogs",
    description: "Next field or button",
    keys: { dialog: ["tab", "right", "l"], form: ["tab", "down"] },
  },
  "previous-field": {
    category: "Dialogs",
    description: "Previous field or button",
    keys: { dialog: ["shift+tab", "left", "h"], form: ["shift+tab", "up"] },
  },

  "edit-backspace": { category: "Typing", description: "Delete backwards", keys: typing("backspace") },
  "edit-delete": { category: "Typing", description: "Delete forwards", keys: typing("delete") },
  "edit-left": { category: "Typing", description: "Left; previous choice", keys: typing("left") },
  "edit-right": { category: "Typing", description: "Right; next choice", keys: typing("right") },
  "edit-home": { category: "Typing", description: "Start of line", keys: typing("home", "ctrl+a") },
  "edit-end": { category: "Typing", description: "End of line", keys: typing("end", "ctrl+e") },
  "edit-clear": { category: "Typing", description: "Clear to the start", keys: typing("ctrl+u") },
  "edit-word": { category: "Typing", description: "Delete a word", keys: typing("ctrl+w") },
};

/** Every command with its entry, in the order of the table. */
export const COMMAND_ENTRIES: readonly (readonly [Command, CommandInfo])[] = Object.entries(COMMANDS).filter(
  (entry): entry is [Command, CommandInfo] => isCommand(entry[0]),
);

/** Whether a word is the name of a command. */
export function isCommand(name: string): name is Command {
  return Object.hasOwn(COMMANDS, name);
}

/** The commands that change a job or start one; `--read-only` takes them away. */
export const MUTATING_COMMANDS: ReadonlySet<Command> = new Set([
  "new-job",
  "pause",
  "resume",
  "limit",
  "complete",
  "cancel",
  "force-cancel",
  "finalize",
  "dismiss",
]);
