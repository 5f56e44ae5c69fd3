import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { isChangeable, Keymap } from "../../src/ui/key-bindings.ts";
import { KeyFileError, parseKeyFile } from "../../src/ui/key-file.ts";
import { COMMAND_ENTRIES } from "../../src/ui/keymap.ts";
import { appFile } from "../support/pty.ts";

describe("a key file", () => {
  test("gives commands other keys in the list and the details; all others keep theirs", () => {
    const keymap = new Keymap(parseKeyFile('{"pause": ["space", "P"], "freeze": "ctrl+f", "dismiss": []}'));
    for (const mode of ["list", "detail"] as const) {
      expect(keymap.commandFor(mode, "space")).toBe("pause");
      expect(keymap.commandFor(mode, "P")).toBe("pause");
      expect(keymap.commandFor(mode, "p")).toBeUndefined();
      expect(keymap.commandFor(mode, "ctrl+f")).toBe("freeze");
      expect(keymap.commandFor(mode, "d")).toBeUndefined();
      expect(keymap.commandFor(mode, "r")).toBe("resume");
    }
    expect(keymap.label("pause")).toBe("Space");
    expect(keymap.label("dismiss")).toBe("dismiss");
  });

  test("an error panel resumes by the key that it names, and is closed by its own", () => {
    const keymap = new Keymap(parseKeyFile('{"resume": "R", "back": "b", "show-error": "r"}'));
    expect(keymap.label("resume")).toBe("R");
    expect(keymap.commandFor("notice", "R")).toBe("resume");
    expect(keymap.commandFor("notice", "r")).toBeUndefined();
    expect(keymap.commandFor("notice", "escape")).toBe("back");
    expect(keymap.commandFor("notice", "b")).toBeUndefined();
  });

  test("two commands may change places", () => {
    const keymap = new Keymap(parseKeyFile('{"cancel": "X", "force-cancel": "x"}'));
    expect(keymap.commandFor("list", "x")).toBe("force-cancel");
  });

  test("does not reach dialogs and menus", () => {
    const keymap = new Keymap(parseKeyFile('{"back": "b", "up": "u"}'));
    expect(keymap.commandFor("help", "escape")).toBe("back");
    expect(keymap.commandFor("menu", "up")).toBe("up");
    expect(keymap.commandFor("list", "escape")).toBeUndefined();
  });

  test.each([
    ["{", "is not JSON"],
    ["[]", "must be an object"],
    ["null", "must be an object"],
    ['{"pauze": "p"}', 'there is no command "pauze"; those that can be changed are up, down,'],
    ['{"interrupt": "q"}', 'the keys of "interrupt" are fixed'],
    ['{"confirm": "enter"}', 'the keys of "confirm" are fixed'],
    ['{"toString": "p"}', 'there is no command "toString"'],
    ['{"pause": 1}', '"pause" needs a key such as "p"'],
    ['{"pause": {"key": "p"}}', '"pause" needs a key such as "p"'],
    ['{"pause": "Ctrl-P"}', '"Ctrl-P" is no key; write one character, ctrl+a to ctrl+z, or one of up,'],
    ['{"pause": " "}', "is no key"],
    ['{"pause": ""}', "is no key"],
    ['{"pause": "ctrl+i"}', 'terminals send ctrl+i for tab; write "tab"'],
    ['{"pause": "x"}', '"x" would mean both pause and cancel'],
    ['{"pause": "ctrl+c"}', '"ctrl+c" is interrupt, always; choose another key for pause'],
  ])("that says %s is refused", (text, message) => {
    expect(() => parseKeyFile(text)).toThrow(KeyFileError);
    expect(() => parseKeyFile(text)).toThrow(message);
  });

  test("the README names every command that can be changed", () => {
    const readme = readFileSync(appFile("README.md"), "utf8");
    const missing = COMMAND_ENTRIES.map(([command]) => command)
      .filter(isChangeable)
      .filter((command) => !readme.includes(`\`${command}\``));
    expect(missing).toEqual([]);
  });
});
