import { readFileSync, writeFileSync } from "node:fs";
import { lacksPeers } from "@blockmirror/peers";
import { describe, expect, test } from "vitest";
import { failure, filled } from "../../support/graphs.ts";
import { Recording } from "../../support/recording.ts";
import "../../support/seed.ts";
import { Random } from "../../../src/conformance/random.ts";
import { FaultController } from "../../../src/index.ts";
import { checkFile } from "../support/check.ts";
import { createImage } from "../support/create.ts";
import { crashedFile } from "../crash/replay.ts";
import { openImage, read, withImage } from "../support/open.ts";
import { peek64, poke, poke32 } from "../support/poke.ts";
import { qemuCheck, qemuImg, qemuInfo } from "../support/qemu-img.ts";
import { scratchFiles } from "../support/scratch.ts";

const MIB = 1024 * 1024;
const SEED = Number(process.env["BLOCKMIRROR_SEED"] ?? 7);

const at = scratchFiles();

/** Without the backing file, which need not be there. */
const ALONE = { backing: null };

async function change(file: string, backing: { filename: string; format?: string } | null): Promise<void> {
  await withImage(file, ({ graph, node }) => graph.changeBackingFile(node, backing), ALONE);
}

function recorded(file: string): Promise<unknown> {
  return withImage(file, ({ node }) => Promise.resolve(node.info.namedBacking), { ...ALONE, readOnly: true });
}

/** Gives an image that names no backing file an extension that nobody knows. */
function addExtension(file: string, data: Uint8Array): void {
  let end = 112;
  for (let header = peek64(file, end); header >> 32n !== 0n; header = peek64(file, end)) {
    end += 8 + Math.ceil(Number(header & 0xffff_ffffn) / 8) * 8;
  }
  poke32(file, end, 0x1234_5678);
  poke32(file, end + 4, data.length);
  poke(file, end + 8, data);
}

describe("the backing file that an image records", () => {
  test.each([
    { version: "v3", clusterSize: 65_536 },
    { version: "v3", clusterSize: 1024 },
    { version: "v2", clusterSize: 65_536 },
    { version: "v2", clusterSize: 512 },
  ])("is recorded, replaced and taken out: version $version, clusters of $clusterSize", async (options) => {
    const file = at("disk.qcow2");
    await createImage(file, MIB, options);
    await withImage(file, ({ edge }) => Promise.resolve(edge.write(100_000, [filled(70_000, 3)])));
    for (const backing of [
      { filename: "base.raw", format: "raw" },
      { filename: "b", format: "qcow2" },
      { filename: "x".repeat(80) },
      { filename: "another base.qcow2", format: "qcow2" },
      null,
    ]) {
      await change(file, backing);
      expect(await recorded(file)).toEqual(backing ?? undefined);
      expect(await checkFile(file)).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 });
      await withImage(
        file,
        async ({ edge }) => expect(await read(edge, 100_000, 70_000)).toEqual(filled(70_000, 3)),
        { ...ALONE, readOnly: true },
      );
    }
  });

  test("is told by the open image at once, and requests go on", async () => {
    const file = at("disk.qcow2");
    await createImage(file, MIB);
    await withImage(file, async ({ graph, node, edge }) => {
      await edge.write(0, [filled(4096, 1)]);
      await graph.changeBackingFile(node, { filename: "base.raw", format: "raw" });
      expect(node.info.namedBacking).toEqual({ filename: "base.raw", format: "raw" });
      await edge.write(4096, [filled(4096, 2)]);
      expect(await read(edge, 0, 4096)).toEqual(filled(4096, 1));
    });
    expect(await recorded(file)).toEqual({ filename: "base.raw", format: "raw" });
  });

  test("extensions that nobody knows stay", async () => {
    const file = at("disk.qcow2");
    await createImage(file, MIB);
    addExtension(file, Buffer.from("hello"));
    await change(file, { filename: "base.raw", format: "raw" });
    await change(file, null);
    expect(readFileSync(file).subarray(0, 65_536).includes("hello")).toBe(true);
    expect(await recorded(file)).toBeUndefined();
  });

  test("an image of version 2 that names one no longer unmaps, since the backing file would show through", async () => {
    const file = at("disk.qcow2");
    await createImage(file, MIB, { version: "v2" });
    await withImage(file, async ({ graph, node, edge }) => {
      await edge.write(0, [filled(65_536, 1)]);
      expect(node.info.can.unmap).toBe(true);
      await graph.changeBackingFile(node, { filename: "base.raw", format: "raw" });
      expect(node.info.can).toMatchObject({ unmap: false, discard: "no" });
      await edge.writeZeroes(0, 65_536, { unmap: true });
    });
    writeFileSync(at("base.raw"), filled(MIB, 9));
    await withImage(
      file,
      async ({ edge }) => expect(await read(edge, 0, 65_536)).toEqual(filled(65_536, 0)),
      {
        backing: { driver: "raw", file: { driver: "file", filename: at("base.raw") } },
        readOnly: true,
      },
    );
  });

  test("what cannot be recorded is refused, and nothing changes", async () => {
    const file = at("disk.qcow2");
    await createImage(file, MIB, { clusterSize: 512, version: "v2" });
    const before = readFileSync(file);
    for (const backing of [
      { filename: "" },
      { filename: "a\0b" },
      { filename: "x".repeat(1024) },
      { filename: "base", format: "" },
      { filename: "base", format: "sixteen-letters!" },
      // It does not fit into a cluster of 512 bytes.
      { filename: "x".repeat(500) },
    ]) {
      const error = await failure("EINVAL", () => change(file, backing));
      expect(error.message).toMatch(/backing|header/u);
      expect(readFileSync(file).equals(before)).toBe(true);
    }
    const dataFile = { driver: "memory", nodeName: "data", size: 0 };
    const raw = at("raw.qcow2");
    await createImage(raw, MIB, { dataFile, dataFileRaw: true, dataFileName: "data.raw" });
    const options = { backing: null, dataFile: { driver: "memory", size: MIB } };
    await withImage(
      raw,
      ({ graph, node }) =>
        failure("EINVAL", () => graph.changeBackingFile(node, { filename: "base.raw", format: "raw" })),
      options,
    );
  });
});

describe("a crash while the header changes", () => {
  test.each([
    ["clusters of 64 KiB", { clusterSize: 65_536 }],
    ["clusters of 4 KiB", { clusterSize: 4096 }],
    ["clusters of 512 bytes, version 2", { clusterSize: 512, version: "v2" }],
  ])("leaves the old name or the new one, with its format: %s", async (_, options) => {
    const file = at("disk.qcow2");
    const random = new Random(SEED);
    await createImage(file, MIB, options);
    // Pushes what names the format into another sector than what leads to the name.
    if (options.clusterSize > 512) addExtension(file, Buffer.alloc(480, "u"));
    const names = [
      undefined,
      { filename: "base.raw", format: "raw" },
      { filename: "x".repeat(options.clusterSize > 512 ? 600 : 40), format: "qcow2" },
      { filename: "b" },
      undefined,
    ];
    for (const [index, next] of names.entries()) {
      if (index === 0) continue;
      const old = names[index - 1];
      const before = readFileSync(file);
      const recording = new Recording();
      await withImage(
        { driver: "recording", recording, file: { driver: "file", filename: file } },
        ({ graph, node }) => graph.changeBackingFile(node, next ?? null),
        ALONE,
      );
      const seen = new Set<unknown>();
      for (let upTo = 0; upTo <= recording.events.length; upTo += 1) {
        const fates = ["all", "none", ...Array.from({ length: 12 }, () => "random" as const)] as const;
        for (const fate of fates) {
          const crashed = at("crashed.qcow2");
          writeFileSync(crashed, crashedFile(before, recording.events, upTo, fate, random));
          const found = await recorded(crashed);
          expect([old, next], `event ${upTo} of ${recording.events.length}, seed ${SEED}`).toContainEqual(
            found,
          );
          seen.add(JSON.stringify(found));
          if (fate !== "random") {
            expect(await checkFile(crashed)).toMatchObject({ corruptions: 0, checkErrors: 0 });
          }
        }
      }
      expect(seen.size).toBe(2);
    }
  });
});

describe.skipIf(lacksPeers("qemu-img"))("beside qemu-img", () => {
  test.each(["1.1", "0.10"])(
    "says the same after a change as qemu-img rebase -u does: compat %s",
    async (compat) => {
      await qemuImg(["create", "-q", "-f", "raw", at("base.raw"), "1M"]);
      await qemuImg(["create", "-q", "-f", "qcow2", at("base.qcow2"), "1M"]);
      for (const name of ["ours.qcow2", "theirs.qcow2"]) {
        const base = ["-b", at("base.raw"), "-F", "raw"];
        await qemuImg(["create", "-q", "-f", "qcow2", "-o", `compat=${compat}`, ...base, at(name)]);
      }
      for (const [filename, format] of [
        [at("base.qcow2"), "qcow2"],
        ["", undefined],
        [at("base.raw"), "raw"],
      ] as const) {
        await change(at("ours.qcow2"), filename === "" ? null : { filename, ...(format && { format }) });
        const by = format === undefined ? [] : ["-F", format];
        await qemuImg(["rebase", "-q", "-u", "-b", filename, ...by, at("theirs.qcow2")]);
        const [ours, theirs] = [await qemuInfo(at("ours.qcow2")), await qemuInfo(at("theirs.qcow2"))];
        expect(ours["backing-filename"]).toBe(theirs["backing-filename"]);
        expect(ours["backing-filename-format"]).toBe(theirs["backing-filename-format"]);
        expect(await qemuCheck(at("ours.qcow2"))).not.toHaveProperty("corruptions");
      }
    },
  );

  test("qemu-img reads an image whose header update was interrupted, and its own update keeps it sound", async () => {
    const file = at("disk.qcow2");
    await createImage(file, MIB);
    const before = readFileSync(file);
    const recording = new Recording();
    await withImage(
      { driver: "recording", recording, file: { driver: "file", filename: file } },
      ({ graph, node }) => graph.changeBackingFile(node, { filename: "base.raw", format: "raw" }),
      ALONE,
    );
    const random = new Random(SEED);
    const told = new Set<string | undefined>();
    for (let upTo = 0; upTo <= recording.events.length; upTo += 1) {
      writeFileSync(at("crashed.qcow2"), crashedFile(before, recording.events, upTo, "all", random));
      const info = await qemuInfo(at("crashed.qcow2"));
      told.add(info["backing-filename"]);
      expect([undefined, "raw"]).toContain(info["backing-filename-format"]);
      await qemuImg(["rebase", "-q", "-u", "-b", "", at("crashed.qcow2")]);
      expect(await recorded(at("crashed.qcow2"))).toBeUndefined();
      expect(await checkFile(at("crashed.qcow2"))).toMatchObject({ corruptions: 0, checkErrors: 0 });
    }
    expect(told).toEqual(new Set([undefined, "base.raw"]));
  });
});

test("after a header that may not have become durable nothing is written any more", async () => {
  const file = at("disk.qcow2");
  await createImage(file, MIB);
  const controller = new FaultController();
  const below = { driver: "fault", controller, file: { driver: "file", filename: file } };
  const { graph, node, edge, close } = await openImage(below);
  await edge.write(0, [filled(512, 1)]);
  controller.add({ operation: "flush", nth: 3, error: "EIO" });
  const backing = { filename: "base.raw", format: "raw" };
  await failure("EIO", () => graph.changeBackingFile(node, backing));
  await failure("BLK_FENCED", () => edge.write(0, [filled(512, 2)]));
  await failure("BLK_FENCED", close);
  expect([undefined, backing]).toContainEqual(await recorded(file));
});
