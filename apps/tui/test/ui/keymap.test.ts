import { describe, expect, test } from "vitest";
import { DEFAULT_KEYMAP, keyLabel } from "../../src/ui/key-bindings.ts";
import {
  type Command,
  COMMAND_ENTRIES,
  COMMANDS,
  type Mode,
  MUTATING_COMMANDS,
} from "../../src/ui/keymap.ts";

const modes: readonly Mode[] = ["list", "detail", "dialog", "input", "form", "menu", "help", "notice"];

describe("the key table", () => {
  test.each(COMMAND_ENTRIES)("%s has a description and a key", (_command, info) => {
    expect(info.description).not.toBe("");
    expect(Object.values(info.keys).flat().length).toBeGreaterThan(0);
  });

  test.each(modes)("no key means two things in mode %s", (mode) => {
    const owners = new Map<string, Command[]>();
    for (const [command, info] of COMMAND_ENTRIES) {
      for (const key of info.keys[mode] ?? []) owners.set(key, [...(owners.get(key) ?? []), command]);
    }
    const conflicts = [...owners].filter(([, commands]) => commands.length > 1);
    expect(conflicts).toEqual([]);
  });

  test("dispatch is the table", () => {
    for (const [command, info] of COMMAND_ENTRIES) {
      for (const mode of modes) {
        for (const key of info.keys[mode] ?? []) expect(DEFAULT_KEYMAP.commandFor(mode, key)).toBe(command);
      }
    }
  });

  test.each(modes)("ctrl-c interrupts in mode %s", (mode) => {
    expect(DEFAULT_KEYMAP.commandFor(mode, "ctrl+c")).toBe("interrupt");
  });

  test("escape never quits", () => {
    for (const mode of modes) expect(DEFAULT_KEYMAP.commandFor(mode, "escape")).not.toBe("quit");
  });

  test("where text is typed, no printable key is a command", () => {
    for (const mode of ["input", "form"] as const) {
      for (const [command, info] of COMMAND_ENTRIES) {
        for (const key of info.keys[mode] ?? []) expect(`${command} ${key.length}`).not.toBe(`${command} 1`);
      }
    }
  });

  test.each([
    ["l", "limit"],
    ["c", "complete"],
    ["x", "cancel"],
    ["X", "force-cancel"],
    ["p", "pause"],
    ["r", "resume"],
    ["n", "new-job"],
    ["/", "filter"],
    ["?", "help"],
    ["q", "quit"],
    ["f", "finalize"],
    ["d", "dismiss"],
    ["s", "sort"],
    ["S", "reverse-sort"],
    ["space", "freeze"],
    ["+", "faster"],
    ["-", "slower"],
    ["e", "show-error"],
    ["w", "screen-dump"],
    ["y", "copy-name"],
    ["v", "read-log"],
    ["ctrl+l", "redraw"],
  ])("operators know %s as %s", (key, command) => {
    expect(DEFAULT_KEYMAP.commandFor("list", key)).toBe(command);
    expect(DEFAULT_KEYMAP.commandFor("detail", key)).toBe(command);
  });

  test("every command that changes a job is one that read-only takes away", () => {
    const jobCommands = COMMAND_ENTRIES.filter(([, info]) => info.category === "Jobs").map(([name]) => name);
    const harmless = new Set<Command>(["show-error", "copy-name", "read-log"]);
    expect(new Set(jobCommands.filter((name) => !harmless.has(name)))).toEqual(MUTATING_COMMANDS);
  });

  test("key labels are what keyboards say", () => {
    expect(keyLabel("ctrl+c")).toBe("^C");
    expect(keyLabel("escape")).toBe("Esc");
    expect(COMMANDS.freeze.keys.list?.map(keyLabel)).toEqual(["Space"]);
  });
});
