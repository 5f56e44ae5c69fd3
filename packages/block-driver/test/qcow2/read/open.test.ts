import { linkSync, mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  BlockGraph,
  createDefaultRegistry,
  directoryGate,
  type BlockErrorCode,
  type GateRequest,
  type OpenGate,
} from "../../../src/index.ts";
import { failure, filled } from "../../support/graphs.ts";
import { createImage } from "../support/create.ts";
import { openImage, read, withImage } from "../support/open.ts";
import { poke, poke32, poke64 } from "../support/poke.ts";
import { scratchFiles } from "../support/scratch.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const at = scratchFiles();

/** Opens an image with what it names, and says what the gate was asked. */
async function openNamed<T>(
  file: string,
  run: (reading: (offset: number, length: number) => Promise<Uint8Array>) => Promise<T>,
  gate: OpenGate = directoryGate(),
): Promise<{ readonly result: T; readonly asked: readonly GateRequest[] }> {
  const asked: GateRequest[] = [];
  const graph = new BlockGraph({
    registry: createDefaultRegistry(),
    gate: (request) => {
      asked.push(request);
      return gate(request);
    },
  });
  try {
    const node = await graph.open({
      driver: "qcow2",
      readOnly: true,
      file: { driver: "file", filename: file },
    });
    const edge = graph.attach(node, { name: "reader", uses: ["read"], shares: ["read"] });
    const result = await run((offset, length) => read(edge, offset, length));
    return { result, asked };
  } finally {
    await graph.closeAll();
  }
}

/** An image over a raw one beside it, whose first cluster is its own. */
async function makeOverlay(backingFile: string, backingFormat = "raw"): Promise<string> {
  writeFileSync(at("base.raw"), filled(MIB, 0xbb));
  const file = at("disk.qcow2");
  await createImage(file, 2 * MIB, { backingFile, backingFormat });
  await withImage(file, ({ edge }) => Promise.resolve(edge.write(0, [filled(64 * KIB, 0xaa)])), {
    backing: null,
  });
  return file;
}

async function firstBytes(file: string): Promise<readonly number[]> {
  const { result } = await openNamed(file, async (reading) => [
    (await reading(0, 1))[0] ?? -1,
    (await reading(64 * KIB, 1))[0] ?? -1,
    (await reading(MIB, 1))[0] ?? -1,
  ]);
  return result;
}

const THROUGH = [0xaa, 0xbb, 0] as const;

describe("names of backing files", () => {
  test.each([
    "base.raw",
    "./base.raw",
    "file:base.raw",
    'json:{"driver":"raw","file":{"driver":"file","filename":"base.raw"}}',
    'json:{"driver":"raw","file.filename":"base.raw"}',
    'json:{"driver":"raw","file.driver":"file","file":{"filename":"base.raw"}}',
  ])("%s is the file beside the image", async (name) => {
    expect(await firstBytes(await makeOverlay(name))).toEqual(THROUGH);
  });

  test("a name is looked for where the image that has it is, not where the program runs", async () => {
    mkdirSync(at("below"));
    const file = await makeOverlay("base.raw");
    const top = at("below/top.qcow2");
    await createImage(top, 2 * MIB, { backingFile: "../disk.qcow2", backingFormat: "qcow2" });
    const gate = directoryGate([dirname(file)]);
    const { result, asked } = await openNamed(top, (reading) => reading(64 * KIB, 1), gate);
    expect(result[0]).toBe(0xbb);
    expect(asked.map(({ depth, filename, writable }) => ({ depth, filename, writable }))).toEqual([
      { depth: 1, filename: file, writable: false },
      { depth: 2, filename: at("base.raw"), writable: false },
    ]);
  });

  test.each([
    ["H02", "/etc/passwd"],
    ["H02", "../../../../etc/passwd"],
    ["H02", "file:///etc/passwd"],
    ["H02", "/proc/self/mem"],
    ["H02", "//host/share"],
    ["H05", "nbd://localhost/x"],
    ["H05", "https://example.org/x"],
    ["H05", "ssh:x"],
    ["H05", "fat:x"],
    ["H05", "host_device:x"],
    ["H04", 'json:{"driver":"nbd","host":"localhost"}'],
    ["H04", 'json:{"driver":"raw","file":{"driver":"https","url":"x"}}'],
    ["H04", 'json:{"driver":"raw","file":{"driver":"host_device","filename":"base.raw"}}'],
    ["H04", 'json:{"driver":"raw","file":{"driver":"file","filename":"base.raw","locking":"off"}}'],
    ["H04", 'json:{"driver":"raw","file":{"filename":"base.raw"},"file.filename":"/etc/passwd"}'],
    ["H04", 'json:{"driver":"raw","__proto__":{"x":1},"file":{"filename":"base.raw"}}'],
    ["H04", 'json:{"driver":"raw","file":{"filename":"/etc/passwd"}}'],
    ["H04", 'json:{"driver":"blkdebug","file":{"filename":"base.raw"}}'],
    ["H04", `json:${"[".repeat(500)}`],
    ["H04", `json:${'{"file":'.repeat(100)}1${"}".repeat(100)}`],
    ["H04", "json:"],
    ["H04", "json:null"],
  ])("%s: %s is refused", async (_id, name) => {
    const file = await makeOverlay(name);
    const before = readFileSync(file);
    await failure("BLK_DENIED", () => openNamed(file, async () => {}));
    expect(Buffer.compare(readFileSync(file), before)).toBe(0);
  });

  test("H03: a link out of the directory does not help", async () => {
    symlinkSync("/etc/passwd", at("link"));
    const file = await makeOverlay("link");
    await failure("BLK_DENIED", () => openNamed(file, async () => {}));
  });

  test.each<readonly [string, BlockErrorCode]>([
    ["nothing.raw", "ENOENT"],
    [".", "BLK_DENIED"],
  ])("H08: %s is an error, not zeroes", async (name, code) => {
    const file = await makeOverlay(name);
    await failure(code, () => openNamed(file, async () => {}));
  });

  test("H08: a format that is not recorded is not guessed", async () => {
    const file = await makeOverlay("base.raw");
    // The extension's type becomes one that nobody knows.
    const extensions = readFileSync(file).indexOf(Buffer.from([0xe2, 0x79, 0x2a, 0xca]));
    poke32(file, extensions, 0x1234_5678);
    const error = await failure("BLK_DENIED", () => openNamed(file, async () => {}));
    expect(error.message).toContain("format");
  });

  test.each(["vmdk", "file", "memory"])("H08: the format %s is not taken for another", async (format) => {
    const file = await makeOverlay("base.raw");
    const recorded = readFileSync(file).indexOf(Buffer.from([0xe2, 0x79, 0x2a, 0xca]));
    poke32(file, recorded + 4, format.length);
    poke(file, recorded + 8, Buffer.from(format.padEnd(8, "\0")));
    await expect(openNamed(file, async () => {})).rejects.toThrow();
  });

  test("H08: the wrong format is found out", async () => {
    const file = await makeOverlay("base.raw", "qcow2");
    await failure("EINVAL", () => openNamed(file, async () => {}));
  });

  test.each([
    ["itself", (file: string) => file],
    ["another name of itself", (file: string) => (linkSync(file, at("other.qcow2")), "other.qcow2")],
    ["a link to itself", (file: string) => (symlinkSync(file, at("link.qcow2")), "link.qcow2")],
  ])("H06: %s as the backing file ends", async (_name, make) => {
    const file = at("disk.qcow2");
    await createImage(file, MIB, { backingFile: "x".repeat(200), backingFormat: "qcow2" });
    const name = make(file);
    const recorded = readFileSync(file).indexOf(Buffer.from("x".repeat(200)));
    poke(file, recorded, Buffer.from(name));
    poke32(file, 16, name.length);
    await expect(openNamed(file, async () => {})).rejects.toMatchObject({ code: "EINVAL" });
  });

  test("H07: a chain of names is followed so far and no further", async () => {
    const names = Array.from({ length: 70 }, (_unused, index) => `image-${index}.qcow2`);
    for (const [index, name] of names.entries()) {
      const below = names[index - 1];
      await createImage(at(name), 64 * KIB, {
        clusterSize: 512,
        ...(below !== undefined && { backingFile: below, backingFormat: "qcow2" }),
      });
    }
    const depths = await openNamed(at(names[60] ?? ""), (reading) => reading(0, 512));
    expect(depths.asked).toHaveLength(60);
    await failure("EINVAL", () => openNamed(at(names[69] ?? ""), async () => {}));
  });

  test("an image that names a backing file can be opened with another one, or none", async () => {
    const file = await makeOverlay("/nowhere");
    writeFileSync(at("other.raw"), filled(64 * KIB + 512, 0xcc));
    const other = { driver: "file", filename: at("other.raw"), readOnly: true };
    await withImage(
      file,
      async ({ edge, node }) => {
        expect((await read(edge, 64 * KIB, 513)).lastIndexOf(0xcc)).toBe(511);
        expect(node.info.namedBacking).toEqual({ filename: "/nowhere", format: "raw" });
      },
      { readOnly: true, backing: other },
    );
    await withImage(
      file,
      async ({ edge }) => {
        expect(await read(edge, 64 * KIB, 512)).toEqual(filled(512, 0));
      },
      { readOnly: true, backing: null },
    );
  });
});

describe("a chain", () => {
  test.each([
    [
      [512, 2 * MIB],
      [MIB + 512, 3 * MIB],
    ],
    [
      [2 * MIB, 4096],
      [5 * MIB, MIB],
    ],
    [
      [64 * KIB, 64 * KIB, 1024, 16 * KIB],
      [2 * MIB, MIB + 1024, 3 * MIB, 2 * MIB - 512],
    ],
  ])("of clusters of %j bytes and disks of %j reads as the top of each part", async (clusterSizes, sizes) => {
    const model = new Uint8Array(6 * MIB);
    writeFileSync(at("layer-0"), filled(700_416, 1));
    model.fill(1, 0, 700_416);
    for (const [index, clusterSize] of clusterSizes.entries()) {
      const size = sizes[index] ?? MIB;
      const file = at(`layer-${index + 1}`);
      const below = `layer-${index}`;
      await createImage(file, size, {
        clusterSize,
        backingFile: below,
        backingFormat: index === 0 ? "raw" : "qcow2",
      });
      model.fill(0, size);
      const graph = new BlockGraph({ registry: createDefaultRegistry(), gate: directoryGate() });
      const node = await graph.open({ driver: "qcow2", file: { driver: "file", filename: file } });
      const edge = graph.attach(node, { name: "guest", uses: ["read", "write"], shares: ["read"] });
      const offset = 100_000 * (index + 1) + 77;
      await edge.write(offset, [filled(300_000, index + 2)]);
      model.fill(index + 2, offset, offset + 300_000);
      await edge.writeZeroes(offset + 50_000, 20_000);
      model.fill(0, offset + 50_000, offset + 70_000);
      await graph.closeAll();
    }
    const size = sizes.at(-1) ?? 0;
    const { result } = await openNamed(at(`layer-${clusterSizes.length}`), (reading) => reading(0, size));
    expect(Buffer.compare(result, model.subarray(0, size))).toBe(0);
  });
});

test("H13: a backing file that another program shortens is an error where it is missed, not zeroes", async () => {
  const file = await makeOverlay("base.raw");
  const backing = {
    driver: "raw",
    readOnly: true,
    file: { driver: "file", filename: at("base.raw"), readOnly: true },
  };
  await withImage(
    file,
    async ({ edge }) => {
      expect((await read(edge, MIB - 512, 1))[0]).toBe(0xbb);
      truncateSync(at("base.raw"), 512 * KIB);
      const error = await failure("EIO", () => edge.read(MIB - 4096, [new Uint8Array(512)]));
      expect(error.message).toContain("base.raw");
      // Nor does copy-on-write make zeroes of it.
      await failure("EIO", () => edge.write(MIB - 4096, [new Uint8Array(512)]));
      expect((await read(edge, 0, 1))[0]).toBe(0xaa);
      expect((await read(edge, 256 * KIB, 1))[0]).toBe(0xbb);
    },
    { backing },
  );
});

async function withDataFile(name: string): Promise<string> {
  const file = at("disk.qcow2");
  writeFileSync(at("disk.data"), "");
  const dataFile = { driver: "file", filename: at("disk.data") };
  await createImage(file, MIB, { dataFile });
  await withImage(file, ({ edge }) => Promise.resolve(edge.write(0, [filled(64 * KIB, 0xdd)])), {
    dataFile,
  });
  const bytes = readFileSync(file);
  const recorded = bytes.indexOf(Buffer.from("DATA"));
  // What is behind the name goes, padding included: it is the last extension that matters here.
  poke32(file, recorded + 4, name.length);
  poke(file, recorded + 8, Buffer.concat([Buffer.from(name), Buffer.alloc(16)]));
  return file;
}

describe("a data file", () => {
  test("is found beside the image", async () => {
    const file = await withDataFile("disk.data");
    const { result, asked } = await openNamed(file, (reading) => reading(100, 1));
    expect(result[0]).toBe(0xdd);
    expect(asked.map(({ role, writable }) => ({ role, writable }))).toEqual([
      { role: "data", writable: false },
    ]);
  });

  test("H11: is asked for as one that will be written, when it will be", async () => {
    const file = await withDataFile("disk.data");
    const asked: GateRequest[] = [];
    const graph = new BlockGraph({
      registry: createDefaultRegistry(),
      gate: async (request) => {
        asked.push(request);
        return { deny: "no" };
      },
    });
    await failure("BLK_DENIED", () =>
      graph.open({ driver: "qcow2", file: { driver: "file", filename: file } }),
    );
    expect(asked.map(({ writable }) => writable)).toEqual([true]);
    await graph.closeAll();
  });

  test("H09: is not the image itself", async () => {
    const file = await withDataFile("disk.qcow2");
    await expect(openNamed(file, async () => {})).rejects.toMatchObject({ name: "BlockError" });
  });

  test("B07: is refused where the image keeps its data itself", async () => {
    const file = at("disk.qcow2");
    await createImage(file, MIB);
    writeFileSync(at("disk.data"), "");
    await failure("EINVAL", () =>
      openImage(file, { dataFile: { driver: "file", filename: at("disk.data") } }),
    );
  });

  test("H12: is not opened to describe the image, nor is a backing file", async () => {
    const file = await withDataFile("/etc/passwd");
    const graph = new BlockGraph({ registry: createDefaultRegistry() });
    const node = await graph.open({ driver: "file", filename: file, readOnly: true });
    const edge = graph.attach(node, { name: "inspector", uses: ["read"], shares: ["read"] });
    const info = await graph.registry.get("qcow2").inspect?.(edge);
    expect(info?.details).toMatchObject({ dataFile: "/etc/passwd", dataFileRaw: false });
    expect(graph.nodes()).toHaveLength(1);
    await graph.closeAll();
  });
});

test("H10: a directory is no image", async () => {
  await failure("EISDIR", () => openImage(join(at("."))));
});

test("H01: a raw image that looks like qcow2 is what the caller says it is", async () => {
  const file = at("disk.img");
  await createImage(file, MIB);
  poke64(file, 8, 0n);
  const graph = new BlockGraph({ registry: createDefaultRegistry() });
  const raw = await graph.open({ driver: "raw", readOnly: true, file: { driver: "file", filename: file } });
  expect(raw.size).toBe(readFileSync(file).length);
  await graph.closeAll();
});
