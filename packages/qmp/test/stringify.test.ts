import { describe, expect, it } from "vitest";

import { stringify } from "../src/index.ts";

describe("stringify", () => {
  it("escapes everything that is not printable ASCII", () => {
    expect(stringify("é😀\u007f\u2028\n")).toBe('"\\u00e9\\ud83d\\ude00\\u007f\\u2028\\n"');
  });

  it("writes all digits of a bigint", () => {
    expect(stringify({ size: 18446744073709551615n })).toBe('{"size":18446744073709551615}');
  });

  it("leaves out members that are undefined", () => {
    expect(stringify({ a: undefined, b: null, c: false })).toBe('{"b":null,"c":false}');
  });

  it("writes an object twice where it stands twice", () => {
    const shared = { x: 1 };
    expect(stringify([shared, shared])).toBe('[{"x":1},{"x":1}]');
  });

  it("writes the same with a bigint in it as without", () => {
    const value = { text: "é\n", list: [1, null, { deep: [true] }, []], empty: {}, gone: undefined };
    const plain = stringify(value);
    expect(stringify({ ...value, big: 2n ** 64n })).toBe(`${plain.slice(0, -1)},"big":18446744073709551616}`);
  });

  it("writes what is nested deeply", () => {
    let value: unknown = 1;
    for (let depth = 0; depth < 500; depth += 1) value = [value];
    expect(stringify(value)).toBe(JSON.stringify(value));
  });

  it("spreads a value over lines when asked to", () => {
    const value = { a: [1, {}, []], b: { c: "d" } };
    const text = stringify(value, { pretty: true });
    expect(text).toBe(JSON.stringify(value, undefined, 4));
  });

  it.each([
    ["NaN", Number.NaN],
    ["infinity", Number.POSITIVE_INFINITY],
    ["undefined in an array", [undefined]],
    ["a function", () => undefined],
    ["a symbol", Symbol("x")],
  ])("refuses %s", (_what, value) => {
    expect(() => stringify(value)).toThrow(TypeError);
  });

  it("refuses an object that contains itself", () => {
    const loop: { self?: unknown } = {};
    loop.self = loop;
    expect(() => stringify(loop)).toThrow(/contains itself/);
  });
});
