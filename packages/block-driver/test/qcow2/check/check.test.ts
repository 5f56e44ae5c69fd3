import { copyFileSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  BlockGraph,
  createDefaultRegistry,
  FaultController,
  type Qcow2CheckOptions,
  type Qcow2CheckReport,
  type Qcow2Finding,
} from "../../../src/index.ts";
import { failure, parent } from "../../support/graphs.ts";
import { checkFile, checkSpec } from "../support/check.ts";
import { createImage } from "../support/create.ts";
import { peek64, poke16, poke32, poke64 } from "../support/poke.ts";
import { scratchFiles } from "../support/scratch.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const COPIED = 1n << 63n;
/** Of a new image in clusters of 64 KiB. */
const TABLE = 0x10000;
const BLOCK = 0x20000;
const L2 = 0x40000;

const path = scratchFiles();

/** An image with some data, written through the driver; `extra` are create options. */
async function sample(name: string, extra: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const file = path(name);
  await createImage(file, 8 * MIB, extra);
  const graph = new BlockGraph({ registry: createDefaultRegistry() });
  const node = await graph.open({ driver: "qcow2", file: { driver: "file", filename: file } });
  const edge = graph.attach(node, parent("writer"));
  for (let index = 0; index < 8; index += 1) {
    await edge.write(index * 700 * KIB, [new Uint8Array(150 * KIB).fill(index + 1)]);
    // One after the other, so that what is where does not depend on timing.
    await edge.flush();
  }
  await graph.closeAll();
  return file;
}

/** What a guest reads. */
async function content(file: string): Promise<Buffer> {
  const graph = new BlockGraph({ registry: createDefaultRegistry() });
  const node = await graph.open({
    driver: "qcow2",
    readOnly: true,
    file: { driver: "file", filename: file },
  });
  const edge = graph.attach(node, parent("reader", { uses: ["read"] }));
  const bytes = Buffer.alloc(node.size);
  await edge.read(0, [bytes]);
  await graph.closeAll();
  return bytes;
}

const CLEAN = { checkErrors: 0, corruptions: 0, leaks: 0 };

describe("a check", () => {
  test.each([{}, { clusterSize: 512 }, { clusterSize: 4096, refcountBits: 1 }, { extendedL2: true }])(
    "finds nothing wrong with what this driver writes, %o, and writes nothing",
    async (options) => {
      const file = await sample("a.qcow2", options);
      const before = readFileSync(file);
      const report = await checkFile(file);
      expect(report).toMatchObject(CLEAN);
      expect(report.allocatedClusters).toBeGreaterThan(0);
      expect(report.imageEndOffset).toBeLessThanOrEqual(Math.ceil(before.length / 65536) * 65536);
      expect(readFileSync(file).equals(before)).toBe(true);
    },
  );

  test("tells every finding and how far it is", async () => {
    const file = await sample("a.qcow2");
    poke16(file, BLOCK + 2 * 5, 3);
    poke64(file, L2 + 8, COPIED | 0x5000000n);
    const findings: Qcow2Finding[] = [];
    const progress: (readonly [number, number])[] = [];
    const report = await checkFile(file, {
      onFinding: (finding) => findings.push(finding),
      onProgress: ({ done, total }) => progress.push([done, total]),
    });
    expect(findings.filter(({ kind }) => kind === "leak")).toHaveLength(report.leaks);
    expect(findings.filter(({ kind }) => kind === "corruption")).toHaveLength(report.corruptions);
    expect(findings.every(({ fixed }) => !fixed)).toBe(true);
    expect(progress.every(([done, total]) => done <= total)).toBe(true);
    expect(progress.at(-1)?.[0]).toBe(progress.at(-1)?.[1]);
  });

  test("I02: can be cancelled", async () => {
    const file = await sample("a.qcow2", { clusterSize: 512 });
    const abort = new AbortController();
    const onProgress: Qcow2CheckOptions["onProgress"] = ({ done }) => {
      if (done === 3) abort.abort();
    };
    await failure("ECANCELED", () => checkFile(file, { signal: abort.signal, onProgress }));
  });

  test("keeps to its memory", async () => {
    const file = await sample("a.qcow2");
    await failure("EFBIG", () => checkFile(file, { memoryLimit: 100 }));
  });

  test("F11: a reference far out costs no memory and no time", async () => {
    const file = await sample("a.qcow2", { clusterSize: 512 });
    // A sparse file of 8 TiB, and an entry that leads far beyond it.
    const l1 = Number(peek64(file, 40));
    truncateSync(file, 2 ** 43);
    poke64(file, l1, COPIED | (1n << 55n));
    const report = await checkFile(file, { memoryLimit: MIB });
    expect(report.corruptions).toBeGreaterThan(0);
  });

  test("I02: an L1 table that names one L2 table a million times takes one look at it", async () => {
    const file = path("a.qcow2");
    await createImage(file, 4 * 1024 ** 4, { clusterSize: 4096 });
    const l1 = Number(peek64(file, 40));
    const entries = readFileSync(file).readUInt32BE(36);
    const table = Math.ceil((l1 + entries * 8) / 4096) * 4096;
    truncateSync(file, table + 4096);
    const words = Buffer.alloc(entries * 8);
    for (let index = 0; index < entries; index += 1) words.writeBigUInt64BE(BigInt(table), index * 8);
    const bytes = readFileSync(file);
    words.copy(bytes, l1);
    writeFileSync(file, bytes);
    const reads = new FaultController();
    const report = await checkSpec({
      driver: "fault",
      controller: reads,
      file: { driver: "file", filename: file },
    });
    expect(report.corruptions).toBeGreaterThan(0);
    expect(
      reads.log.filter(({ operation, offset }) => operation === "read" && offset === table),
    ).toHaveLength(2);
  });

  test("D17: says where a data file's cluster is not where it must be", async () => {
    writeFileSync(path("d.raw"), "");
    await createImage(path("a.qcow2"), MIB, {
      dataFile: { driver: "file", filename: path("d.raw") },
      preallocation: "metadata",
    });
    expect(await checkFile(path("a.qcow2"))).toMatchObject({ ...CLEAN, allocatedClusters: 16 });
    poke64(path("a.qcow2"), L2 + 8, COPIED | 0x30000n);
    expect(await checkFile(path("a.qcow2"))).toMatchObject({ corruptions: 1, leaks: 0 });
  });

  test("counts what cannot be read as not checked, and then lowers no refcount", async () => {
    const file = await sample("a.qcow2");
    const controller = new FaultController({
      rules: [{ operation: "read", offset: L2, length: 65536, times: 0, error: "EIO" }],
    });
    const spec = { driver: "fault", controller, file: { driver: "file", filename: file } };
    const report = await checkSpec(spec);
    expect(report.checkErrors).toBeGreaterThan(0);
    expect(report.leaks).toBeGreaterThan(0);
    const before = readFileSync(file);
    await checkSpec(spec, { repair: "all" });
    expect(readFileSync(file).equals(before)).toBe(true);
  });

  test.each([
    ["what is no image", (file: string) => poke32(file, 0, 0), "EINVAL"],
    ["an unknown feature", (file: string) => poke64(file, 72, 1n << 40n), "ENOTSUP"],
    ["an L1 table outside the file", (file: string) => poke64(file, 40, 1n << 40n), "BLK_CORRUPT"],
    [
      "a snapshot table outside the file",
      (file: string) => (poke32(file, 60, 1), poke64(file, 64, 1n << 40n)),
      "BLK_CORRUPT",
    ],
  ] as const)("refuses %s", async (_name, harm, code) => {
    const file = await sample("a.qcow2");
    harm(file);
    const before = readFileSync(file);
    await failure(code, () => checkFile(file));
    await failure(code, () => checkFile(file, { repair: "all" }));
    expect(readFileSync(file).equals(before)).toBe(true);
  });
});

describe("a repair", () => {
  /** Ways to ruin an image that a repair undoes. */
  const ruins: readonly (readonly [name: string, harm: (file: string) => void])[] = [
    ["a wrong refcount", (file) => (poke16(file, BLOCK + 12, 0), poke16(file, BLOCK + 16, 7))],
    ["no refcount block", (file) => poke64(file, TABLE, 0n)],
    ["no refcount table", (file) => poke32(file, 56, 0)],
    ["a refcount table beyond exact numbers", (file) => poke64(file, 48, (1n << 64n) - 1n)],
    ["an unaligned refcount block", (file) => poke64(file, TABLE, 0x22a00n)],
    ["flags taken away", (file) => (poke64(file, L2, 0x50000n), poke64(file, 0x30000, BigInt(L2)))],
  ];

  test.each(ruins)(
    "of %s may fail at any request: data stays, and the next one succeeds",
    async (_name, harm) => {
      const original = await sample("original.qcow2");
      harm(original);
      const data = await content(original);
      const repairWith = async (controller: FaultController): Promise<Qcow2CheckReport> => {
        copyFileSync(original, path("r.qcow2"));
        const file = { driver: "file", filename: path("r.qcow2") };
        return checkSpec({ driver: "fault", controller, file }, { repair: "all" });
      };
      const all = new FaultController();
      expect(await repairWith(all)).toMatchObject(CLEAN);
      const operation = ["write", "flush", "resize"] as const;
      const changes = all.log.filter((entry) => operation.some((name) => name === entry.operation)).length;
      expect(changes).toBeGreaterThan(1);
      for (let nth = 1; nth <= changes; nth += 1) {
        const controller = new FaultController({ rules: [{ operation, nth, times: 0, error: "EIO" }] });
        await failure("EIO", () => repairWith(controller));
        expect((await content(path("r.qcow2"))).equals(data), `after failure ${nth}`).toBe(true);
        expect(await checkFile(path("r.qcow2"), { repair: "all" })).toMatchObject(CLEAN);
        expect((await content(path("r.qcow2"))).equals(data)).toBe(true);
      }
    },
  );

  test("finds room inside a device that cannot grow, and says when there is none", async () => {
    const file = await sample("a.qcow2");
    const size = readFileSync(file).length;
    poke64(file, TABLE, 0n);
    copyFileSync(file, path("tight.qcow2"));
    const fixed = (name: string) => ({ driver: "file", filename: path(name), fixed: true });
    truncateSync(path("tight.qcow2"), size);
    await failure("ENOSPC", () => checkSpec(fixed("tight.qcow2"), { repair: "all" }));
    truncateSync(file, size + 3 * 65536);
    const data = await content(file);
    expect(await checkSpec(fixed("a.qcow2"), { repair: "all" })).toMatchObject(CLEAN);
    expect((await content(file)).equals(data)).toBe(true);
    expect(readFileSync(file).length).toBe(size + 3 * 65536);
  });

  test("of leaks leaves errors alone", async () => {
    const file = await sample("a.qcow2");
    poke16(file, BLOCK + 2 * 6, 0);
    poke16(file, BLOCK + 2 * 8, 2);
    const report = await checkFile(file, { repair: "leaks" });
    expect(report).toMatchObject({ leaks: 0, leaksFixed: 1 });
    expect(report.corruptions).toBeGreaterThan(0);
  });

  test("removes marks only from what deserves none", async () => {
    const file = await sample("a.qcow2");
    poke64(file, 72, 3n);
    await checkFile(file);
    expect(peek64(file, 72)).toBe(3n);
    await checkFile(file, { repair: "leaks" });
    expect(peek64(file, 72)).toBe(0n);
    poke64(file, 72, 3n);
    poke64(file, L2, COPIED | 0x5000000n);
    await checkFile(file, { repair: "all" });
    expect(peek64(file, 72)).toBe(3n);
  });

  test("clears autoclear bits that are unknown here", async () => {
    const file = await sample("a.qcow2");
    poke64(file, 88, 1n << 60n);
    await checkFile(file);
    expect(peek64(file, 88)).toBe(1n << 60n);
    await checkFile(file, { repair: "leaks" });
    expect(peek64(file, 88)).toBe(0n);
  });

  test("happens by itself when a dirty image is opened for writing, and not otherwise", async () => {
    const file = await sample("a.qcow2", { lazyRefcounts: true });
    poke64(file, 72, 1n);
    poke16(file, BLOCK + 2 * 7, 0);
    const data = await content(file);
    expect(peek64(file, 72)).toBe(1n);
    const graph = new BlockGraph({ registry: createDefaultRegistry() });
    await graph.open({ driver: "qcow2", file: { driver: "file", filename: file } });
    await graph.closeAll();
    expect(peek64(file, 72)).toBe(0n);
    expect(await checkFile(file)).toMatchObject(CLEAN);
    expect((await content(file)).equals(data)).toBe(true);
    poke64(file, 72, 1n);
    poke64(file, L2, COPIED | 0x5000000n);
    await failure("BLK_CORRUPT", async () => {
      const other = new BlockGraph({ registry: createDefaultRegistry() });
      await other.open({ driver: "qcow2", file: { driver: "file", filename: file } });
    });
  });
});
