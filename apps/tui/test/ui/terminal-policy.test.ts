import { describe, expect, test } from "vitest";
import { prefersAscii } from "../../src/terminal/charset.ts";
import { wantsColor } from "../../src/terminal/color-policy.ts";
import { configDirectory } from "../../src/terminal/config-directory.ts";
import { stateDirectory } from "../../src/terminal/state-directory.ts";

describe("colour policy: option, FORCE_COLOR, NO_COLOR, terminal", () => {
  test.each([
    ["auto", {}, true, true],
    ["auto", {}, false, false],
    ["auto", { TERM: "dumb" }, true, false],
    ["auto", { NO_COLOR: "1" }, true, false],
    ["auto", { NO_COLOR: "" }, true, true],
    ["auto", { FORCE_COLOR: "1", NO_COLOR: "1" }, false, true],
    ["auto", { FORCE_COLOR: "0" }, true, false],
    ["always", { NO_COLOR: "1" }, false, true],
    ["never", { FORCE_COLOR: "1" }, true, false],
  ] as const)("%s with %j on a terminal: %s gives %s", (mode, env, isTTY, expected) => {
    expect(wantsColor(mode, { env, isTTY })).toBe(expected);
  });
});

test.each([
  [{ LANG: "C.UTF-8" }, "linux", false],
  [{ LANG: "de_DE.utf8" }, "linux", false],
  [{ LANG: "C" }, "linux", true],
  [{}, "linux", true],
  [{ LC_ALL: "C", LANG: "en_US.UTF-8" }, "linux", true],
  [{ LC_ALL: "", LANG: "en_US.UTF-8" }, "linux", false],
  [{ LANG: "C.UTF-8", TERM: "linux" }, "linux", true],
  [{ LANG: "C.UTF-8", TERM: "dumb" }, "linux", true],
  [{}, "darwin", false],
  [{}, "win32", false],
] as const)("locale %j on %s prefers ASCII: %s", (env, platform, expected) => {
  expect(prefersAscii({ env, platform })).toBe(expected);
});

test("the configuration directory follows the XDG rules", () => {
  expect(configDirectory({}, "/home/a")).toBe("/home/a/.config/blockmirror");
  expect(configDirectory({ XDG_CONFIG_HOME: "/etc/own" }, "/home/a")).toBe("/etc/own/blockmirror");
  expect(configDirectory({ XDG_CONFIG_HOME: "relative" }, "/home/a")).toBe("/home/a/.config/blockmirror");
});

test("the state directory follows the XDG rules", () => {
  expect(stateDirectory({}, "/home/a")).toBe("/home/a/.local/state/blockmirror");
  expect(stateDirectory({ XDG_STATE_HOME: "/state" }, "/home/a")).toBe("/state/blockmirror");
  expect(stateDirectory({ XDG_STATE_HOME: "relative" }, "/home/a")).toBe("/home/a/.local/state/blockmirror");
});
