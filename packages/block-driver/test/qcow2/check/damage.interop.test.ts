import { createHash } from "node:crypto";
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { lacksPeers } from "@blockmirror/peers";
import { describe, expect, test } from "vitest";
import type { Qcow2CheckReport } from "../../../src/drivers/qcow2/check/check-report.ts";
import { checkFile } from "../support/check.ts";
import { peek64, poke, poke16, poke32, poke64 } from "../support/poke.ts";
import { qemuCheck, qemuImg, qemuIo, type QemuCheck } from "../support/qemu-img.ts";
import { scratchFiles } from "../support/scratch.ts";

const C = 1n << 63n;
const COMPRESSED = 1n << 62n;
const WRITES = ["write -P 0x11 0 128k", "write -P 0x22 1M 64k", "write -z 2M 64k", "write -P 3 8M 192k"];

interface Damage {
  readonly name: string;
  readonly options?: string;
  readonly writes?: readonly string[];
  readonly prepare?: (file: string) => Promise<void>;
  readonly harm: (file: string) => void;
  /** What the repair leaves: nothing, unless it says otherwise. */
  readonly left?: "nothing" | "something";
  /** QEMU counts this differently; only the class is the same. */
  readonly counts?: "class";
  /** The guest can read what a repair changes. */
  readonly exposed?: true;
}

/** The layout of a new image with 64 KiB clusters: table, block, L1, first L2, first data cluster. */
const TABLE = 0x10000;
const BLOCK = 0x20000;
const L1 = 0x30000;
const L2 = 0x40000;

const damages: readonly Damage[] = [
  { name: "none", harm: () => {} },
  { name: "a leaked cluster", harm: (file) => poke16(file, BLOCK + 2 * 5, 2) },
  { name: "a refcount of 0", harm: (file) => poke16(file, BLOCK + 2 * 5, 0) },
  { name: "a leak and a low refcount", harm: (file) => poke(file, BLOCK + 10, new Uint8Array([0, 2, 0, 0])) },
  { name: "an unaligned data cluster", harm: (file) => poke64(file, L2, C | 0x52a00n), left: "something" },
  { name: "an unaligned zero cluster", harm: (file) => poke64(file, L2, C | 0x52a01n) },
  { name: "a cluster used twice", harm: (file) => poke64(file, L2 + 1600, C | 0x50000n) },
  { name: "a cluster used twice, not copied", harm: (file) => poke64(file, L2 + 1600, 0x50000n) },
  { name: "data beyond the end", harm: (file) => poke64(file, L2 + 1600, C | 0x5000000n), left: "something" },
  { name: "data at 32 PiB", harm: (file) => poke64(file, L2 + 1600, C | (1n << 55n)), left: "something" },
  {
    name: "reserved bits in L2",
    harm: (file) => poke64(file, L2, C | 0x3f000000000501fen),
    left: "something",
  },
  {
    name: "reserved bits in L1",
    harm: (file) => poke64(file, L1, C | 0x7f00000000040000n),
    left: "something",
  },
  {
    name: "an unaligned L2 table",
    writes: ["write -P 0 0 128k"],
    harm: (file) => poke64(file, L1, C | 0x42a00n),
    left: "something",
  },
  { name: "an L2 table beyond the end", harm: (file) => poke64(file, L1, C | 0x4200000n), left: "something" },
  { name: "L1 copied without a table", harm: (file) => poke64(file, L1, C), counts: "class" },
  { name: "L1 not copied", harm: (file) => poke64(file, L1, 0x40000n) },
  { name: "L2 not copied", harm: (file) => poke64(file, L2, 0x50000n) },
  { name: "a zero cluster, not copied", harm: (file) => poke64(file, L2, 0x50001n) },
  { name: "copied without a cluster", harm: (file) => poke64(file, L2 + 800, C) },
  { name: "a zero cluster copied", harm: (file) => poke64(file, L2 + 800, C | 1n) },
  { name: "an entry lost", harm: (file) => poke64(file, L2, C) },
  { name: "data in the refcount block", harm: (file) => poke64(file, L2, C | 0x20000n), exposed: true },
  { name: "data in the L1 table", harm: (file) => poke64(file, L2, C | 0x30000n) },
  { name: "data in its own L2 table", harm: (file) => poke64(file, L2, C | 0x40000n), exposed: true },
  {
    name: "a zero flag in version 2",
    options: "compat=0.10",
    writes: ["write -P 0x11 0 128k"],
    harm: (file) => poke64(file, L2, C | 0x50001n),
  },
  { name: "a compressed cluster", harm: (file) => poke64(file, L2, COMPRESSED | 0x50000n) },
  {
    name: "a compressed cluster copied",
    harm: (file) => poke64(file, L2, C | COMPRESSED | 0x50000n),
    left: "something",
  },
  {
    name: "a compressed cluster over others",
    harm: (file) => poke64(file, L2, COMPRESSED | (255n << 54n) | 0x5f000n),
  },
  {
    name: "a compressed cluster beyond the end",
    harm: (file) => poke64(file, L2 + 800, COMPRESSED | 0x5000000n),
    left: "something",
  },
  {
    name: "a compressed cluster across the end",
    harm: (file) => poke64(file, L2 + 800, COMPRESSED | (100n << 54n) | 0xaf000n),
  },
  { name: "a compressed cluster in the header", harm: (file) => poke64(file, L2 + 800, COMPRESSED | 0x10n) },
  { name: "the dirty mark", harm: (file) => poke64(file, 72, 1n) },
  {
    name: "the dirty mark and a leak",
    harm: (file) => {
      poke64(file, 72, 1n);
      poke16(file, BLOCK + 2 * 5, 2);
    },
  },
  { name: "the corrupt mark", harm: (file) => poke64(file, 72, 2n) },
  {
    name: "more references than bits",
    options: "refcount_bits=1",
    harm: (file) => poke64(file, L2 + 1600, C | 0x50000n),
    left: "something",
  },
  { name: "no refcount table", harm: (file) => poke32(file, 56, 0), counts: "class" },
  { name: "the refcount table in the header", harm: (file) => poke64(file, 48, 0n), counts: "class" },
  { name: "the refcount table in L1", harm: (file) => poke64(file, 48, BigInt(L1)), counts: "class" },
  { name: "no refcount block", harm: (file) => poke64(file, TABLE, 0n) },
  { name: "an unaligned refcount block", harm: (file) => poke64(file, TABLE, 0x22a00n), counts: "class" },
  { name: "reserved bits in the refcount table", harm: (file) => poke64(file, TABLE, 0x20001n) },
  { name: "a refcount block beyond the end", harm: (file) => poke64(file, TABLE + 8, 0x5000000n) },
  { name: "a refcount block at 2^63", harm: (file) => poke64(file, TABLE + 8, 0x7fffffffffff0000n) },
  { name: "a refcount block twice", harm: (file) => poke64(file, TABLE + 8, 0x20000n) },
  { name: "a refcount block in data", harm: (file) => poke64(file, TABLE + 8, 0x50000n) },
  { name: "an empty refcount block", harm: (file) => poke(file, BLOCK, new Uint8Array(4096)) },
  { name: "a header without refcount", harm: (file) => poke16(file, BLOCK, 0) },
  { name: "a surplus of L1", harm: (file) => poke32(file, 36, 100) },
  {
    name: "subclusters both allocated and zero",
    options: "extended_l2=on",
    harm: (file) => poke64(file, L2 + 8, 0x1_0000_0001n),
    left: "something",
  },
  {
    name: "subclusters without space",
    options: "extended_l2=on",
    harm: (file) => poke64(file, L2 + 1600 + 8, 1n),
    left: "something",
  },
  {
    name: "subclusters of a compressed cluster",
    options: "extended_l2=on",
    harm: (file) => {
      poke64(file, L2, COMPRESSED | 0x50000n);
      poke64(file, L2 + 8, 1n);
    },
    left: "something",
  },
  {
    name: "a snapshot",
    prepare: snapshots,
    harm: () => {},
  },
  {
    name: "a snapshot with a cluster lost",
    prepare: snapshots,
    harm: (file) => poke64(file, snapshotL1(file), 0n),
  },
  {
    name: "a snapshot whose L1 is beyond the end",
    prepare: snapshots,
    harm: (file) => poke64(file, Number(peek64(file, 64)), 0x4000000n),
    left: "something",
  },
  {
    name: "a snapshot whose L1 is unaligned",
    prepare: snapshots,
    harm: (file) => poke64(file, Number(peek64(file, 64)), 0x400200n),
    left: "something",
  },
  {
    name: "a snapshot whose L1 is too large",
    prepare: snapshots,
    harm: (file) => poke32(file, Number(peek64(file, 64)) + 8, 0x10000000),
    left: "something",
  },
  {
    name: "a shared L2 table marked copied",
    prepare: snapshots,
    harm: (file) => {
      const l1 = Number(peek64(file, 40));
      poke64(file, l1, peek64(file, l1) | C);
    },
  },
  { name: "bitmaps", prepare: bitmaps, harm: () => {} },
  { name: "bitmaps in use", prepare: bitmaps, harm: (file) => poke32(file, directory(file) + 12, 3) },
  { name: "bitmaps given up", prepare: bitmaps, harm: (file) => poke64(file, 88, 0n) },
  {
    name: "a bitmap in data",
    prepare: bitmaps,
    harm: (file) => poke64(file, Number(peek64(file, directory(file))), 0x50000n),
  },
  {
    name: "a bitmap all ones",
    prepare: bitmaps,
    harm: (file) => poke64(file, Number(peek64(file, directory(file))), 1n),
  },
  {
    name: "a bitmap beyond the end",
    prepare: bitmaps,
    harm: (file) => poke64(file, Number(peek64(file, directory(file))), 0x5000000n),
    left: "something",
  },
];

describe.skipIf(lacksPeers("qemu-img", "qemu-io"))("an image damaged by hand", () => {
  const path = scratchFiles();

  const bases = new Map<string, Promise<Buffer>>();

  /** The image to damage; made once for all that start from the same. */
  function base({ options = "", writes = WRITES, prepare }: Damage): Promise<Buffer> {
    const key = `${options} ${writes.join()} ${prepare?.name}`;
    const made =
      bases.get(key) ??
      (async (): Promise<Buffer> => {
        const file = path("base.qcow2");
        const o = options === "" ? [] : ["-o", options];
        await qemuImg(["create", "-q", "-f", "qcow2", ...o, file, "16M"]);
        await qemuIo(file, writes);
        await prepare?.(file);
        return readFileSync(file);
      })();
    bases.set(key, made);
    return made;
  }

  test.each(damages)("$name", async (damage) => {
    const { harm, left = "nothing", counts, exposed } = damage;
    const file = path("a.qcow2");
    writeFileSync(file, await base(damage));
    harm(file);

    const theirs = await qemuCheck(file);
    const ours = await checkFile(file);
    if (counts === "class") expect(classOf(ours)).toEqual(classOf(fromQemu(theirs)));
    else expect(ours).toMatchObject(fromQemu(theirs));

    copyFileSync(file, path("r.qcow2"));
    const leaksOnly = await checkFile(path("r.qcow2"), { repair: "leaks" });
    expect(classOf(leaksOnly)).toEqual(classOf(fromQemu(await qemuCheck(path("r.qcow2")))));
    if (counts !== "class") expect(leaksOnly.leaks).toBeLessThanOrEqual(ours.leaks);

    copyFileSync(file, path("r.qcow2"));
    const report = await checkFile(path("r.qcow2"), { repair: "all" });
    expect(classOf(report)).toEqual(classOf(fromQemu(await qemuCheck(path("r.qcow2")))));
    if (left === "nothing") {
      expect(report).toMatchObject({ checkErrors: 0, corruptions: 0, leaks: 0 });
      const fixed = report.corruptionsFixed + report.leaksFixed;
      if (classOf(ours) !== "clean") expect(fixed).toBeGreaterThanOrEqual(1);
      expect(peek64(path("r.qcow2"), 72) & 3n).toBe(0n);
    } else expect(report.corruptions).toBeGreaterThan(0);
    const before = await content(file);
    if (before !== undefined && exposed !== true) expect(await content(path("r.qcow2"))).toBe(before);
  });

  /** A digest of what a guest reads, or undefined when it cannot. */
  async function content(file: string): Promise<string | undefined> {
    const raw = path("content.raw");
    rmSync(raw, { force: true });
    try {
      await qemuImg(["convert", "-U", "-f", "qcow2", "-O", "raw", file, raw]);
    } catch {
      return undefined;
    }
    return createHash("sha256").update(readFileSync(raw)).digest("hex");
  }
});

async function snapshots(file: string): Promise<void> {
  await qemuImg(["snapshot", "-c", "s1", file]);
  await qemuIo(file, ["write -P 9 0 64k"]);
  await qemuImg(["snapshot", "-c", "s2", file]);
}

function snapshotL1(file: string): number {
  return Number(peek64(file, Number(peek64(file, 64))));
}

async function bitmaps(file: string): Promise<void> {
  await qemuImg(["bitmap", "--add", file, "b0"]);
  await qemuIo(file, ["write -P 9 0 64k"]);
}

/** Where the bitmap directory is. */
function directory(file: string): number {
  for (let at = 112; at < 4096; at += 8) {
    if (peek64(file, at) >> 32n === 0x23852875n) return Number(peek64(file, at + 24));
  }
  throw new Error("no bitmaps extension");
}

function fromQemu(check: QemuCheck): Omit<Qcow2CheckReport, "corruptionsFixed" | "leaksFixed"> {
  return {
    checkErrors: check["check-errors"],
    corruptions: check.corruptions ?? 0,
    leaks: check.leaks ?? 0,
    imageEndOffset: check["image-end-offset"] ?? 0,
    totalClusters: check["total-clusters"] ?? 0,
    allocatedClusters: check["allocated-clusters"] ?? 0,
    fragmentedClusters: check["fragmented-clusters"] ?? 0,
    compressedClusters: check["compressed-clusters"] ?? 0,
  };
}

/** `clean`, `leaks` or `damaged`. */
function classOf(report: Pick<Qcow2CheckReport, "checkErrors" | "corruptions" | "leaks">): string {
  if (report.checkErrors + report.corruptions > 0) return "damaged";
  return report.leaks > 0 ? "leaks" : "clean";
}
