import { readFileSync, statSync, writeFileSync } from "node:fs";
import { lacksPeers, run } from "@blockmirror/peers";
import { describe, expect, test } from "vitest";
import { FaultController, qcow2Stats } from "../../../src/index.ts";
import { failure } from "../../support/graphs.ts";
import { openImage, read, withImage } from "../support/open.ts";
import { qemuCheck, qemuImg, qemuIo } from "../support/qemu-img.ts";
import { scratchFiles } from "../support/scratch.ts";
import { peek64, poke64 } from "../support/poke.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const at = scratchFiles();

async function mustBeClean(filename: string): Promise<void> {
  const report = await qemuCheck(filename);
  expect(report.corruptions ?? 0, "corruptions").toBe(0);
  expect(report.leaks ?? 0, "leaks").toBe(0);
  expect(report["check-errors"], "check errors").toBe(0);
}

/** What qemu reads from an image, as raw bytes. */
async function asQemuReads(filename: string, size: number, ...options: string[]): Promise<Buffer> {
  await qemuImg(["convert", "-O", "raw", ...options, filename, at("read.raw")]);
  const content = readFileSync(at("read.raw"));
  expect(content.length).toBe(size);
  return content;
}

interface MapExtent {
  readonly start: number;
  readonly length: number;
  readonly depth: number;
  readonly present: boolean;
  readonly data: boolean;
  readonly zero: boolean;
  readonly offset?: number;
}

/**
 * What qemu-img says each part of an image is. Where a cluster is put is everybody's own choice, and so is whether zeroes
 * within it are written or left as a hole of the file.
 */
async function map(filename: string): Promise<readonly string[]> {
  const extents: readonly MapExtent[] = JSON.parse(await qemuImg(["map", "--output=json", filename]));
  const parts: { what: string; start: number; end: number }[] = [];
  for (const { start, length, depth, present, data, zero, offset } of extents) {
    const what = `depth ${depth}, present ${present}, ${data ? "data" : `zero ${zero}, hosted ${offset !== undefined}`}`;
    const last = parts.at(-1);
    if (last?.what === what) last.end = start + length;
    else parts.push({ what, start, end: start + length });
  }
  return parts.map(({ what, start, end }) => `${start} to ${end}: ${what}`);
}

describe.skipIf(lacksPeers("qemu-img", "qemu-io"))("beside qemu", () => {
  test.each(["", "extended_l2=on"])(
    "J08: zeroing and discarding leave the same map (%s)",
    async (options) => {
      const commands = [
        ["write", 0, MIB],
        ["write", 2 * MIB, MIB],
        ["zero", 128 * KIB, 64 * KIB],
        ["unmap", 256 * KIB, 128 * KIB],
        ["discard", 512 * KIB, 128 * KIB],
        ["discard", 2 * MIB + 1024, 128 * KIB],
        ["unmap", 2 * MIB + 512 * KIB, 512 * KIB],
        ["zero", 3 * MIB, 64 * KIB],
        ["write", 256 * KIB + 4096, 4096],
        ["write", 128 * KIB, 4096],
      ] as const;
      const spelling = { write: "write -P 7", zero: "write -z", unmap: "write -z -u", discard: "discard" };
      writeFileSync(at("base.raw"), Buffer.alloc(4 * MIB, 3));
      for (const name of ["theirs.qcow2", "ours.qcow2"]) {
        const extra = options === "" ? [] : ["-o", options];
        await qemuImg([
          "create",
          "-q",
          "-f",
          "qcow2",
          ...extra,
          "-b",
          "base.raw",
          "-F",
          "raw",
          at(name),
          "4M",
        ]);
      }
      await run("qemu-io", [
        "-d",
        "unmap",
        "-f",
        "qcow2",
        ...commands.flatMap(([kind, offset, length]) => ["-c", `${spelling[kind]} ${offset} ${length}`]),
        at("theirs.qcow2"),
      ]);
      const backing = {
        driver: "raw",
        readOnly: true,
        file: { driver: "file", filename: at("base.raw"), readOnly: true },
      };
      await withImage(
        at("ours.qcow2"),
        async ({ edge }) => {
          for (const [kind, offset, length] of commands) {
            if (kind === "write") await edge.write(offset, [Buffer.alloc(length, 7)]);
            else if (kind === "discard") await edge.discard(offset, length);
            else await edge.writeZeroes(offset, length, { unmap: kind === "unmap" });
          }
        },
        { backing },
      );
      await mustBeClean(at("ours.qcow2"));
      expect(await map(at("ours.qcow2"))).toEqual(await map(at("theirs.qcow2")));
    },
  );

  test("D10: a mapping into the L1 table of a snapshot, or the list of snapshots, is not written to", async () => {
    for (const field of [64, 0]) {
      const file = at(`disk-${field}.qcow2`);
      await qemuImg(["create", "-q", "-f", "qcow2", file, "4M"]);
      await qemuIo(file, ["write -P 1 0 64k"]);
      await qemuImg(["snapshot", "-c", "one", file]);
      const list = Number(peek64(file, 64));
      const target = field === 64 ? list : Number(peek64(file, list));
      const image = await openImage(file);
      await image.edge.write(0, [Buffer.alloc(512, 2)]);
      await image.close();
      const l2 = Number(peek64(file, Number(peek64(file, 40))) & 0x00ff_ffff_ffff_fe00n);
      poke64(file, l2, (1n << 63n) | BigInt(target));
      const damaged = await openImage(file);
      await failure("BLK_CORRUPT", () => damaged.edge.write(0, [Buffer.alloc(512, 3)]));
      await damaged.close().catch(() => {});
    }
  });

  test("the raw data file alone is the disk, through zeroing and discarding too", async () => {
    const file = at("disk.qcow2");
    await qemuImg([
      "create",
      "-q",
      "-f",
      "qcow2",
      "-o",
      `data_file=${at("disk.data")},data_file_raw=on`,
      file,
      "4M",
    ]);
    await withImage(
      file,
      async ({ edge }) => {
        await edge.write(1000, [Buffer.alloc(2 * MIB, 5)]);
        await edge.writeZeroes(64 * KIB, 64 * KIB);
        await edge.writeZeroes(200 * KIB, 100 * KIB, { unmap: true });
        await edge.discard(MIB, 256 * KIB);
        await edge.resize(5 * MIB + 512);
        await edge.write(5 * MIB + 100, [Buffer.alloc(300, 6)]);
      },
      { dataFile: { driver: "file", filename: at("disk.data") } },
    );
    await mustBeClean(file);
    expect(statSync(at("disk.data")).size).toBe(5 * MIB + 512);
    await qemuImg(["compare", "-f", "raw", "-F", "qcow2", at("disk.data"), file]);
    // What somebody writes to the raw file is what the image shows.
    await qemuIo(at("disk.data"), ["write -P 9 4500k 100k"], "raw");
    await qemuImg(["compare", "-f", "raw", "-F", "qcow2", at("disk.data"), file]);
  });

  test.each(["off", "on"])("space of an external data file is given back, data_file_raw=%s", async (raw) => {
    const [file, data] = [at("disk.qcow2"), at("disk.data")];
    const options = `data_file=${data},data_file_raw=${raw}`;
    await qemuImg(["create", "-q", "-f", "qcow2", "-o", options, file, "8M"]);
    const allocated = (): number => statSync(data).blocks * 512;
    await withImage(
      file,
      async ({ edge }) => {
        await edge.write(0, [Buffer.alloc(6 * MIB, 5)]);
        expect(allocated()).toBeGreaterThanOrEqual(6 * MIB);
        await edge.writeZeroes(MIB, MIB);
        expect(allocated()).toBeGreaterThanOrEqual(6 * MIB);
        await edge.writeZeroes(2 * MIB, MIB, { unmap: true });
        expect(allocated()).toBe(5 * MIB);
        await edge.discard(4 * MIB + 1000, MIB);
        expect(allocated()).toBe(4 * MIB + 64 * KIB);
        const bytes = Buffer.alloc(6 * MIB, 5);
        bytes.fill(0, MIB, 3 * MIB).fill(0, 4 * MIB + 64 * KIB, 5 * MIB);
        expect((await read(edge, 0, 6 * MIB)).every((byte, index) => byte === bytes[index])).toBe(true);
      },
      { dataFile: { driver: "file", filename: data } },
    );
    await mustBeClean(file);
    await qemuIo(file, ["read -P 5 0 1M", "read -P 0 1M 2M", "read -P 5 3M 1M", "read -P 5 5M 1M"]);
  });

  test.each(["cluster_size=512", "extended_l2=on", "compat=0.10", "data"])(
    "growing with preallocation allocates everything, as qemu-img resize does: %s",
    async (kind) => {
      const data = at("disk.data");
      const options = kind === "data" ? `data_file=${data}` : kind;
      await qemuImg(["create", "-q", "-f", "qcow2", "-o", options, at("disk.qcow2"), "1M"]);
      const dataFile = kind === "data" ? { dataFile: { driver: "file", filename: data } } : {};
      await withImage(
        at("disk.qcow2"),
        async ({ edge }) => {
          await edge.write(100 * KIB, [Buffer.alloc(KIB, 3)]);
          await edge.resize(3 * MIB + 512, { preallocation: "full" });
        },
        dataFile,
      );
      await mustBeClean(at("disk.qcow2"));
      const map: readonly { readonly start: number; readonly length: number; readonly data: boolean }[] =
        JSON.parse(await qemuImg(["map", "--output=json", at("disk.qcow2")]));
      const stored = map.filter((range) => range.start + range.length > MIB);
      expect(stored.every((range) => range.data || kind === "data")).toBe(true);
      expect(statSync(kind === "data" ? data : at("disk.qcow2")).blocks * 512).toBeGreaterThanOrEqual(
        2 * MIB,
      );
      await qemuIo(at("disk.qcow2"), ["read -P 3 100k 1k", "read -P 0 1M 2097664"]);
    },
  );

  test.each([
    ["clusters of 64 KiB", ""],
    ["clusters of 512 bytes and refcounts of 64 bits", "cluster_size=512,refcount_bits=64"],
    ["version 2", "compat=0.10,cluster_size=4k"],
    ["a data file", "data_file=NAME.data"],
  ])(
    "growing with preallocated metadata leaves the map that qemu-img resize leaves: %s",
    async (_name, options) => {
      for (const name of ["ours", "theirs"]) {
        const chosen = options === "" ? [] : ["-o", options.replace("NAME", at(name))];
        await qemuImg(["create", "-q", "-f", "qcow2", ...chosen, at(name), "1M"]);
        await qemuIo(at(name), ["write -P 3 100k 1k"]);
      }
      await qemuImg(["resize", "-q", "--preallocation=metadata", at("theirs"), String(5 * MIB + 512)]);
      const data = options.includes("data_file")
        ? { dataFile: { driver: "file", filename: at("ours.data") } }
        : {};
      const space = (): number =>
        statSync(at("ours")).blocks + (options.includes("data_file") ? statSync(at("ours.data")).blocks : 0);
      const before = space();
      await withImage(
        at("ours"),
        ({ edge }) => edge.resize(5 * MIB + 512, { preallocation: "metadata" }),
        data,
      );
      expect((space() - before) * 512, "space that is taken").toBeLessThan(MIB);
      await mustBeClean(at("ours"));
      expect(await map(at("ours"))).toEqual(await map(at("theirs")));
      await qemuImg(["compare", "-f", "qcow2", "-F", "qcow2", at("ours"), at("theirs")]);
      expect((await qemuCheck(at("ours")))["allocated-clusters"]).toBe(
        (await qemuCheck(at("theirs")))["allocated-clusters"],
      );
      // Writing there changes data only.
      const image = await openImage(at("ours"), data);
      await image.edge.write(5 * MIB, [Buffer.alloc(512, 1)]);
      await image.edge.flush();
      const tables = qcow2Stats(image.node.device)?.write?.bytesWritten ?? 0;
      await image.edge.write(2 * MIB, [Buffer.alloc(MIB, 4)]);
      await image.edge.flush();
      const more = (qcow2Stats(image.node.device)?.write?.bytesWritten ?? 0) - tables;
      expect(more).toBe(options.includes("data_file") ? 0 : MIB);
      await image.close();
      await mustBeClean(at("ours"));
    },
  );

  test("preallocation is for larger disks only", async () => {
    await qemuImg(["create", "-q", "-f", "qcow2", at("disk.qcow2"), "2M"]);
    const before = readFileSync(at("disk.qcow2"));
    await withImage(at("disk.qcow2"), async ({ edge, node }) => {
      for (const preallocation of ["metadata", "full"] as const) {
        await failure("EINVAL", () => edge.resize(MIB, { preallocation }));
      }
      expect(node.size).toBe(2 * MIB);
    });
    expect(readFileSync(at("disk.qcow2")).equals(before)).toBe(true);
  });

  test("clusters that were used before read as zeroes when a preallocated part gets them", async () => {
    const file = at("disk.qcow2");
    await qemuImg(["create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", file, "2M"]);
    await withImage(file, async ({ edge }) => {
      await edge.write(0, [Buffer.alloc(2 * MIB, 0xaa)]);
      await edge.flush();
      await edge.discard(0, MIB);
      await edge.flush();
    });
    await withImage(file, ({ edge }) => edge.resize(4 * MIB, { preallocation: "metadata" }));
    await mustBeClean(file);
    await qemuIo(file, ["read -P 0 0 1M", "read -P 0xaa 1M 1M", "read -P 0 2M 2M"]);
  });

  test.each([
    ["full", "write", 12],
    ["metadata", "resize", 1],
    ["metadata", "write", 1],
    ["metadata", "write", 2],
  ] as const)(
    "growing with preallocation (%s) where there is no room (%s %i) leaves the size, and no cluster behind the end",
    async (preallocation, operation, nth) => {
      const controller = new FaultController();
      const file = { driver: "fault", controller, file: { driver: "file", filename: at("disk.qcow2") } };
      await qemuImg(["create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", at("disk.qcow2"), "1M"]);
      await withImage(file, async ({ edge, node }) => {
        controller.add({ operation, nth, times: 2, error: "ENOSPC" });
        await failure("ENOSPC", () => edge.resize(256 * MIB, { preallocation }));
        controller.clear();
        expect(node.size).toBe(MIB);
        await edge.write(0, [Buffer.alloc(KIB, 3)]);
      });
      await mustBeClean(at("disk.qcow2"));
      expect(Number(peek64(at("disk.qcow2"), 24))).toBe(MIB);
      expect(statSync(at("disk.qcow2")).blocks * 512).toBeLessThan(2 * MIB);
    },
  );

  test("resizing both ways is what qemu makes of it too", async () => {
    const file = at("disk.qcow2");
    await qemuImg(["create", "-q", "-f", "qcow2", "-o", "cluster_size=512", file, "1M"]);
    await withImage(file, async ({ edge, node }) => {
      await edge.write(0, [Buffer.alloc(MIB, 6)]);
      await edge.resize(300 * KIB + 512);
      expect(node.size).toBe(300 * KIB + 512);
      await edge.resize(40 * MIB);
      await edge.write(39 * MIB, [Buffer.alloc(MIB, 4)]);
    });
    await mustBeClean(file);
    const expected = Buffer.alloc(40 * MIB);
    expected.fill(6, 0, 300 * KIB + 512);
    expected.fill(4, 39 * MIB);
    expect(Buffer.compare(await asQemuReads(file, 40 * MIB, "-f", "qcow2"), expected)).toBe(0);
  });

  test("growing over a longer backing file shows nothing of it", async () => {
    writeFileSync(at("base.raw"), Buffer.alloc(2 * MIB, 3));
    const file = at("disk.qcow2");
    await qemuImg([
      "create",
      "-q",
      "-f",
      "qcow2",
      "-b",
      "base.raw",
      "-F",
      "raw",
      file,
      String(100 * KIB + 512),
    ]);
    const image = await openImage(file, {
      backing: {
        driver: "raw",
        readOnly: true,
        file: { driver: "file", filename: at("base.raw"), readOnly: true },
      },
    });
    await image.edge.resize(3 * MIB);
    await image.close();
    await mustBeClean(file);
    const expected = Buffer.alloc(3 * MIB);
    expected.fill(3, 0, 100 * KIB + 512);
    expect(Buffer.compare(await asQemuReads(file, 3 * MIB, "-f", "qcow2"), expected)).toBe(0);
  });

  test("features that are cleared before the first change, and not before", async () => {
    const file = at("disk.qcow2");
    await qemuImg(["create", "-q", "-f", "qcow2", file, "1M"]);
    // An unknown autoclear bit.
    poke64(file, 88, 1n << 40n);
    const before = readFileSync(file);
    await withImage(file, async ({ edge }) => {
      await read(edge, 0, MIB);
      await edge.flush();
    });
    expect(Buffer.compare(readFileSync(file), before)).toBe(0);
    await withImage(file, async ({ edge }) => edge.write(0, [Buffer.alloc(512, 1)]));
    expect(readFileSync(file).readBigUInt64BE(88)).toBe(0n);
    await mustBeClean(file);
  });
});
