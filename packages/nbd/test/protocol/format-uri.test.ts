import * as fc from "fast-check";
import { expect, test } from "vitest";
import { formatNbdUri, parseNbdUri } from "../../src/index.ts";

const seed = Number(process.env["BLOCKMIRROR_SEED"] ?? 1);

test.each([
  ["nbd://localhost/", { address: { host: "localhost", port: 10809 }, tls: false, exportName: "" }],
  ["nbd://[::1]:99/a%20b", { address: { host: "::1", port: 99 }, tls: false, exportName: "a b" }],
  ["nbds+unix:///d?socket=/run/a%2Bb", { address: { path: "/run/a+b" }, tls: true, exportName: "d" }],
])("%s", (text, uri) => {
  expect(formatNbdUri(uri)).toBe(text);
  expect(parseNbdUri(text)).toEqual(uri);
});

test("what formatNbdUri writes, parseNbdUri reads", () => {
  // A path of dots alone is one that URIs resolve away; nobody names an export or a socket so.
  const text = fc
    .string({ unit: "grapheme", maxLength: 30 })
    .filter((part) => !part.includes("\0") && !part.split("/").some((name) => /^\.+$/.test(name)));
  const name = text.filter((part) => part.length > 0);
  const address = fc.oneof(
    fc.record({
      host: fc.constantFrom("localhost", "example.org", "::1", "10.0.0.1"),
      port: fc.integer({ min: 1, max: 65535 }),
    }),
    fc.record({ path: name }),
  );
  fc.assert(
    fc.property(address, fc.boolean(), text, name, fc.boolean(), (where, tls, exportName, value, isKey) => {
      const certificate = { tlsHostname: value };
      const key = { tlsPskFile: value, username: value.replaceAll(":", ";") };
      const uri = { address: where, tls, exportName, ...(tls && (isKey ? key : certificate)) };
      expect(parseNbdUri(formatNbdUri(uri))).toEqual(uri);
    }),
    { seed },
  );
});
