import { describe, expect, test } from "vitest";
import {
  BlockGraph,
  BYTE_ALIGNMENT,
  createDefaultRegistry,
  DEFAULT_LIMITS,
  DRIVER_CONTRACT_VERSION,
  MemoryDevice,
  option,
  optionSchema,
  READ_ONLY_CAPABILITIES,
  type BlockDevice,
  type BlockDriver,
  type DeviceInfo,
} from "../../src/index.ts";
import { failure, filled, makeGraph, parent, readBytes } from "../support/graphs.ts";

const inline = { driver: "memory", nodeName: "disk", size: 8192 } as const;

describe("opening", () => {
  test("opens inline children, names what has no name, and finds nodes by name", async () => {
    const graph = makeGraph();
    const node = await graph.open({ driver: "raw", file: { driver: "memory", size: 4096 } });
    expect(node.name).toMatch(/^#block/);
    expect(node.child("file")?.node.info.driver).toBe("memory");
    expect(graph.find(node.name)).toBe(node);
    expect(graph.nodes()).toHaveLength(2);
    expect(graph.find("nobody")).toBeUndefined();
  });

  test("attaches a child by node name", async () => {
    const graph = makeGraph();
    const disk = await graph.open(inline);
    const raw = await graph.open({ driver: "raw", nodeName: "raw", file: "disk" });
    expect(raw.child("file")?.node).toBe(disk);
    await failure("EBUSY", () => graph.close(disk));
    await graph.close(raw);
    expect(graph.find("disk")).toBe(disk);
    await graph.close(disk);
    expect(graph.nodes()).toHaveLength(0);
  });

  test.each([
    ["an unknown driver", { driver: "floppy" }, "EINVAL"],
    ["an unknown option", { ...inline, colour: 1 }, "EINVAL"],
    ["a bad node name", { ...inline, nodeName: "1 disk" }, "EINVAL"],
    ["an unknown child", { driver: "raw", file: "nobody" }, "EINVAL"],
    ["itself as a format's child", { driver: "raw", nodeName: "a", file: "a" }, "EINVAL"],
    ["itself as a filter's child", { driver: "fault", nodeName: "a", file: "a" }, "EINVAL"],
    [
      "a window beyond its file",
      { driver: "raw", offset: 9000, file: { driver: "memory", size: 10 } },
      "EINVAL",
    ],
    [
      "a failing grandchild",
      { driver: "raw", file: { driver: "raw", file: { driver: "file", filename: "/none" } } },
      "ENOENT",
    ],
  ] as const)("refuses %s and leaves nothing open", async (_what, spec, code) => {
    const graph = makeGraph();
    await failure(code, () => graph.open(spec));
    expect(graph.nodes()).toHaveLength(0);
  });

  test("refuses a name that is taken and keeps the first node", async () => {
    const graph = makeGraph();
    const disk = await graph.open(inline);
    await failure("EEXIST", () => graph.open(inline));
    expect(graph.nodes()).toEqual([disk]);
  });

  test("a failed open closes inline children and leaves named ones as they were", async () => {
    const graph = makeGraph();
    const disk = await graph.open(inline);
    await failure("EINVAL", () => graph.open({ driver: "raw", offset: 10_000, file: "disk" }));
    expect(graph.nodes()).toEqual([disk]);
    expect(disk.parents.size).toBe(0);
    graph.attach(disk, parent("exclusive", { shares: [] }));
  });

  test("a read-only node refuses changes, and so do its inline children", async () => {
    const graph = makeGraph();
    const node = await graph.open({ driver: "raw", readOnly: true, file: { driver: "memory", size: 4096 } });
    const edge = graph.attach(node, parent("user"));
    await failure("EROFS", () => edge.write(0, [filled(1, 1)]));
    await failure("EROFS", () => edge.writeZeroes(0, 1));
    await failure("EROFS", () => edge.discard(0, 1));
    await failure("EROFS", () => edge.resize(0));
    expect(node.child("file")?.node.info.readOnly).toBe(true);
    expect(await readBytes(edge, 0, 1)).toEqual(filled(1, 0));
  });

  test("what stands on a read-only node is read-only: raw images and filters say so, formats are not opened for writing", async () => {
    const graph = new BlockGraph({ registry: createDefaultRegistry() });
    await graph.open({ ...inline, size: 2 ** 20 });
    await graph.create("qcow2", { file: "disk", size: 65536 });
    await graph.reopen(graph.find("disk") ?? expect.unreachable(), { readOnly: true });
    for (const driver of ["raw", "fault"]) {
      const node = await graph.open({ driver, file: "disk" });
      expect(node.info.readOnly).toBe(true);
      const edge = graph.attach(node, parent("user"));
      await failure("EROFS", () => edge.write(0, [filled(512, 1)]));
      await graph.detach(edge);
      await graph.close(node);
    }
    await failure("EROFS", () => graph.open({ driver: "qcow2", file: "disk" }));
    await graph.open({ driver: "qcow2", file: "disk", readOnly: true });
  });

  test("a qcow2 image is not opened for writing above a data file that is read-only", async () => {
    const graph = new BlockGraph({ registry: createDefaultRegistry() });
    for (const nodeName of ["image", "data"]) await graph.open({ driver: "memory", nodeName, size: 2 ** 20 });
    const dataFile = { dataFile: "data", dataFileName: "data.raw" };
    await graph.create("qcow2", { file: "image", ...dataFile, size: 65536 });
    await graph.reopen(graph.find("data") ?? expect.unreachable(), { readOnly: true });
    const image = { driver: "qcow2", file: "image", dataFile: "data" };
    const error = await failure("EROFS", () => graph.open(image));
    expect(error.message).toContain("its data file is open read-only");
    await graph.open({ ...image, readOnly: true });
  });

  test("two nodes on one storage are refused unless both only read", async () => {
    const graph = custom((device) => ({
      info: { ...device.info, can: READ_ONLY_CAPABILITIES, identity: "file:1:2" },
    }));
    await graph.open({ driver: "custom", nodeName: "a", readOnly: true });
    await graph.open({ driver: "custom", nodeName: "b", readOnly: true });
    const error = await failure("EBUSY", () => graph.open({ driver: "custom", nodeName: "c" }));
    expect(error.message).toMatch(/'a'/);
    expect(graph.find("c")).toBeUndefined();
  });
});

describe("what a driver opened is checked", () => {
  test("a size beyond 2^53-1 is EFBIG", async () => {
    await refused({ size: 2 ** 53 }, "EFBIG");
    await refused({ size: -1 }, "EFBIG");
    await refused({ size: Number.NaN }, "EFBIG");
  });

  test("a size that is not a multiple of the block size is EINVAL", async () => {
    await refused({ size: 1000, align: { ...BYTE_ALIGNMENT, write: 512 } }, "EINVAL");
    await refused({ size: 1000, align: { ...BYTE_ALIGNMENT, read: 512 } }, "EINVAL");
  });

  test.each([
    ["write", { write: true }],
    ["writeZeroes", { writeZeroes: "fast" }],
    ["discard", { discard: "hint" }],
    ["flush", { flush: true }],
    ["resize", { resize: "grow" }],
    ["copyRange", { copyRange: true }],
    ["lend", { lend: true }],
  ] as const)(
    "an announced %s without the method is a TypeError, and the device is closed",
    async (name, can) => {
      let closed = 0;
      const graph = custom((device) => ({
        info: { ...device.info, can: { ...READ_ONLY_CAPABILITIES, ...can } },
        close: async () => {
          closed += 1;
        },
      }));
      await expect(graph.open({ driver: "custom" })).rejects.toThrow(TypeError);
      await expect(graph.open({ driver: "custom" })).rejects.toThrow(name);
      expect(closed).toBe(2);
      expect(graph.nodes()).toHaveLength(0);
    },
  );
});

describe("closing", () => {
  test("inline nodes are closed with their last user", async () => {
    const graph = makeGraph();
    const raw = await graph.open({
      driver: "raw",
      file: { driver: "memory", nodeName: "inner", size: 4096 },
    });
    const inner = graph.find("inner");
    if (inner === undefined) throw new Error("inner is not there");
    const edge = graph.attach(inner, parent("looker", { uses: ["read"] }));
    await graph.close(raw);
    expect(graph.find("inner")).toBe(inner);
    await graph.detach(edge);
    expect(graph.find("inner")).toBeUndefined();
    expect(inner.isOpen).toBe(false);
    await graph.detach(edge);
  });

  test("a node is not closed under its users, who are named", async () => {
    const graph = makeGraph();
    const disk = await graph.open(inline);
    const edge = graph.attach(disk, parent("export 'e'"));
    const error = await failure("EBUSY", () => graph.close(disk));
    expect(error.message).toContain("export 'e'");
    await graph.detach(edge);
    await graph.close(disk);
    await graph.close(disk);
    await failure("ESHUTDOWN", () => edge.read(0, [filled(1, 0)]));
    await failure("ESHUTDOWN", () => graph.attach(disk, parent("late")));
  });

  test("children cannot be detached by hand", async () => {
    const graph = makeGraph();
    const raw = await graph.open({ driver: "raw", file: inline });
    const edge = raw.child("file");
    if (edge === undefined) throw new Error("no child");
    await expect(graph.detach(edge)).rejects.toThrow(TypeError);
  });

  test("closeAll closes everything and reports the first failure last", async () => {
    let closed = 0;
    const graph = custom(() => ({
      close: async () => {
        closed += 1;
        throw new Error(`flush ${closed}`);
      },
    }));
    const first = await graph.open({ driver: "custom" });
    await graph.open({ driver: "raw", file: { driver: "custom" } });
    graph.attach(first, parent("user"));
    await expect(graph.closeAll()).rejects.toThrow("flush 1");
    expect(closed).toBe(2);
    expect(graph.nodes()).toHaveLength(0);
  });

  test("what closing children meets does not hide why an open failed", async () => {
    const graph = custom(() => ({ close: () => Promise.reject(new Error("on top")) }));
    await failure("EINVAL", () => graph.open({ driver: "raw", offset: 10_000, file: { driver: "custom" } }));
    expect(graph.nodes()).toHaveLength(0);
  });
});

describe("creating images", () => {
  const maker: BlockDriver<object, { readonly file: string | { readonly driver: string } }> = {
    name: "maker",
    kind: "format",
    contractVersion: DRIVER_CONTRACT_VERSION,
    options: optionSchema({}),
    createOptions: optionSchema({ file: option.child("where") }),
    open: () => Promise.reject(new Error("not opened here")),
    async create(options, context) {
      const file = await context.openChild(options.file, "file");
      await file.write(0, [filled(4, 7)]);
    },
  };

  test("lets go of a node it was given by name", async () => {
    const graph = makeGraph();
    graph.registry.register(maker);
    const disk = await graph.open(inline);
    await graph.create("maker", { file: "disk" });
    expect(disk.parents.size).toBe(0);
    expect(await readBytes(graph.attach(disk, parent("user")), 0, 4)).toEqual(filled(4, 7));
  });

  test("closes what it opened, also when it fails or is refused", async () => {
    const graph = makeGraph();
    graph.registry.register(maker);
    await graph.create("maker", { file: { driver: "memory", size: 4096 } });
    await failure("EINVAL", () => graph.create("maker", { file: { driver: "memory", size: 1 } }));
    expect(graph.nodes()).toHaveLength(0);
    const disk = await graph.open(inline);
    graph.attach(disk, parent("exclusive", { shares: [] }));
    const error = await failure("EBUSY", () => graph.create("maker", { file: "disk" }));
    expect(error.message).toContain("exclusive");
    expect(disk.parents.size).toBe(1);
    await failure("ENOTSUP", () => graph.create("memory", {}));
    await failure("EINVAL", () => graph.create("maker", {}));
  });
});

/** A graph with a driver `custom`: a memory disk of 4096 bytes in which some members are changed. */
function custom(change: (device: MemoryDevice) => Partial<BlockDevice>): BlockGraph {
  const driver: BlockDriver<object> = {
    name: "custom",
    kind: "protocol",
    contractVersion: DRIVER_CONTRACT_VERSION,
    options: optionSchema({}),
    open: (_options, context) => {
      const device = new MemoryDevice(4096, context.nodeName, context.readOnly);
      return Promise.resolve({
        info: { ...device.info, can: READ_ONLY_CAPABILITIES, max: DEFAULT_LIMITS },
        read: device.read.bind(device),
        status: device.status.bind(device),
        close: () => Promise.resolve(),
        ...change(device),
      });
    },
  };
  return new BlockGraph({ registry: createDefaultRegistry().register(driver) });
}

async function refused(info: Partial<DeviceInfo>, code: "EFBIG" | "EINVAL"): Promise<void> {
  const graph = custom((device) => ({ info: { ...device.info, can: READ_ONLY_CAPABILITIES, ...info } }));
  await failure(code, () => graph.open({ driver: "custom" }));
  expect(graph.nodes()).toHaveLength(0);
}
