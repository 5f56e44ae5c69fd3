import { describe, expect, test } from "vitest";
import { isNbdUri, parseNbdUri } from "../../src/index.ts";

describe("NBD URIs", () => {
  test.each([
    ["nbd://localhost", { address: { host: "localhost", port: 10_809 }, exportName: "", tls: false }],
    ["nbd://10.0.0.1:99/", { address: { host: "10.0.0.1", port: 99 }, exportName: "", tls: false }],
    ["nbd://[::1]:99/a/b", { address: { host: "::1", port: 99 }, exportName: "a/b", tls: false }],
    [
      "NBDS://example.org/%E2%84%961%20x",
      { address: { host: "example.org", port: 10_809 }, exportName: "№1 x", tls: true },
    ],
    [
      "nbd://host/../etc/./x",
      { address: { host: "host", port: 10_809 }, exportName: "../etc/./x", tls: false },
    ],
    ["nbd://host/a/%2E%2e/b", { address: { host: "host", port: 10_809 }, exportName: "a/../b", tls: false }],
    ["nbd+unix://?socket=/s", { address: { path: "/s" }, exportName: "", tls: false }],
    ["nbd+unix:///..?socket=/s", { address: { path: "/s" }, exportName: "..", tls: false }],
    ["nbd://host/a b \n", { address: { host: "host", port: 10_809 }, exportName: "a b", tls: false }],
    ["nbd://host//slash", { address: { host: "host", port: 10_809 }, exportName: "/slash", tls: false }],
    [
      "nbd+unix:///?socket=/run/a+b%20c.sock",
      { address: { path: "/run/a+b c.sock" }, exportName: "", tls: false },
    ],
    ["nbd+unix:///disk?socket=s.sock", { address: { path: "s.sock" }, exportName: "disk", tls: false }],
    [
      "nbds+unix:///d?socket=/s&tls-certificates=/pki&tls-hostname=h",
      { address: { path: "/s" }, exportName: "d", tls: true, tlsCertificates: "/pki", tlsHostname: "h" },
    ],
    [
      "nbds+unix://al%C3%AFce@/d?socket=/s&tls-psk-file=/keys%2Bpsk",
      {
        address: { path: "/s" },
        exportName: "d",
        tls: true,
        tlsPskFile: "/keys+psk",
        username: "alïce",
      },
    ],
    [
      "nbds://bob@host:99/a@b?tls-psk-file=k",
      {
        address: { host: "host", port: 99 },
        exportName: "a@b",
        tls: true,
        tlsPskFile: "k",
        username: "bob",
      },
    ],
    [
      "nbd://eve@host/",
      { address: { host: "host", port: 10_809 }, exportName: "", tls: false, username: "eve" },
    ],
  ])("%s", (text, expected) => {
    expect(parseNbdUri(text)).toEqual(expected);
    expect(isNbdUri(text)).toBe(true);
  });

  test.each([
    ["nbd:localhost:10809", { address: { host: "localhost", port: 10_809 }, exportName: "" }],
    [
      "nbd:10.0.0.2:49153:exportname=drive-0",
      { address: { host: "10.0.0.2", port: 49_153 }, exportName: "drive-0" },
    ],
    ["nbd:[::1]:99:exportname=a:b/%20 c", { address: { host: "::1", port: 99 }, exportName: "a:b/%20 c" }],
    ["nbd:unix:/run/a b.sock", { address: { path: "/run/a b.sock" }, exportName: "" }],
    [
      "nbd:unix:/run/x:y:exportname=d:exportname=e",
      { address: { path: "/run/x:y" }, exportName: "d:exportname=e" },
    ],
  ])("as it was written before there were URIs: %s", (text, expected) => {
    expect(parseNbdUri(text)).toEqual({ ...expected, tls: false });
    expect(isNbdUri(text)).toBe(true);
  });

  test.each([
    "",
    "disk.raw",
    "http://localhost/",
    "nbd:localhost",
    "nbd::10809",
    "nbd:localhost:0",
    "nbd:localhost:65536",
    "nbd:::1:10809",
    "nbd:localhost:10809:exportname",
    "nbd:localhost:10809:exportname=",
    "nbd:unix:",
    "nbd:unix::exportname=x",
    `nbd:unix:/s:exportname=${"x".repeat(4097)}`,
    "nbd:///export",
    "nbd://host:0/",
    "nbd://host:99999/",
    "nbd://host/%zz",
    "nbd://host/%00",
    "nbd://host/x#y",
    "nbd://host/?socket=/s",
    "nbd://host/?tls-hostname=h",
    "nbd://host/?tls-psk-file=k",
    "nbds://host/?tls-psk-file=k&tls-certificates=d",
    "nbds://user:secret@host/",
    "nbds://@host/",
    "nbds://%zz@host/",
    "nbd+unix:///x",
    "nbd+unix:///x?socket=",
    "nbd+unix://host/x?socket=/s",
    "nbd+unix:///x?socket=%zz",
    "nbd+unix:///x?socket=/s&sockets=/t",
    `nbd://host/${"x".repeat(4097)}`,
  ])("refused: %s", (text) => {
    expect(() => parseNbdUri(text)).toThrow(SyntaxError);
  });

  test("what is none is not taken for one", () => {
    for (const text of ["nbd", "nbd:/x", "/tmp/nbd://x", "nbd.raw", "nbdx://y"])
      expect(isNbdUri(text)).toBe(false);
  });
});
