import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { JsonReader, type JsonRead, stringify } from "../src/index.ts";
import "./support/seed.ts";

function read(text: string | Uint8Array, reader: JsonReader = new JsonReader()): JsonRead[] {
  return reader.push(typeof text === "string" ? Buffer.from(text, "latin1") : text);
}

/** Values read, errors as the word "error". */
function outline(text: string): unknown[] {
  return read(text).map((each) => (each.kind === "value" ? each.value : "error"));
}

/** Bytes that are in use now, without what nobody can reach any more. */
function memoryInUse(): number {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

function nested(depth: number): string {
  return "[".repeat(depth) + "]".repeat(depth);
}

const OK = '{"execute":"query-jobs"}';
const OK_VALUE = { execute: "query-jobs" };

describe("messages without separators", () => {
  it("reads several objects that touch", () => {
    expect(outline(`${OK}${OK}\r\n\t ${OK}`)).toEqual([OK_VALUE, OK_VALUE, OK_VALUE]);
  });

  it("reads an object that comes byte by byte", () => {
    const reader = new JsonReader();
    const bytes = Buffer.from('{"a": ["\\"}", {"b": "{"}]}');
    const reads = [...bytes].flatMap((byte) => reader.push(Uint8Array.of(byte)));
    expect(reads).toEqual([{ kind: "value", value: { a: ['"}', { b: "{" }] } }]);
  });

  it("knows whether it is inside a message", () => {
    const reader = new JsonReader();
    expect(reader.isInsideMessage).toBe(false);
    reader.push(Buffer.from('{"a'));
    expect(reader.isInsideMessage).toBe(true);
    reader.push(Buffer.from('":1}'));
    expect(reader.isInsideMessage).toBe(false);
  });

  it("does not keep the chunk it was given", () => {
    const reader = new JsonReader();
    const chunk = Buffer.from('{"a":"one');
    reader.push(chunk);
    chunk.fill(0x7a);
    expect(reader.push(Buffer.from(' two"}'))).toEqual([{ kind: "value", value: { a: "one two" } }]);
  });

  it("ends a bare word where something else begins", () => {
    expect(outline('true{"a":1}12 "x"null ')).toEqual([true, { a: 1 }, 12, "x", null]);
  });

  it("reads pretty-printed messages", () => {
    expect(outline(JSON.stringify({ return: [{ a: 1 }, "}"] }, undefined, 4))).toEqual([
      { return: [{ a: 1 }, "}"] },
    ]);
  });
});

describe("values", () => {
  it("takes strings in single quotes, as qmp-shell and people write them", () => {
    expect(outline(`{'execute':'it\\'s "x"'}`)).toEqual([{ execute: 'it\'s "x"' }]);
  });

  it("reads every escape and UTF-8", () => {
    expect(read(Buffer.from('["\\u00e9\\ud83d\\ude00\\n\\t\\r\\b\\f\\/\\\\","é😀"]'))).toEqual([
      { kind: "value", value: ["é😀\n\t\r\b\f/\\", "é😀"] },
    ]);
  });

  it.each([
    ["9007199254740991", 9007199254740991],
    ["9007199254740993", 9007199254740993n],
    ["18446744073709551615", 18446744073709551615n],
    ["-9223372036854775808", -9223372036854775808n],
    ["123456789012345678901234567890", 123456789012345678901234567890n],
    ["1.5e3", 1500],
    ["-0", -0],
    ["1e-2", 0.01],
  ])("reads the number %s without rounding it", (text, value) => {
    for (const mode of ["strict", "fast"] as const) {
      expect(read(`[${text}]`, new JsonReader(mode))).toEqual([{ kind: "value", value: [value] }]);
    }
  });

  it("keeps a member named __proto__ as a member", () => {
    const [first] = read('{"__proto__": {"polluted": true}, "a": 1}');
    if (first?.kind !== "value") throw new Error("expected a value");
    expect(Object.keys(first.value ?? {})).toEqual(["__proto__", "a"]);
    expect(Object.hasOwn({}, "polluted")).toBe(false);
  });
});

describe("broken input", () => {
  it.each([
    ["a value that is missing", `{"execute":}${OK}`],
    ["a missing colon", `{"execute" "x"}${OK}`],
    ["a comma too many in an object", `{"a":1,}${OK}`],
    ["a comma too many in an array", `[1,]${OK}`],
    ["a closing brace that opened nowhere", `}${OK}`],
    ["a closing bracket that opened nowhere", `]${OK}`],
    ["brackets closed by a brace", `[}${OK}`],
    ["a brace closed by a bracket", `{]${OK}`],
    ["a member named twice", `{"a":1,"a":1}${OK}`],
    ["an unknown word", `nul ${OK}`],
    ["a bad escape", `{"a":"\\q"}${OK}`],
    ["half a surrogate pair", `{"a":"\\ud800"}${OK}`],
    ["two high surrogates", `{"a":"\\ud800\\ud800"}${OK}`],
    ["bytes that are not UTF-8", `{"a":"\xc3"}${OK}`],
    ["leading zeros", `{"a":01}${OK}`],
    ["a minus alone", `{"a":-}${OK}`],
    ["a fraction without digits", `{"a":1.}${OK}`],
    ["a number too large for a double", `{"a":1e400}${OK}`],
    ["a control character between messages", `\x01${OK}`],
    ["0xFF between messages", `\xff${OK}`],
    ["0xFF in the middle of a message", `{"execute":\xff${OK}`],
    ["0xFF in the middle of a string", `{"execute":"quer\xff${OK}`],
    ["a control character in the middle of a string", `{"execute":"q\x01${OK}`],
    ["a control character after a backslash", `{"execute":"q\\\x01${OK}`],
    ["characters that begin nothing, up to a brace", `^ % $ abc ${OK}`],
    ["a byte order mark", `\xef\xbb\xbf${OK}`],
  ])("answers %s with one error and reads on", (_what, text) => {
    expect(outline(text)).toEqual(["error", OK_VALUE]);
  });

  it("answers twice when the rest of a broken message is broken, too", () => {
    // What follows the stray character is skipped up to the brace, which then closes nothing: as QEMU's monitor has it.
    expect(outline(`{"a" ^ 1}\n${OK}`)).toEqual(["error", "error", OK_VALUE]);
    expect(outline(`{"a":"x\ny"}${OK}`)).toEqual(["error", "error", OK_VALUE]);
  });
});

describe("limits", () => {
  it("takes nesting up to the limit and no deeper", () => {
    expect(read(nested(1024))).toHaveLength(1);
    expect(read(nested(1024))[0]?.kind).toBe("value");
    expect(read(nested(1025))[0]?.kind).toBe("error");
  });

  it("drops a message that grows beyond the limit, and recovers", () => {
    const reader = new JsonReader("strict", { maxBytes: 64 });
    const reads = ["{", '"a":"', "x".repeat(100), '"}\n', OK].flatMap((part) => read(part, reader));
    expect(reads.at(-1)).toEqual({ kind: "value", value: OK_VALUE });
    expect(reads[0]).toMatchObject({ kind: "error", message: expect.stringContaining("64 bytes") });
  });

  it("keeps a message that comes in single bytes in no more memory than one that comes at once", () => {
    const reader = new JsonReader();
    const letters = 200_000;
    read('{"a":"', reader);
    const before = memoryInUse();
    for (let count = 0; count < letters; count += 1) reader.push(Uint8Array.of(0x78));
    expect(memoryInUse() - before).toBeLessThan(20 * letters);
    expect(read('"}', reader)).toEqual([{ kind: "value", value: { a: "x".repeat(letters) } }]);
  });

  it.each(["strict", "fast"] as const)("refuses a number of a million digits, and reads on (%s)", (mode) => {
    const reader = new JsonReader(mode);
    const reads = [...read(`{"a":${"1".repeat(1_000_000)}}\n`, reader), ...read(OK, reader)];
    expect(reads).toEqual([
      { kind: "error", message: expect.stringContaining("number of 1000000 characters; at most 4096") },
      { kind: "value", value: OK_VALUE },
    ]);
    expect(read(`[-${"1".repeat(4095)}] [${"1".repeat(4097)}]`, reader)).toMatchObject([
      { kind: "value", value: [-BigInt("1".repeat(4095))] },
      { kind: "error" },
    ]);
  });

  it.each([{ maxDepth: 0 }, { maxBytes: -1 }, { maxBytes: 1.5 }])("refuses the limits %o", (limits) => {
    expect(() => new JsonReader("strict", limits)).toThrow(RangeError);
  });
});

describe("properties", () => {
  const json = fc.jsonValue({ maxDepth: 6 });

  it("reads what it writes, however it is cut, in both modes", () => {
    fc.assert(
      fc.property(fc.array(json, { maxLength: 5 }), fc.array(fc.nat(), { maxLength: 6 }), (values, cuts) => {
        const bytes = Buffer.from(values.map((value) => `${stringify(value)}\n`).join(""));
        const places = cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b);
        for (const mode of ["strict", "fast"] as const) {
          const reader = new JsonReader(mode);
          const reads = [0, ...places].flatMap((from, index) =>
            reader.push(bytes.subarray(from, places[index] ?? bytes.length)),
          );
          // As text, because a number that JavaScript would have rounded comes back as a bigint.
          const texts = reads.map((each) => (each.kind === "value" ? stringify(each.value) : each.message));
          expect(texts).toEqual(values.map((value) => stringify(value)));
        }
      }),
    );
  });

  it("writes ASCII on one line", () => {
    fc.assert(
      fc.property(json, (value) => {
        expect(stringify(value)).toMatch(/^[\x20-\x7e]*$/);
      }),
    );
  });

  it("survives any bytes, and a control character and a newline bring it back", () => {
    const byte = fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from("{}[]\":,\\' 1aeu\n\x01")));
    fc.assert(
      fc.property(fc.array(fc.array(byte, { maxLength: 30 }), { maxLength: 8 }), (chunks) => {
        const reader = new JsonReader();
        for (const chunk of chunks) reader.push(Uint8Array.from(chunk));
        const reads = read(`\x01\n${OK}`, reader);
        expect(reads.at(-1)).toEqual({ kind: "value", value: OK_VALUE });
      }),
      { numRuns: 2000 },
    );
  });

  it("cuts the same whatever the chunks are, also when it is broken", () => {
    const text = fc
      .array(
        fc.constantFrom(
          "{",
          "}",
          "[",
          "]",
          '"',
          "'",
          ":",
          ",",
          " ",
          "\n",
          "\\",
          "1",
          "a",
          "^",
          "\x01",
          "\xff",
          OK,
        ),
        { maxLength: 40 },
      )
      .map((parts) => Buffer.from(parts.join(""), "latin1"));
    fc.assert(
      fc.property(text, (bytes) => {
        const byByte = new JsonReader();
        expect([...bytes].flatMap((byte) => byByte.push(Uint8Array.of(byte)))).toEqual(read(bytes));
      }),
      { numRuns: 1000 },
    );
  });
});
