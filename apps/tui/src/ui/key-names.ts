import type { Key } from "ink";

const NAMED: readonly (readonly [keyof Key, string])[] = [
  ["upArrow", "up"],
  ["downArrow", "down"],
  ["leftArrow", "left"],
  ["rightArrow", "right"],
  ["pageUp", "pageup"],
  ["pageDown", "pagedown"],
  ["home", "home"],
  ["end", "end"],
  ["return", "enter"],
  ["escape", "escape"],
  ["backspace", "backspace"],
  ["delete", "delete"],
];

/** One key press: its name in the keymap, and the text it would type. */
export interface KeyPress {
  readonly name: string;
  /** Empty for keys that type nothing. */
  readonly text: string;
}

/** Translates what ink reports. A chunk of several characters is several key presses. */
export function keyPressesOf(input: string, key: Key): KeyPress[] {
  if (key.tab) return [{ name: key.shift ? "shift+tab" : "tab", text: "" }];
  const named = NAMED.find(([flag]) => key[flag] === true);
  if (named !== undefined) return [{ name: named[1], text: "" }];
  if (key.ctrl) return [{ name: `ctrl+${input.toLowerCase()}`, text: "" }];
  if (key.meta || key.super || key.hyper) return [];
  return Array.from(input, (character) => {
    if (character === "\r" || character === "\n") return { name: "enter", text: "" };
    if (character === "\u007F" || character === "\b") return { name: "backspace", text: "" };
    if (character === "\t") return { name: "tab", text: "" };
    // Typed fast, or by a program, a control key comes in one chunk with what follows it.
    const code = character.charCodeAt(0);
    if (code < 0x20) return { name: `ctrl+${String.fromCharCode(code + 0x60)}`, text: "" };
    return { name: character === " " ? "space" : character, text: character };
  });
}
