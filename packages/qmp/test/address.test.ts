import { describe, expect, it } from "vitest";

import { formatQmpAddress, parseQmpAddress } from "../src/index.ts";

describe("addresses", () => {
  it.each([
    ["/run/qmp.sock", { path: "/run/qmp.sock" }, "/run/qmp.sock"],
    ["./a:b:1x", { path: "./a:b:1x" }, "./a:b:1x"],
    ["unix:host:4444", { path: "host:4444" }, "host:4444"],
    ["localhost:4444", { host: "localhost", port: 4444 }, "localhost:4444"],
    ["tcp:127.0.0.1:1", { host: "127.0.0.1", port: 1 }, "127.0.0.1:1"],
    ["[::1]:65535", { host: "::1", port: 65535 }, "[::1]:65535"],
    ["/dir/name:4444", { path: "/dir/name:4444" }, "/dir/name:4444"],
  ])("reads %s", (text, address, formatted) => {
    expect(parseQmpAddress(text)).toEqual(address);
    expect(formatQmpAddress(address)).toBe(formatted);
  });

  it.each(["", "unix:", "tcp:nowhere", "host:0", "host:65536"])("refuses '%s'", (text) => {
    expect(() => parseQmpAddress(text)).toThrow(TypeError);
  });
});
