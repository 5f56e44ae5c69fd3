import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  closeSync,
  copyFileSync,
  existsSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { lacksPeers, PeerServer } from "@blockmirror/peers";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { runProgram } from "../../src/cli/program.ts";
import { appFile, nodePath } from "../support/pty.ts";
import { runCli, scratchDirectory } from "./support/run-cli.ts";

const noPeers = lacksPeers("qemu-img", "qemu-io");

/** Images that nothing here changes: made once for all tests. */
let scratch: ReturnType<typeof scratchDirectory>;
let root: string;

function qemu(program: "qemu-img" | "qemu-io" | "nbdinfo", ...args: readonly string[]): string {
  return execFileSync(program, args, { cwd: root, encoding: "utf8" });
}

async function cli(...args: readonly string[]): Promise<Awaited<ReturnType<typeof runCli>>> {
  return runCli(args, { cwd: root });
}

function shell(command: string): string {
  return execFileSync("sh", ["-c", command], { cwd: root, encoding: "utf8" });
}

/** The JSON a command prints. It runs in this process, which is ten times as fast as another. */
async function json(...args: readonly string[]): Promise<unknown> {
  let printed = "";
  const write = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    printed += String(text);
    return true;
  });
  const told = vi.spyOn(process.stderr, "write").mockImplementation(() => true);
  try {
    const inRoot = args.map((word) => (existsSync(join(root, word)) ? join(root, word) : word));
    expect(await runProgram([...inRoot, "--output", "json"], "0"), told.mock.calls.join()).toBe(0);
  } finally {
    write.mockRestore();
    told.mockRestore();
  }
  const parsed: unknown = JSON.parse(printed.replaceAll(`${root}/`, ""));
  return parsed;
}

const IMAGES = [
  "raw.img",
  "plain.qcow2",
  "old.qcow2",
  "extended.qcow2",
  "parts.qcow2",
  "parts-above.qcow2",
  "small.qcow2",
  "zstd.qcow2",
  "data.qcow2",
  "top.qcow2",
  "middle.qcow2",
  "snapshots.qcow2",
  "bitmaps.qcow2",
  "packed.qcow2",
  "empty.qcow2",
  "prepared.qcow2",
  "prepared-small.qcow2",
  "prepared-full.qcow2",
] as const;

const PARTS = [
  "write -P 2 8k 512",
  "write -P 3 100k 40k",
  "write -z 120k 1k",
  "write -P 4 16k 512",
  "discard 104k 8k",
  "write -P 5 7M 2k",
] as const;

beforeAll(() => {
  if (noPeers) return;
  scratch = scratchDirectory();
  root = scratch.path;
  const make = (name: string, options: string, ...writes: readonly string[]): void => {
    qemu(
      "qemu-img",
      "create",
      "-q",
      "-f",
      "qcow2",
      ...options.split(" ").filter((word) => word !== ""),
      name,
      "8M",
    );
    if (writes.length > 0) qemu("qemu-io", "-f", "qcow2", ...writes.flatMap((write) => ["-c", write]), name);
  };
  const some = ["write -P 1 0 200k", "write -P 2 3M 1M", "write -z 6M 256k", "discard 3200k 128k"];
  qemu("qemu-img", "create", "-q", "-f", "raw", "raw.img", "6M");
  qemu("qemu-io", "-f", "raw", "-c", "write -P 9 1M 512k", "raw.img");
  make("plain.qcow2", "", ...some);
  // Tables made in advance: what was not written is data in the tables, and nothing in the file.
  make(
    "prepared.qcow2",
    "-o preallocation=metadata",
    "write -P 1 1M 70000",
    "write -P 2 5M 64k",
    "write -z 6M 256k",
  );
  make(
    "prepared-small.qcow2",
    "-o preallocation=metadata,cluster_size=4k,refcount_bits=1",
    "write -P 1 5k 1k",
  );
  make("prepared-full.qcow2", "-o preallocation=metadata", "write -P 1 0 7500k");
  make("old.qcow2", "-o compat=0.10", ...some);
  make("extended.qcow2", "-o extended_l2=on,lazy_refcounts=on", ...some);
  // Subclusters that are not there, in clusters that are.
  make("parts.qcow2", "-o extended_l2=on,cluster_size=16k", ...PARTS);
  make("parts-above.qcow2", "-o extended_l2=on -b raw.img -F raw", ...PARTS);
  make("small.qcow2", "-o cluster_size=512,refcount_bits=8", "write -P 1 100k 300k");
  make("zstd.qcow2", "-o compression_type=zstd", "write -P 1 0 64k");
  make("data.qcow2", "-o data_file=outside.raw,data_file_raw=on", "write -P 1 0 64k");
  make("middle.qcow2", "-b raw.img -F raw", "write -P 3 2M 100k");
  make("top.qcow2", "-b middle.qcow2 -F qcow2", "write -P 4 5M 64k", "write -z 1M 64k");
  make("snapshots.qcow2", "", ...some);
  qemu("qemu-img", "snapshot", "-c", "first", "snapshots.qcow2");
  qemu("qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 64k", "snapshots.qcow2");
  qemu("qemu-img", "snapshot", "-c", "second one", "snapshots.qcow2");
  make("bitmaps.qcow2", "");
  qemu("qemu-img", "bitmap", "--add", "bitmaps.qcow2", "following");
  qemu("qemu-img", "bitmap", "--add", "--disable", "-g", "4096", "bitmaps.qcow2", "resting");
  qemu("qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 64k", "bitmaps.qcow2");
  qemu("qemu-img", "convert", "-c", "-O", "qcow2", "-f", "qcow2", "plain.qcow2", "packed.qcow2");
  make("empty.qcow2", "");
});

afterAll(() => {
  if (!noPeers) scratch.remove();
});

describe.skipIf(noPeers)("info", () => {
  test.each(IMAGES)("%s: as qemu-img, with --output json", async (name) => {
    const theirs: unknown = JSON.parse(qemu("qemu-img", "info", "--output=json", name));
    expect(await json("info", name)).toEqual(theirs);
  });

  test("--chain: as qemu-img's, and refused like the chain itself", async () => {
    const theirs: unknown = JSON.parse(
      qemu("qemu-img", "info", "--backing-chain", "--output=json", "top.qcow2"),
    );
    expect(await json("info", "top.qcow2", "--chain")).toEqual(theirs);
    qemu(
      "qemu-img",
      "create",
      "-q",
      "-u",
      "-f",
      "qcow2",
      "-b",
      "/etc/passwd",
      "-F",
      "raw",
      "far.qcow2",
      "1M",
    );
    expect(await json("info", "far.qcow2")).toMatchObject({ "backing-filename": "/etc/passwd" });
    expect(await cli("info", "far.qcow2", "--chain")).toMatchObject({ status: 1, stdout: "" });
  });

  test("for people", async () => {
    const { stdout } = await cli("info", "bitmaps.qcow2");
    expect(stdout).toMatch(/^image {2,}bitmaps\.qcow2$/mu);
    expect(stdout).toMatch(/^virtual size {2,}8\.00 MiB \(8388608 bytes\)$/mu);
    expect(stdout).toMatch(/^bitmap following {2}64\.0 KiB per bit {2}auto$/mu);
    expect((await cli("info", "snapshots.qcow2")).stdout).toMatch(/^snapshot 2 {2}second one/mu);
    expect((await cli("info", "top.qcow2", "--chain")).stdout.match(/^image/gmu)).toHaveLength(3);
  });

  test("of what is no image", async () => {
    writeFileSync(join(root, "broken.qcow2"), "QFI\u00FB\0\0\0\u0003", "latin1");
    const { status, stderr } = await cli("info", "broken.qcow2");
    expect({ status, lines: stderr.trimEnd().split("\n").length }).toEqual({ status: 1, lines: 1 });
    expect(stderr).toMatch(/too short/u);
    expect(await cli("info", "nowhere.qcow2")).toMatchObject({ status: 1 });
  });
});

describe.skipIf(noPeers)("map", () => {
  test.each(IMAGES)("%s: as qemu-img, with --output json", async (name) => {
    const theirs: unknown = JSON.parse(qemu("qemu-img", "map", "--output=json", name));
    expect(await json("map", name)).toEqual(theirs);
  });

  test("a map of many ranges, into a reader that goes away", () => {
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=512", "striped.qcow2", "16M");
    const writes = Array.from({ length: 1500 }, (_, index) => `write -P 1 ${index * 8}k 512`);
    for (let at = 0; at < writes.length; at += 500) {
      qemu(
        "qemu-io",
        "-f",
        "qcow2",
        ...writes.slice(at, at + 500).flatMap((write) => ["-c", write]),
        "striped.qcow2",
      );
    }
    const command = `"${nodePath}" "${appFile("bin", "blockmirror.js")}" map striped.qcow2`;
    expect(shell(`${command} | wc -l`).trim()).toBe("3001");
    expect(shell(`${command} | head -3`).trimEnd().split("\n")).toHaveLength(3);
  });

  test("for people", async () => {
    const { stdout } = await cli("map", "top.qcow2");
    expect(stdout).toMatch(/^ +5242880 +65536 {2}data +0 +\d+$/mu);
    expect(stdout).toMatch(/^ +2097152 +131072 {2}data +1 +\d+$/mu);
  });
});

describe.skipIf(lacksPeers("qemu-nbd", "nbdinfo", "qemu-img", "qemu-io"))(
  "map of an export and of bitmaps",
  () => {
    const MARKED = [
      { start: 0, length: 1048576, dirty: false },
      { start: 1048576, length: 65536, dirty: true },
      { start: 1114112, length: 7274496, dirty: false },
    ];

    test("an image shows what its bitmap marks", async () => {
      expect(await json("map", "bitmaps.qcow2", "--bitmap", "following")).toEqual(MARKED);
      expect(await json("map", "bitmaps.qcow2", "--bitmap", "resting")).toEqual([
        { start: 0, length: 8388608, dirty: false },
      ]);
      const { stdout } = await cli("map", "bitmaps.qcow2", "--bitmap", "following");
      expect(stdout).toMatch(/^ +1048576 +65536 {2}dirty$/mu);
      const refused = await cli("map", "raw.img", "--bitmap", "b");
      expect(refused).toMatchObject({ status: 1, stdout: "" });
      expect(refused.stderr).toMatch(/no dirty bitmap 'b'/u);
    });

    test("info and check look into exports: a disk, unless it is said what is in it", async () => {
      copyFileSync(join(root, "plain.qcow2"), join(root, "behind.qcow2"));
      const server = new PeerServer("qemu-nbd", () => ["-f", "raw", join(root, "behind.qcow2")]);
      await server.start();
      try {
        const { size } = statSync(join(root, "behind.qcow2"));
        expect(await json("info", server.uri)).toMatchObject({
          filename: server.uri,
          format: "raw",
          "virtual-size": size,
          "format-specific": {
            type: "nbd",
            data: { export: "", tls: false, replies: "structured", "maximum-payload": 33554432 },
          },
        });
        const within = await json("info", "-f", "qcow2", server.uri);
        const theirs = JSON.parse(qemu("qemu-img", "info", "-f", "qcow2", "--output=json", server.uri));
        delete theirs["filename"];
        expect(within).toMatchObject(theirs);
        expect(await cli("check", "-f", "qcow2", server.uri)).toMatchObject({ status: 0 });
        expect(await cli("check", server.uri)).toMatchObject({ status: 1, stdout: "" });
        const damage = openSync(join(root, "behind.qcow2"), "r+");
        writeSync(damage, Buffer.alloc(8, 0xff), 0, 8, 65_536 * 2);
        closeSync(damage);
        expect(await cli("check", "-f", "qcow2", server.uri)).toMatchObject({ status: 1 });
        expect(await cli("check", "-r", "all", "-f", "qcow2", server.uri)).toMatchObject({ status: 0 });
        qemu("qemu-img", "check", "-q", "-f", "qcow2", server.uri);
      } finally {
        await server.stop();
      }
    });

    test("so does a server, as nbdinfo sees it", async () => {
      const server = new PeerServer("qemu-nbd", () => [
        "-r",
        "-f",
        "qcow2",
        "-B",
        "following",
        join(root, "bitmaps.qcow2"),
      ]);
      await server.start();
      try {
        expect(await json("map", server.uri, "--bitmap", "following")).toEqual(MARKED);
        const theirs = JSON.parse(
          qemu("nbdinfo", "--json", "--map=qemu:dirty-bitmap:following", server.uri),
        ).map((each: Readonly<Record<string, number>>) => [
          each["offset"],
          each["length"],
          each["type"] === 1,
        ]);
        expect(MARKED.map(({ start, length, dirty }) => [start, length, dirty])).toEqual(theirs);
        expect(await json("map", server.uri)).toEqual([
          { start: 0, length: 1048576, depth: 0, present: true, zero: true, data: false },
          { start: 1048576, length: 65536, depth: 0, present: true, zero: false, data: true },
          { start: 1114112, length: 7274496, depth: 0, present: true, zero: true, data: false },
        ]);
        const refused = await cli("map", server.uri, "--bitmap", "resting");
        expect(refused).toMatchObject({ status: 1, stdout: "" });
        expect(refused.stderr).toMatch(/no dirty bitmap 'resting'/u);
      } finally {
        await server.stop();
      }
    });
  },
);

describe.skipIf(noPeers)("measure", () => {
  test.each(IMAGES)("a copy of %s: as qemu-img", async (name) => {
    const theirs = JSON.parse(qemu("qemu-img", "measure", "--output=json", "-O", "qcow2", name));
    // Bitmaps are measured there, but copied only on demand.
    delete theirs["bitmaps"];
    expect(await json("measure", name)).toEqual(theirs);
  });

  test("an empty image, and what is wrong with a command line", async () => {
    expect(await json("measure", "--size", "1G", "-o", "cluster_size=4k")).toEqual(
      JSON.parse(
        qemu("qemu-img", "measure", "--output=json", "-O", "qcow2", "-o", "cluster_size=4k", "--size", "1G"),
      ),
    );
    expect(await cli("measure")).toMatchObject({ status: 2 });
    expect(await cli("measure", "raw.img", "--size", "1G")).toMatchObject({ status: 2 });
  });
});

describe.skipIf(noPeers)("compare", () => {
  test("identical, however they are stored", async () => {
    expect(await json("compare", "plain.qcow2", "packed.qcow2")).toEqual({
      identical: true,
      sizes: [8388608, 8388608],
    });
    expect(await json("compare", "plain.qcow2", "old.qcow2")).toMatchObject({ identical: true });
    const shorter = await cli("compare", "raw.img", "raw.img");
    expect(shorter).toMatchObject({ status: 0, stdout: "the images are identical\n" });
  });

  test("different: says where, at the byte", async () => {
    qemu("qemu-img", "convert", "-O", "raw", "plain.qcow2", "flat.raw");
    const fd = openSync(join(root, "flat.raw"), "r+");
    writeSync(fd, "x", 3_500_001);
    closeSync(fd);
    const result = await cli("compare", "plain.qcow2", "flat.raw");
    expect(result).toMatchObject({ status: 1, stdout: "the images differ at offset 3500001\n" });
    const { status, stdout } = await cli("compare", "plain.qcow2", "empty.qcow2", "--output", "json");
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ identical: false, "first-difference": 0 });
  });

  test("of different size: zeroes may be missing, unless --strict", async () => {
    qemu("qemu-img", "create", "-q", "-f", "raw", "short.raw", "1M");
    expect(await cli("compare", "short.raw", "empty.qcow2")).toMatchObject({ status: 0 });
    expect(await cli("compare", "--strict", "short.raw", "empty.qcow2")).toMatchObject({ status: 1 });
    expect((await cli("compare", "short.raw", "raw.img")).stdout).toMatch(/differ at offset 1048576/u);
  });
});

describe.skipIf(noPeers)("check", () => {
  test.each(IMAGES.filter((name) => name !== "raw.img"))("%s: as qemu-img", async (name) => {
    const theirs: unknown = JSON.parse(qemu("qemu-img", "check", "--output=json", name));
    expect(await json("check", name)).toEqual(theirs);
  });

  test("finds, repairs, and says so", async () => {
    const file = join(root, "damaged.qcow2");
    writeFileSync(file, readFileSync(join(root, "plain.qcow2")));
    const fd = openSync(file, "r+");
    writeSync(fd, new Uint8Array([0, 3]), 0, 2, 0x20000 + 10);
    closeSync(fd);
    const before = createHash("sha256").update(readFileSync(file)).digest("hex");
    const found = await cli("check", "damaged.qcow2");
    expect(found.status).toBe(1);
    expect(found.stderr).toMatch(/^leak: cluster 5 has a refcount of 3/mu);
    expect(found.stdout).toMatch(/--repair/u);
    expect(createHash("sha256").update(readFileSync(file)).digest("hex")).toBe(before);
    expect(await json("check", "damaged.qcow2", "--repair", "all")).toMatchObject({ "leaks-fixed": 1 });
    qemu("qemu-img", "check", "-q", "damaged.qcow2");
    expect(await cli("check", "raw.img")).toMatchObject({ status: 1, stdout: "" });
  });
});

describe.skipIf(noPeers)("create", () => {
  test("makes what qemu-img opens, and nothing over what is there", async () => {
    const made = await cli("create", "new.qcow2", "10G", "-o", "cluster_size=1M,lazy_refcounts=on");
    expect(made).toMatchObject({
      status: 0,
      stdout: "made new.qcow2: qcow2, 10.0 GiB (10737418240 bytes)\n",
    });
    expect(JSON.parse(qemu("qemu-img", "info", "--output=json", "new.qcow2"))).toMatchObject({
      "virtual-size": 10 * 2 ** 30,
      "cluster-size": 2 ** 20,
      "format-specific": { data: { "lazy-refcounts": true } },
    });
    expect(await cli("create", "new.qcow2", "1G")).toMatchObject({ status: 1, stdout: "" });
    expect(await json("create", "new.qcow2", "1G", "--force")).toEqual({
      filename: "new.qcow2",
      format: "qcow2",
      "virtual-size": 2 ** 30,
    });
    expect(await cli("create", "new.raw", "1M", "--format", "raw")).toMatchObject({ status: 0 });
  });

  test("an overlay, as large as its base", async () => {
    const made = await cli("create", "overlay.qcow2", "--backing", "middle.qcow2");
    expect(made.stderr).toMatch(/taken to be qcow2, by its first bytes/u);
    expect(made.status).toBe(0);
    expect(await json("compare", "overlay.qcow2", "middle.qcow2")).toMatchObject({ identical: true });
    qemu("qemu-img", "compare", "overlay.qcow2", "middle.qcow2");
  });

  test("with a data file", async () => {
    const made = await cli("create", "keeper.qcow2", "1M", "-o", "data_file=kept.raw,data_file_raw=on");
    expect(made.status, made.stderr).toBe(0);
    qemu("qemu-io", "-f", "qcow2", "-c", "write -P 5 0 64k", "keeper.qcow2");
    expect(readFileSync(join(root, "kept.raw"))[0]).toBe(5);
  });

  test.each([
    [["x.qcow2"], 2, /give the size/u],
    [["x.qcow2", "1Q"], 2, /SIZE/u],
    [["x.qcow2", "1G", "-o", "compat=7"], 2, /one of 0\.10/u],
    [["x.qcow2", "1G", "-o", "what=1"], 2, /no option 'what'/u],
    [
      ["x.qcow2", "1G", "-o", "cluster_size=1"],
      2,
      /-o cluster_size=1: must be a power of two from 512 to 2M\n/u,
    ],
    [["x.qcow2", "1G", "-o", "cluster_size=4M"], 2, /cluster_size=4M: must be a power of two/u],
    [["x.qcow2", "1G", "-o", "cluster_size=96K"], 2, /cluster_size=96K: must be a power of two/u],
    [["x.qcow2", "1G", "-o", "refcount_bits=3"], 2, /refcount_bits=3: must be a power of two from 1 to 64/u],
    [["x.qcow2", "1G", "-f", "vmdk"], 2, /raw, qcow2/u],
    [["x.qcow2", "1G", "-b", "nowhere.raw"], 1, /does not exist/u],
    [["x.qcow2", "1G", "-o", "compat=0.10,extended_l2=on"], 1, /version 2/u],
    [["x.qcow2", "1G", "-F", "raw"], 2, /--backing-format needs --backing/u],
    [["x.raw", "1G", "-f", "raw", "-b", "raw.img"], 2, /cannot have a backing file/u],
    [["nowhere/x.qcow2", "1G"], 1, /no folder/u],
  ] as const)("refused: %j", async (args, status, words) => {
    const result = await cli("create", ...args);
    expect(result.status, result.stderr).toBe(status);
    expect(result.stderr).toMatch(words);
    expect(result.stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(existsSync(join(root, "x.qcow2"))).toBe(false);
    expect(existsSync(join(root, "x.raw"))).toBe(false);
  });
});

test.skipIf(process.platform !== "linux")("a result that cannot be written is a failure", () => {
  const command = `"$1" "$2" info raw.img >/dev/full`;
  const run = spawnSync("sh", ["-c", command, "sh", nodePath, appFile("bin/blockmirror.js")], {
    cwd: root,
    encoding: "utf8",
  });
  expect(run.status).toBe(1);
  expect(run.stderr).toMatch(/^blockmirror: standard output cannot be written: ENOSPC.*\n$/u);
});
