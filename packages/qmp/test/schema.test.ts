import { describe, expect, expectTypeOf, it } from "vitest";

import {
  BLOCK_SCHEMA,
  type BlockCommands,
  type BlockEvents,
  type BlockType,
  introspect,
  type JsonObject,
  QmpError,
  validateArguments,
} from "../src/index.ts";

type CommandName = keyof typeof BLOCK_SCHEMA.commands;

/** The description of what is wrong with the arguments, or "fine". */
function verdict(command: CommandName, args: JsonObject): string {
  try {
    validateArguments(BLOCK_SCHEMA, BLOCK_SCHEMA.commands[command].arguments, args);
    return "fine";
  } catch (error) {
    if (!(error instanceof QmpError)) throw error;
    expect(error).toMatchObject({ code: "QMP_COMMAND_FAILED", errorClass: "GenericError" });
    return error.message;
  }
}

const file = { driver: "file", filename: "/x" };

describe("argument checks", () => {
  it.each<[CommandName, JsonObject]>([
    ["query-jobs", {}],
    ["blockdev-add", { driver: "raw", "node-name": "a", file }],
    ["blockdev-add", { driver: "raw", "node-name": "a", file: "b" }],
    ["blockdev-add", { driver: "qcow2", "node-name": "a", file: { driver: "raw", file }, backing: null }],
    ["blockdev-add", { driver: "null-co", size: 2n ** 62n }],
    ["block-dirty-bitmap-merge", { node: "a", target: "b", bitmaps: ["c", { node: "d", name: "e" }] }],
    ["transaction", { actions: [{ type: "abort", data: {} }] }],
    ["nbd-server-start", { addr: { type: "unix", data: { path: "/s" } } }],
  ])("%s accepts %o", (command, args) => {
    expect(verdict(command, args)).toBe("fine");
  });

  it.each<[CommandName, JsonObject, string]>([
    ["query-jobs", { a: 1 }, "Parameter 'a' is unexpected"],
    ["blockdev-del", {}, "Parameter 'node-name' is missing"],
    ["blockdev-del", { "node-name": 7 }, "Invalid parameter type for 'node-name', expected: string"],
    ["blockdev-del", { "node-name": null }, "Invalid parameter type for 'node-name', expected: string"],
    ["blockdev-add", { "node-name": "x" }, "Parameter 'driver' is missing"],
    ["blockdev-add", { driver: "nosuch" }, "Parameter 'driver' does not accept value 'nosuch'"],
    ["blockdev-add", { driver: "toString" }, "Parameter 'driver' does not accept value 'toString'"],
    ["blockdev-add", { driver: 1 }, "Invalid parameter type for 'driver', expected: string"],
    ["blockdev-add", { driver: "raw" }, "Parameter 'file' is missing"],
    ["blockdev-add", { driver: "raw", file: { driver: "file" } }, "Parameter 'file.filename' is missing"],
    [
      "blockdev-add",
      { driver: "raw", file: null },
      "Invalid parameter type for 'file', expected: object or string",
    ],
    ["blockdev-add", { ...file, zzz: 1 }, "Parameter 'zzz' is unexpected"],
    [
      "blockdev-add",
      { ...file, "read-only": "yes" },
      "Invalid parameter type for 'read-only', expected: boolean",
    ],
    ["blockdev-add", { ...file, aio: "fast" }, "Parameter 'aio' does not accept value 'fast'"],
    ["block_resize", { size: 1.5 }, "Invalid parameter type for 'size', expected: integer"],
    ["block_resize", { size: 2n ** 63n }, "Invalid parameter type for 'size', expected: integer"],
    [
      "block-dirty-bitmap-add",
      { node: "a", name: "b", granularity: -1 },
      "Invalid parameter type for 'granularity', expected: integer",
    ],
    [
      "block-dirty-bitmap-add",
      { node: "a", name: "b", granularity: 2 ** 32 },
      "Invalid parameter type for 'granularity', expected: integer",
    ],
    ["transaction", { actions: {} }, "Invalid parameter type for 'actions', expected: array"],
    ["transaction", { actions: [{ type: "abort" }] }, "Parameter 'actions[0].data' is missing"],
    ["transaction", { actions: [3] }, "Invalid parameter type for 'actions[0]', expected: object"],
    [
      "block-dirty-bitmap-merge",
      { node: "a", target: "b", bitmaps: [1] },
      "Invalid parameter type for 'bitmaps[0]', expected: string or object",
    ],
  ])("%s refuses %o", (command, args, description) => {
    expect(verdict(command, args)).toBe(description);
  });
});

describe("the schema", () => {
  const names = Object.keys(BLOCK_SCHEMA.commands);
  const entries = introspect(BLOCK_SCHEMA, names);
  const byName = new Map(entries.map((entry) => [entry["name"], entry]));

  it("introspects every command and event", () => {
    for (const name of names) expect(byName.get(name)).toMatchObject({ "meta-type": "command" });
    for (const name of Object.keys(BLOCK_SCHEMA.events)) {
      expect(byName.get(name)).toMatchObject({ "meta-type": "event" });
    }
  });

  it("describes every type that is mentioned, once", () => {
    const mentioned = new Set<unknown>();
    const collect = (value: unknown, key: string): void => {
      if (Array.isArray(value)) value.forEach((item) => collect(item, ""));
      else if (typeof value === "object" && value !== null) {
        for (const [name, member] of Object.entries(value)) collect(member, name);
      } else if (["type", "arg-type", "ret-type", "element-type"].includes(key)) mentioned.add(value);
    };
    entries.forEach((entry) => collect(entry, ""));
    for (const name of mentioned)
      expect(byName.has(typeof name === "string" ? name : ""), String(name)).toBe(true);
    expect(byName.size).toBe(entries.length);
  });

  it("shows optional members with a default, unions with their tag and variants", () => {
    expect(byName.get("BlockdevOptions")).toMatchObject({ tag: "driver", "meta-type": "object" });
    expect(byName.get("BlockDirtyBitmapAdd")).toMatchObject({
      members: [
        { name: "node", type: "str" },
        { name: "name", type: "str" },
        { name: "granularity", type: "int", default: null },
        { name: "persistent", type: "bool", default: null },
        { name: "disabled", type: "bool", default: null },
      ],
    });
    expect(byName.get("nbd-server-add")).toMatchObject({ features: ["deprecated"] });
  });

  it("refuses to introspect what it does not describe", () => {
    expect(() => introspect(BLOCK_SCHEMA, ["nosuch"])).toThrow(TypeError);
  });

  it("gives TypeScript the same types that it checks", () => {
    expectTypeOf<BlockCommands["query-block-jobs"]["returns"][number]["status"]>().toEqualTypeOf<
      BlockType<"JobStatus">
    >();
    expectTypeOf<BlockEvents["JOB_STATUS_CHANGE"]>().toExtend<{ id: string }>();
    expectTypeOf<{ driver: "raw"; file: "b" }>().toExtend<BlockCommands["blockdev-add"]["arguments"]>();
    expectTypeOf<{ driver: "raw" }>().not.toExtend<BlockCommands["blockdev-add"]["arguments"]>();
    expectTypeOf<{ driver: "nosuch" }>().not.toExtend<BlockCommands["blockdev-add"]["arguments"]>();
    expectTypeOf<BlockCommands["block_resize"]["arguments"]["size"]>().toEqualTypeOf<number | bigint>();
  });
});
