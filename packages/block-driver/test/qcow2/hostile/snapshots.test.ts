import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  BlockGraph,
  createDefaultRegistry,
  type BlockErrorCode,
  type SnapshotEntry,
} from "../../../src/index.ts";
import { failure } from "../../support/graphs.ts";
import { openImage, read, withImage } from "../support/open.ts";
import { poke, poke32, poke64 } from "../support/poke.ts";
import { scratchFiles } from "../support/scratch.ts";
import { BYSTANDER, DISK_BYTES, makeVictim } from "./victim.ts";

const at = scratchFiles();
const TABLE = 0x10_0000;

interface Fields {
  readonly l1Offset?: bigint;
  readonly l1Entries?: number;
  readonly id?: string;
  readonly name?: string;
  readonly extra?: Uint8Array;
  /** Said instead of the length of `extra`. */
  readonly extraLength?: number;
  readonly vmStateSize?: number;
}

/** One entry of a snapshot table. */
function entry({
  l1Offset = 0x20_0000n,
  l1Entries = 1,
  id = "1",
  name = "one",
  extra,
  extraLength,
  vmStateSize = 0,
}: Fields): Buffer {
  const more = extra ?? knownExtra(0n, BigInt(DISK_BYTES));
  const head = Buffer.alloc(40);
  head.writeBigUInt64BE(l1Offset, 0);
  head.writeUInt32BE(l1Entries, 8);
  head.writeUInt16BE(Buffer.byteLength(id), 12);
  head.writeUInt16BE(Buffer.byteLength(name), 14);
  head.writeUInt32BE(1_700_000_000, 16);
  head.writeUInt32BE(vmStateSize, 32);
  head.writeUInt32BE(extraLength ?? more.length, 36);
  const bytes = Buffer.concat([head, more, Buffer.from(id), Buffer.from(name)]);
  return Buffer.concat([bytes, Buffer.alloc((8 - (bytes.length % 8)) % 8)]);
}

function knownExtra(vmStateSize: bigint, diskSize: bigint): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64BE(vmStateSize, 0);
  bytes.writeBigUInt64BE(diskSize, 8);
  return bytes;
}

async function makeWith(table: Uint8Array, count: number): Promise<string> {
  const file = at("disk.qcow2");
  await makeVictim(file);
  poke(file, TABLE, table);
  poke32(file, 60, count);
  poke64(file, 64, BigInt(TABLE));
  return file;
}

async function list(file: string): Promise<readonly SnapshotEntry[]> {
  return withImage(
    file,
    async ({ node, edge }) => {
      expect((await read(edge, BYSTANDER.offset, 1))[0]).toBe(BYSTANDER.value);
      const snapshots: unknown = node.info.details?.["snapshots"];
      return Array.isArray(snapshots) ? snapshots : [];
    },
    { readOnly: true },
  );
}

describe("snapshot tables", () => {
  test("G01: entries of older writers, without extra data or with less of it", async () => {
    const vmState = Buffer.alloc(8);
    vmState.writeBigUInt64BE(1n << 33n);
    const table = Buffer.concat([
      entry({ extra: Buffer.alloc(0), vmStateSize: 77 }),
      entry({ id: "2", extra: vmState }),
      entry({ id: "3", extra: knownExtra(5n, 1024n) }),
    ]);
    const found = await list(await makeWith(table, 3));
    expect(found.map(({ id, vmStateSize, diskSize }) => ({ id, vmStateSize, diskSize }))).toEqual([
      { id: "1", vmStateSize: 77, diskSize: DISK_BYTES },
      { id: "2", vmStateSize: 2 ** 33, diskSize: DISK_BYTES },
      { id: "3", vmStateSize: 5, diskSize: 1024 },
    ]);
  });

  test("G02: extra data that is unknown is stepped over", async () => {
    const extra = Buffer.concat([knownExtra(0n, 512n), Buffer.alloc(8, 0xff), Buffer.alloc(18, 0xee)]);
    const found = await list(
      await makeWith(Buffer.concat([entry({ extra }), entry({ id: "2", name: "two" })]), 2),
    );
    expect(found.map(({ id, name }) => ({ id, name }))).toEqual([
      { id: "1", name: "one" },
      { id: "2", name: "two" },
    ]);
    expect(found[0]?.instructionCount).toBeUndefined();
  });

  test("G08: two of one id are both listed", async () => {
    const found = await list(await makeWith(Buffer.concat([entry({}), entry({ name: "other" })]), 2));
    expect(found.map(({ name }) => name)).toEqual(["one", "other"]);
  });

  test.each<readonly [string, Uint8Array, number, BlockErrorCode]>([
    ["G03: 65536 bytes of extra data", entry({ extraLength: 65536 }), 1, "BLK_CORRUPT"],
    ["G03: 1025 bytes of extra data", entry({ extraLength: 1025 }), 1, "BLK_CORRUPT"],
    ["G07: a table beyond the end of the file", entry({}), 60_000, "BLK_CORRUPT"],
  ])("%s: not written, and read without its list", async (_name, table, count, code) => {
    const file = await makeWith(table, count);
    await failure(code, () => openImage(file));
    expect(await list(file)).toEqual([]);
    await withImage(
      file,
      ({ node }) => {
        expect(node.events.map(({ type }) => type)).toEqual(["warning"]);
        return Promise.resolve();
      },
      { readOnly: true },
    );
  });

  test.each<readonly [string, Uint8Array, number, RegExp]>([
    ["G03: too much extra data", entry({ extraLength: 1025 }), 1, /1025 bytes of extra data/u],
    ["G07: a table beyond the end of the file", entry({}), 60_000, /beyond the file/u],
    [
      "G04: a table of more than 64 MiB",
      Buffer.concat(Array.from({ length: 1100 }, () => entry({ name: "n".repeat(65_535) }))),
      1100,
      /64 MiB/u,
    ],
  ])("%s: described with the reason why its snapshots are not listed", async (_name, table, count, why) => {
    const file = await makeWith(table, count);
    const before = readFileSync(file);
    const graph = new BlockGraph({ registry: createDefaultRegistry() });
    const node = await graph.open({ driver: "file", filename: file, readOnly: true });
    const edge = graph.attach(node, { name: "inspector", uses: ["read"], shares: ["read"] });
    const info = await graph.registry.get("qcow2").inspect?.(edge);
    await graph.closeAll();
    expect(info).toMatchObject({ size: DISK_BYTES, details: { clusterSize: 65_536, snapshots: [] } });
    expect(info?.details?.["snapshotsUnreadable"]).toMatch(why);
    expect(readFileSync(file).equals(before)).toBe(true);
  });

  test("G04: names of 64 KiB are read as far as the table may go", async () => {
    const long = "n".repeat(65_535);
    const one = entry({ id: long, name: long });
    const found = await list(await makeWith(Buffer.concat([one, one, one]), 3));
    expect(found).toHaveLength(3);
    const file = await makeWith(Buffer.concat(Array.from({ length: 520 }, () => one)), 520);
    await failure("EFBIG", () => openImage(file));
  });

  test("A35, I07: 65536 entries of nothing", async () => {
    const file = await makeWith(Buffer.alloc(65_536 * 40), 65_536);
    expect(await list(file)).toHaveLength(65_536);
  });

  test("G06: where a snapshot keeps its table matters to nobody who reads the disk", async () => {
    const table = entry({ l1Offset: 0x40_0200n, l1Entries: 0x1000_0000 });
    expect(await list(await makeWith(table, 1))).toHaveLength(1);
  });
});
