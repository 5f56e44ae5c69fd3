import { describe, expect, test } from "vitest";
import {
  BlockError,
  createDefaultRegistry,
  DRIVER_CONTRACT_VERSION,
  DriverRegistry,
  memoryDriver,
  option,
  optionSchema,
  toBlockError,
} from "../../src/index.ts";
import { failure } from "../support/graphs.ts";

const schema = optionSchema({
  path: option.string("path"),
  title: option.optionalString("title"),
  size: option.bytes("size", { min: 512 }),
  limit: option.optionalBytes("limit"),
  depth: option.integer("depth", 3, { min: -1, max: 9 }),
  fast: option.boolean("fast", true),
  mode: option.choice("mode", ["a", "b"], "b"),
  file: option.child("file"),
  backing: option.optionalChild("backing"),
  extra: option.json("extra", (value) => {
    if (value === "bad") throw new Error("is bad");
    return value;
  }),
});

const least = { path: "p", size: 512, file: "node" };

describe("an option schema", () => {
  test("fills defaults and keeps what is given", () => {
    expect(schema.parse(least, "here")).toEqual({
      ...least,
      title: undefined,
      limit: undefined,
      depth: 3,
      fast: true,
      mode: "b",
      backing: undefined,
      extra: undefined,
    });
    const full = {
      path: "p",
      title: "t",
      size: 1024,
      limit: 0,
      depth: -1,
      fast: false,
      mode: "a",
      file: { driver: "memory", size: 1 },
      backing: null,
      extra: [1],
    };
    expect(schema.parse(full, "here")).toEqual(full);
  });

  test.each([
    ["path", undefined],
    ["path", ""],
    ["path", 1],
    ["title", ""],
    ["size", undefined],
    ["size", 511],
    ["size", "512"],
    ["size", 2 ** 53],
    ["limit", -1],
    ["limit", 1.5],
    ["depth", 10],
    ["depth", Number.NaN],
    ["fast", "yes"],
    ["mode", "c"],
    ["file", undefined],
    ["file", ""],
    ["file", { size: 1 }],
    ["file", ["x"]],
    ["backing", 5],
    ["extra", "bad"],
  ])("refuses %s = %s, naming it and where", async (name, value) => {
    const error = await failure("EINVAL", () => schema.parse({ ...least, [name]: value }, "node 'n'"));
    expect(error.message).toContain("node 'n'");
    expect(error.message).toContain(`'${name}'`);
  });

  test("refuses unknown names and lists the known ones", async () => {
    const error = await failure("EINVAL", () => schema.parse({ ...least, paht: "x" }, "here"));
    expect(error.message).toMatch(/'paht'.*path, title/);
    await failure("EINVAL", () => optionSchema({}).parse({ constructor: 1 }, "here"));
  });

  test("describes its fields for tools", () => {
    expect(schema.fields["mode"]).toMatchObject({ type: "choice", required: false, choices: ["a", "b"] });
    expect(schema.fields["path"]).toMatchObject({ type: "string", required: true, description: "path" });
  });
});

describe("a registry", () => {
  test("refuses a second driver of a name and another contract version", () => {
    const registry = new DriverRegistry().register(memoryDriver);
    expect(() => registry.register(memoryDriver)).toThrow(TypeError);
    const older = { ...memoryDriver, name: "older", contractVersion: DRIVER_CONTRACT_VERSION + 1 };
    expect(() => registry.register(older)).toThrow(/version 2/);
    expect(registry.names()).toEqual(["memory"]);
    expect([registry.has("memory"), registry.has("older")]).toEqual([true, false]);
  });

  test("says which drivers there are when one is unknown", async () => {
    const error = await failure("EINVAL", () => createDefaultRegistry().get("floppy"));
    for (const name of ["floppy", "file", "memory", "raw", "fault"]) expect(error.message).toContain(name);
  });

  test("registries share nothing", () => {
    expect(
      createDefaultRegistry()
        .register({ ...memoryDriver, name: "mine" })
        .has("mine"),
    ).toBe(true);
    expect(createDefaultRegistry().has("mine")).toBe(false);
  });
});

describe("toBlockError", () => {
  test.each([
    ["ENOENT", "ENOENT"],
    ["EDQUOT", "ENOSPC"],
    ["EPERM", "EACCES"],
    ["EOPNOTSUPP", "ENOTSUP"],
    ["ENOSYS", "ENOTSUP"],
    ["EWEIRD", "EIO"],
    [undefined, "EIO"],
  ])("folds %s to %s, and tells where", (posix, code) => {
    const cause = Object.assign(new Error("went wrong"), posix === undefined ? {} : { code: posix });
    const error = toBlockError(cause, { node: "disk", operation: "read", offset: 5, length: 7 });
    expect(error).toMatchObject({ code, node: "disk", operation: "read", offset: 5, length: 7, cause });
    expect(error.message).toMatch(/read on disk at offset 5 \(7 bytes\).*went wrong/);
  });

  test("keeps what is a BlockError, and takes what is no Error", () => {
    const error = new BlockError("ENOSPC", "full");
    expect(toBlockError(error, { node: "other" })).toBe(error);
    expect(toBlockError("text", {}).message).toContain("text");
  });
});
