import { readFileSync, statSync } from "node:fs";
import { lacksPeers } from "@blockmirror/peers";
import { describe, expect, test } from "vitest";
import { createImage } from "../support/create.ts";
import { qemuCheck, qemuImg, qemuInfo, qemuIo } from "../support/qemu-img.ts";
import { scratchFiles } from "../support/scratch.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

/** The driver's options beside what `qemu-img create -o` calls them. */
const cases: readonly {
  readonly size: number;
  readonly ours: Readonly<Record<string, unknown>>;
  readonly theirs: string;
}[] = [
  { size: 0, ours: {}, theirs: "" },
  { size: 512, ours: {}, theirs: "" },
  { size: 1 * GIB, ours: {}, theirs: "" },
  { size: 1 * GIB, ours: { version: "v2" }, theirs: "compat=0.10" },
  { size: 3 * 1024 * GIB, ours: {}, theirs: "" },
  { size: 64 * 1024 * GIB, ours: { clusterSize: 2 * MIB }, theirs: "cluster_size=2M" },
  { size: 10 * MIB + 512, ours: { clusterSize: 512 }, theirs: "cluster_size=512" },
  { size: 10 * MIB + 512, ours: { clusterSize: 4 * KIB }, theirs: "cluster_size=4k" },
  { size: 64 * MIB, ours: { lazyRefcounts: true }, theirs: "lazy_refcounts=on" },
  { size: 64 * MIB, ours: { compressionType: "zstd" }, theirs: "compression_type=zstd" },
  { size: 64 * MIB, ours: { extendedL2: true }, theirs: "extended_l2=on" },
  {
    size: 65 * MIB,
    ours: { extendedL2: true, clusterSize: 16 * KIB },
    theirs: "extended_l2=on,cluster_size=16k",
  },
  ...[1, 2, 4, 8, 16, 32, 64].map((refcountBits) => ({
    size: 64 * MIB,
    ours: { refcountBits, clusterSize: 1 * KIB },
    theirs: `refcount_bits=${refcountBits},cluster_size=1k`,
  })),
  ...["metadata", "falloc", "full"].flatMap((preallocation) => [
    { size: 5 * MIB + 512, ours: { preallocation }, theirs: `preallocation=${preallocation}` },
    {
      size: 5 * MIB,
      ours: { preallocation, clusterSize: 512, refcountBits: 64 },
      theirs: `preallocation=${preallocation},cluster_size=512,refcount_bits=64`,
    },
    {
      size: 5 * MIB,
      ours: { preallocation, extendedL2: true },
      theirs: `preallocation=${preallocation},extended_l2=on`,
    },
    {
      size: 5 * MIB,
      ours: { preallocation, version: "v2", clusterSize: 4 * KIB },
      theirs: `preallocation=${preallocation},compat=0.10,cluster_size=4k`,
    },
  ]),
];

describe.skipIf(lacksPeers("qemu-img", "qemu-io"))("qemu-img on a created image", () => {
  const path = scratchFiles();

  test.each(cases)("of $size bytes, $ours: as its own", async ({ size, ours, theirs }) => {
    await createImage(path("a.qcow2"), size, ours);
    await qemuImg(["create", "-q", "-f", "qcow2", ...withOptions(theirs), path("b.qcow2"), `${size}`]);
    const [a, b] = [await qemuInfo(path("a.qcow2")), await qemuInfo(path("b.qcow2"))];
    expect(a["virtual-size"]).toBe(size);
    expect(a["cluster-size"]).toBe(b["cluster-size"]);
    expect(a["format-specific"]).toEqual(b["format-specific"]);

    const report = await qemuCheck(path("a.qcow2"));
    const theirReport = await qemuCheck(path("b.qcow2"));
    expect(report).toMatchObject({ "check-errors": 0 });
    expect(report.corruptions ?? 0).toBe(0);
    expect(report.leaks ?? 0).toBe(0);
    expect(report["allocated-clusters"]).toBe(theirReport["allocated-clusters"]);
    await qemuImg(["compare", "-f", "qcow2", "-F", "qcow2", path("a.qcow2"), path("b.qcow2")]);
    if (!("preallocation" in ours) && !("refcountBits" in ours) && ours["clusterSize"] !== 512) {
      expect(statSync(path("a.qcow2")).size).toBe(statSync(path("b.qcow2")).size);
    }
  });

  test("is written by qemu-io without complaint", async () => {
    await createImage(path("a.qcow2"), 100 * MIB, { clusterSize: 1 * KIB, refcountBits: 1 });
    await qemuIo(path("a.qcow2"), ["write -P 0x11 0 3M", "write -P 0x22 60M 12345", "discard 1M 1M"]);
    await qemuIo(path("a.qcow2"), ["read -P 0x11 0 1M", "read -P 0 1M 1M", "read -P 0x22 60M 12345"]);
    const report = await qemuCheck(path("a.qcow2"));
    expect(report.corruptions ?? 0).toBe(0);
    expect(report.leaks ?? 0).toBe(0);
  });

  test("records a backing file and its format", async () => {
    await qemuImg(["create", "-q", "-f", "raw", path("base.raw"), "3M"]);
    await qemuIo(path("base.raw"), ["write -P 0x33 0 3M"], "raw");
    for (const options of [{}, { version: "v2" }, { extendedL2: true, preallocation: "metadata" }]) {
      await createImage(path("a.qcow2"), 3 * MIB, {
        ...options,
        backingFile: "base.raw",
        backingFormat: "raw",
      });
      expect(await qemuInfo(path("a.qcow2"))).toMatchObject({
        "backing-filename": "base.raw",
        "backing-filename-format": "raw",
      });
      await qemuIo(path("a.qcow2"), ["read -P 0x33 0 3M"]);
    }
  });

  test.each([{}, { dataFileRaw: true }, { dataFileRaw: true, extendedL2: true }, { preallocation: "full" }])(
    "keeps data outside, %o",
    async (options) => {
      await qemuImg(["create", "-q", "-f", "raw", path("a.data"), "1M"]);
      await qemuIo(path("a.data"), ["write -P 0x33 0 1M"], "raw");
      await createImage(path("a.qcow2"), 3 * MIB, {
        ...options,
        dataFile: { driver: "file", filename: path("a.data") },
      });
      expect(statSync(path("a.data")).size).toBe(3 * MIB);
      expect((await qemuInfo(path("a.qcow2")))["format-specific"].data).toMatchObject({
        "data-file": path("a.data"),
        "data-file-raw": "dataFileRaw" in options,
      });
      await qemuIo(path("a.qcow2"), ["read -P 0 0 3M", "write -P 0x44 1M 64k"]);
      const report = await qemuCheck(path("a.qcow2"));
      expect([report.corruptions ?? 0, report.leaks ?? 0]).toEqual([0, 0]);
      const data = readFileSync(path("a.data"));
      expect(data.subarray(0, MIB).every((byte) => byte === 0)).toBe(true);
      expect(data.subarray(MIB, MIB + 64 * KIB).every((byte) => byte === 0x44)).toBe(true);
    },
  );
});

function withOptions(text: string): readonly string[] {
  return text === "" ? [] : ["-o", text];
}
