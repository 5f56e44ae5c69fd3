import { createHash } from "node:crypto";
import { copyFileSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { lacksPeers } from "@blockmirror/peers";
import { describe, expect, test } from "vitest";
import { FaultController, type Qcow2CheckReport } from "../../../src/index.ts";
import { failure } from "../../support/graphs.ts";
import { checkFile, checkSpec } from "../support/check.ts";
import { withImage } from "../support/open.ts";
import { peek64, poke16, poke32, poke64 } from "../support/poke.ts";
import { qemuCheck, qemuImg, qemuIo } from "../support/qemu-img.ts";
import { scratchFiles } from "../support/scratch.ts";
import { resizeSnapshotExtra, snapshotEntries } from "../support/snapshot-table.ts";

const path = scratchFiles();
const CLEAN = { checkErrors: 0, corruptions: 0, leaks: 0 };
const CORRUPTION = { corruptions: expect.any(Number), leaks: 0 };

/** What is done to two good entries of 24 bytes of extra data. */
interface Case {
  readonly name: string;
  readonly compat: string;
  readonly extra: readonly (number | undefined)[];
}
const CASES: readonly Case[] = [
  { name: "one byte group more than there may be", compat: "1.1", extra: [1032, undefined] },
  { name: "too much in both", compat: "1.1", extra: [5000, 2000] },
  { name: "too much in the last", compat: "1.1", extra: [undefined, 70_000] },
  { name: "too much in version 2", compat: "0.10", extra: [3000, undefined] },
  { name: "none", compat: "1.1", extra: [0, undefined] },
  { name: "half of what there must be", compat: "1.1", extra: [undefined, 8] },
  { name: "none in one and too much in the other", compat: "1.1", extra: [0, 4000] },
];

/** Digests of the disk now and at each snapshot, as qemu reads them. */
async function contents(file: string): Promise<string[]> {
  const digests: string[] = [];
  for (const select of [[], ["-l", "first"], ["-l", "second"]]) {
    await qemuImg(["convert", "-f", "qcow2", "-O", "raw", ...select, file, path("out.raw")]);
    digests.push(
      createHash("sha256")
        .update(readFileSync(path("out.raw")))
        .digest("hex"),
    );
  }
  return digests;
}

/** What both repairs must make of a snapshot: everything but where its table is. */
const entriesOf = (file: string): unknown =>
  snapshotEntries(file).map(({ head, extra, names }) => [head.toString("hex"), extra, names.toString()]);

describe.skipIf(lacksPeers("qemu-img", "qemu-io"))("extra data of snapshots", () => {
  const bases = new Map<string, Buffer>();

  /** An image with two snapshots of other content than now. */
  async function base(compat: string): Promise<Buffer> {
    const known = bases.get(compat);
    if (known !== undefined) return known;
    const file = path("base.qcow2");
    await qemuImg(["create", "-q", "-f", "qcow2", "-o", `compat=${compat}`, file, "4M"]);
    await qemuIo(file, ["write -P 1 0 128k"]);
    await qemuImg(["snapshot", "-c", "first", file]);
    await qemuIo(file, ["write -P 2 64k 128k"]);
    await qemuImg(["snapshot", "-c", "second", file]);
    await qemuIo(file, ["write -P 3 0 64k"]);
    const bytes = readFileSync(file);
    rmSync(file);
    bases.set(compat, bytes);
    return bytes;
  }

  async function damaged(compat: string, extra: readonly (number | undefined)[]): Promise<string> {
    const file = path("a.qcow2");
    writeFileSync(file, await base(compat));
    resizeSnapshotExtra(file, extra);
    return file;
  }

  test.each(CASES)("$name: repaired as qemu-img repairs it", async ({ compat, extra }) => {
    const file = await damaged(compat, extra);
    const before = readFileSync(file);
    for (const repair of [undefined, "leaks"] as const) {
      const report = await checkFile(file, repair === undefined ? {} : { repair });
      expect(report).toMatchObject(CORRUPTION);
      expect(report.corruptions).toBe(extra.filter((length) => length !== undefined).length);
      expect(readFileSync(file).equals(before), "nothing is changed").toBe(true);
    }
    copyFileSync(file, path("theirs.qcow2"));
    const theirs = await qemuCheck(path("theirs.qcow2"), "all");
    const messages: string[] = [];
    const ours = await checkFile(file, { repair: "all", onFinding: ({ message }) => messages.push(message) });
    expect(ours).toMatchObject({ ...CLEAN, corruptionsFixed: theirs["corruptions-fixed"], leaksFixed: 0 });
    expect(messages).toHaveLength(ours.corruptionsFixed);
    expect(await qemuCheck(file)).toMatchObject({ "check-errors": 0 });
    expect(await checkFile(file)).toMatchObject(CLEAN);
    expect(entriesOf(file)).toEqual(entriesOf(path("theirs.qcow2")));
    expect(await contents(file)).toEqual(await contents(path("theirs.qcow2")));
    // It can be written again.
    await withImage(file, ({ edge }) => Promise.resolve(edge.write(0, [Buffer.alloc(512, 9)])));
    expect(await qemuCheck(file)).toMatchObject({ "check-errors": 0 });
  });

  test("an entry without what version 3 requires counts as qemu-img counts it", async () => {
    const file = await damaged("1.1", [0, 8]);
    const theirs = await qemuCheck(file);
    expect(await checkFile(file)).toMatchObject({ corruptions: theirs.corruptions, leaks: 0 });
    // Version 2 requires nothing.
    const old = await damaged("0.10", [0, 8]);
    expect(await qemuCheck(old)).not.toHaveProperty("corruptions");
    expect(await checkFile(old)).toMatchObject(CLEAN);
  });

  test("a length that leads into nonsense is not believed: nothing is cut off, given back or moved", async () => {
    const file = await damaged("1.1", [2000, undefined]);
    // Eight bytes less: the second entry would begin inside the first.
    poke32(file, Number(peek64(file, 64)) + 36, 1992);
    poke16(file, 0x20000 + 2 * 200, 1);
    const before = readFileSync(file);
    const report = await checkFile(file, { repair: "all" });
    expect(report.corruptions).toBeGreaterThan(0);
    expect(readFileSync(file).equals(before)).toBe(true);
  });

  test("a crash before the switch leaves the old table, one after it a leak; the next repair ends it", async () => {
    const original = await damaged("1.1", [5000, 0]);
    const repairWith = (controller: FaultController): Promise<Qcow2CheckReport> => {
      copyFileSync(original, path("r.qcow2"));
      const file = { driver: "file", filename: path("r.qcow2") };
      return checkSpec({ driver: "fault", controller, file }, { repair: "all" });
    };
    const all = new FaultController();
    expect(await repairWith(all)).toMatchObject({ ...CLEAN, corruptionsFixed: 2 });
    const expected = await contents(path("r.qcow2"));
    const operation = ["write", "flush", "resize"] as const;
    const changes = all.log.filter((entry) => operation.some((name) => name === entry.operation)).length;
    expect(changes).toBeGreaterThan(5);
    for (let nth = 1; nth <= changes; nth += 1) {
      const controller = new FaultController({ rules: [{ operation, nth, times: 0, error: "EIO" }] });
      await failure("EIO", () => repairWith(controller));
      const moved = peek64(path("r.qcow2"), 64) !== peek64(original, 64);
      if (moved) expect(await checkFile(path("r.qcow2")), `${nth}`).toMatchObject({ corruptions: 0 });
      expect(await checkFile(path("r.qcow2"), { repair: "all" }), `${nth}`).toMatchObject(CLEAN);
      expect(await contents(path("r.qcow2")), `${nth}`).toEqual(expected);
    }
  });

  test("with the refcounts ruined as well, the new table is counted in the new ones", async () => {
    const file = await damaged("1.1", [5000, undefined]);
    poke64(file, 0x10000, 0n);
    expect(await checkFile(file, { repair: "all" })).toMatchObject(CLEAN);
    expect(await qemuCheck(file)).toMatchObject({ "check-errors": 0 });
    expect(await qemuCheck(file)).not.toHaveProperty("corruptions");
  });

  test("a device that cannot grow needs room for the new table, and says so", async () => {
    const file = await damaged("1.1", [5000, undefined]);
    const size = readFileSync(file).length;
    const before = readFileSync(file);
    const fixed = { driver: "file", filename: file, fixed: true };
    // The place of the table that was moved to the end is free.
    await checkSpec(fixed, { repair: "all" });
    expect(await checkFile(file)).toMatchObject(CLEAN);
    expect(readFileSync(file)).toHaveLength(size);
    writeFileSync(file, before);
    const free = Array.from({ length: size / 65536 }, (_, index) => index).filter(
      (index) => before.readUInt16BE(0x20000 + 2 * index) === 0,
    );
    // Filled by preallocated clusters that the disk names.
    const table = Number(peek64(file, Number(peek64(file, 40))) & 0x00ff_ffff_ffff_fe00n);
    for (const [nth, index] of free.entries()) {
      poke16(file, 0x20000 + 2 * index, 1);
      poke64(file, table + 8 * (40 + nth), (1n << 63n) | BigInt(index * 65536));
    }
    truncateSync(file, size);
    await failure("ENOSPC", () => checkSpec(fixed, { repair: "all" }));
  });
});
