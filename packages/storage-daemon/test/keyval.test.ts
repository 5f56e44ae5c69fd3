import { BLOCK_SCHEMA } from "@blockmirror/qmp";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { coerce } from "../src/command-line/coerce.ts";
import { parseKeyval } from "../src/command-line/keyval.ts";
import "./support/seed.ts";

function typed(text: string): unknown {
  return coerce(BLOCK_SCHEMA, "BlockdevOptions", parseKeyval(text, "driver").value);
}

describe("values of options", () => {
  it.each([
    ["a=1,b=2", { a: "1", b: "2" }],
    ["raw,node-name=n", { driver: "raw", "node-name": "n" }],
    ["a=x,,y", { a: "x,y" }],
    ["a=,,", { a: "," }],
    ["a=b=c", { a: "b=c" }],
    ["a=", { a: "" }],
    ["a.b.c=1,a.b.d=2,a.e=3", { a: { b: { c: "1", d: "2" }, e: "3" } }],
    ["a.0=x,a.1=y", { a: ["x", "y"] }],
    ["a.1.b=y,a.0.b=x", { a: [{ b: "x" }, { b: "y" }] }],
    ["a=1,a=2", { a: "2" }],
    ["a=1,", { a: "1" }],
  ])("%s", (text, value) => {
    expect(parseKeyval(text, "driver")).toEqual({ value, isText: true });
  });

  it("may be JSON, and keeps its types then", () => {
    expect(parseKeyval('{"a": {"b": [1, true, "x,y"]}}')).toEqual({
      value: { a: { b: [1, true, "x,y"] } },
      isText: false,
    });
  });

  it.each([
    "a",
    "a=1,b",
    "=1",
    "a..b=1",
    ".a=1",
    "a=1,a.b=2",
    "a.b=1,a=2",
    "a.0=x,a.2=y",
    "{",
    '{"a":1}{"b":2}',
    "{1}",
  ])("refuses %s", (text) => {
    expect(() => parseKeyval(text)).toThrow(expect.objectContaining({ name: "UsageError" }));
  });

  it("reads whatever it is given with doubled commas", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (first, second) => {
        const text = `a=${first.replaceAll(",", ",,")},b=${second.replaceAll(",", ",,")}`;
        expect(parseKeyval(text).value).toEqual({ a: first, b: second });
      }),
    );
  });
});

describe("types of values", () => {
  it.each([
    ["raw,read-only=on,file=f", { driver: "raw", "read-only": true, file: "f" }],
    [
      "raw,offset=512,size=9007199254740993,file=f",
      { driver: "raw", offset: 512, size: 9007199254740993n, file: "f" },
    ],
    [
      "qcow2,backing.driver=raw,backing.file.driver=file,backing.file.filename=1,cache.direct=off,file=2",
      {
        driver: "qcow2",
        backing: { driver: "raw", file: { driver: "file", filename: "1" } },
        cache: { direct: false },
        file: "2",
      },
    ],
    [
      "nbd,server.type=inet,server.host=h,server.port=10809,reconnect-delay=5",
      { driver: "nbd", server: { type: "inet", host: "h", port: "10809" }, "reconnect-delay": 5 },
    ],
    [
      "blkdebug,image=i,inject-error.0.event=read_aio,inject-error.0.once=yes",
      { driver: "blkdebug", image: "i", "inject-error": [{ event: "read_aio", once: true }] },
    ],
    ["nosuch,size=1", { driver: "nosuch", size: "1" }],
  ])("follow from the schema: %s", (text, value) => {
    expect(typed(text)).toEqual(value);
  });

  it.each([
    ["64", 64],
    ["64k", 65_536],
    ["3T", 3 * 2 ** 40],
    ["8E", 2n ** 63n],
    ["0x10000", 65_536],
    ["010", 10],
  ])("sizes: %s", (text, value) => {
    expect(coerce(BLOCK_SCHEMA, "size", text)).toBe(value);
  });

  // qemu-storage-daemon 7.2 --object throttle-group,id=t,limits.iops-total=…
  it.each([
    ["16", 16],
    ["+5", 5],
    ["-5", -5],
    ["0", 0],
    ["-0", 0],
    ["0x10", 16],
    ["0X1f", 31],
    ["-0x10", -16],
    ["010", 8],
    ["0xffffffffffffffff", 2n ** 64n - 1n],
  ])("integers: %s", (text, value) => {
    for (const type of ["int", "uint64"]) expect(coerce(BLOCK_SCHEMA, type, text)).toBe(value);
  });

  it.each([
    ["bool", "maybe"],
    ["bool", "toString"],
    ["int", "1.5"],
    ["int", ""],
    ["int", "0x"],
    ["int", "08"],
    ["int", "1f"],
    ["int", "--1"],
    ["size", "0x10K"],
    ["size", "-1"],
    ["size", "1KB"],
  ])("a %s is refused that is '%s'", (type, text) => {
    expect(() => coerce(BLOCK_SCHEMA, type, text)).toThrow(expect.objectContaining({ name: "UsageError" }));
  });
});
