import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { ConnectionEndedError, SocketReader } from "../../src/server/socket-reader.ts";

test("reads exact lengths across packets, and keeps the rest", async () => {
  const socket = new PassThrough();
  const reader = new SocketReader(socket);
  socket.write("ab");
  const first = reader.read(3);
  socket.write("cdefgh");
  expect((await first).toString()).toBe("abc");
  expect((await reader.read(2)).toString()).toBe("de");
  expect((await reader.read(0)).byteLength).toBe(0);
  const rest = reader.release();
  expect(rest.take(rest.length).toString()).toBe("fgh");
});

test("an end before the message is an error that says how much had come", async () => {
  const socket = new PassThrough();
  const reader = new SocketReader(socket);
  const wanted = reader.read(8);
  socket.end("abc");
  await expect(wanted).rejects.toMatchObject({ name: "ConnectionEndedError", received: 3 });
  await expect(reader.read(8)).rejects.toBeInstanceOf(ConnectionEndedError);
});

test("what arrived before the end can still be read", async () => {
  const socket = new PassThrough();
  const reader = new SocketReader(socket);
  const first = reader.read(2);
  socket.end("abcd");
  expect((await first).toString()).toBe("ab");
  expect((await reader.read(2)).toString()).toBe("cd");
  await expect(reader.read(1)).rejects.toBeInstanceOf(ConnectionEndedError);
});

test("an error of the socket is the cause", async () => {
  const socket = new PassThrough();
  const reader = new SocketReader(socket);
  const cause = new Error("reset");
  const wanted = reader.read(1);
  socket.destroy(cause);
  await expect(wanted).rejects.toMatchObject({ cause });
});
