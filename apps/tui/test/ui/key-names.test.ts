import type { Key } from "ink";
import { expect, test } from "vitest";
import { keyPressesOf } from "../../src/ui/key-names.ts";

const PLAIN: Key = {
  upArrow: false,
  downArrow: false,
  leftArrow: false,
  rightArrow: false,
  pageDown: false,
  pageUp: false,
  home: false,
  end: false,
  return: false,
  escape: false,
  ctrl: false,
  shift: false,
  tab: false,
  backspace: false,
  delete: false,
  meta: false,
  super: false,
  hyper: false,
  capsLock: false,
  numLock: false,
};

test.each([
  ["jk", ["j", "k"]],
  ["\u001520M\r", ["ctrl+u", "2", "0", "M", "enter"]],
  ["a\u007F\tb c", ["a", "backspace", "tab", "b", "space", "c"]],
  ["\u0003\u0003", ["ctrl+c", "ctrl+c"]],
])("one chunk %j is the keys that were pressed", (input, names) => {
  const presses = keyPressesOf(input, PLAIN);
  expect(presses.map(({ name }) => name)).toEqual(names);
  for (const { text } of presses) expect(text).not.toMatch(/\p{Cc}/u);
});
