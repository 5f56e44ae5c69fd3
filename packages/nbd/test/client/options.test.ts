import { BlockGraph } from "@blockmirror/block-driver";
import { expect, test } from "vitest";
import { nbdDriver } from "../../src/index.ts";
import { nbdRegistry, openNbd } from "./support/devices.ts";
import { FakeServer } from "./support/fake-server.ts";

const server = { path: "/nowhere" };

test.each([
  ["neither address", {}],
  ["both addresses", { uri: "nbd://h", server }],
  ["a bad URI", { uri: "nbd:/h" }],
  ["a server without address", { server: {} }],
  ["a server with two addresses", { server: { path: "/a", host: "b" } }],
  ["an empty path", { server: { path: "" } }],
  ["an empty host", { server: { host: "" } }],
  ["a wrong port", { server: { host: "h", port: 65_536 } }],
  ["a server that is a string", { server: "h" }],
  ["an export with NUL", { server, export: "a\0b" }],
  ["an export of 4097 bytes", { server, export: "x".repeat(4097) }],
  ["an export that is a number", { server, export: 1 }],
  ["two exports", { uri: "nbd://h/a", export: "b" }],
  ["TLS that the URI wants and the option forbids", { uri: "nbds://h", tls: false }],
  ["TLS that is a string", { server, tls: "yes" }],
  ["unknown TLS files", { server, tls: { dir: "/x" } }],
  ["a certificate without key", { server, tls: { certificate: "/x" } }],
  ["keys and certificates", { server, tls: { pskFile: "/x", ca: "/y" } }],
  ["a user without a key", { server, tls: { username: "u" } }],
  ["keys of the URI and certificates of the option", { uri: "nbds://h?tls-psk-file=k", tls: { ca: "/y" } }],
  ["bitmaps that are no list", { server, bitmaps: "b0" }],
  ["a bitmap without a name", { server, bitmaps: [""] }],
  ["a bitmap twice", { server, bitmaps: ["b", "b"] }],
  ["a name of 1024 bytes", { server, bitmaps: ["x".repeat(1024)] }],
  ["17 bitmaps", { server, bitmaps: Array.from({ length: 17 }, (_name, index) => `b${index}`) }],
  ["no connections", { server, connections: 0 }],
  ["too many connections", { server, connections: 17 }],
  ["a negative delay", { server, reconnectDelayMs: -1 }],
  ["no time to open", { server, openTimeoutMs: 0 }],
  ["an unknown word", { server, unflushedWrites: "hope" }],
  ["an unknown option", { server, host: "h" }],
])("%s is refused before anything is dialled", async (_name, options) => {
  await expect(openNbd(options)).rejects.toMatchObject({ code: "EINVAL" });
});

test("the defaults are what the documentation says", () => {
  expect(nbdDriver.options.parse({ uri: "nbd://h" }, "test")).toEqual({
    uri: "nbd://h",
    server: undefined,
    export: undefined,
    tls: undefined,
    bitmaps: [],
    connections: 4,
    reconnectDelayMs: 10_000,
    openTimeoutMs: 10_000,
    requestTimeoutMs: 60_000,
    flushTimeoutMs: 600_000,
    unflushedWrites: "fail",
  });
  expect(nbdDriver.options.parse({ server: { host: "h" } }, "test").server).toEqual({
    host: "h",
    port: 10_809,
  });
});

test("an export cannot be created, and the same one is not opened twice for writing", async () => {
  expect(nbdDriver.create).toBeUndefined();
  await using fake = await FakeServer.start();
  const graph = new BlockGraph({ registry: nbdRegistry() });
  const spec = { driver: "nbd", uri: fake.uri };
  await graph.open(spec);
  await expect(graph.open(spec)).rejects.toMatchObject({ code: "EBUSY" });
  await graph.closeAll();
});
