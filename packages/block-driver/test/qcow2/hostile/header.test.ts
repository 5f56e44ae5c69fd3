import { readFileSync, truncateSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { BlockError, BlockGraph, createDefaultRegistry } from "../../../src/index.ts";
import { withImage, read } from "../support/open.ts";
import { poke, poke32, poke64 } from "../support/poke.ts";
import { scratchFiles } from "../support/scratch.ts";
import { BYSTANDER, DISK_BYTES, makeVictim, type Outcome, type Places } from "./victim.ts";

const at = scratchFiles();
const U32 = 0xffff_ffff;

interface HeaderCase {
  /** Of the catalogue of hostile images, and what is wrong. */
  readonly name: string;
  readonly create?: Readonly<Record<string, unknown>>;
  readonly damage: (places: Places) => void;
  readonly readOnly: Outcome;
  /** Default: as read-only. */
  readonly writable?: Outcome;
  /** Describing it without opening anything. Default: as read-only. */
  readonly inspect?: Outcome;
}

/** Pokes that set one field, refused in every use. */
function refusing(
  id: string,
  code: Outcome,
  field: number,
  bits: 32 | 64,
  values: readonly (number | bigint)[],
  more: Partial<HeaderCase> = {},
): readonly HeaderCase[] {
  return values.map((value) => ({
    name: `${id}: 0x${value.toString(16)} at byte ${field}`,
    damage: ({ file }) => {
      if (bits === 32) poke32(file, field, Number(value));
      else poke64(file, field, BigInt(value));
    },
    readOnly: code,
    ...more,
  }));
}

/** Puts an extension where the extensions of a victim begin, in front of an end marker. */
function extension(type: number, length: number, data: Uint8Array = new Uint8Array(0)) {
  return ({ file }: Places): void => {
    const start = readFileSync(file).readUInt32BE(4) === 2 ? 72 : 112;
    const bytes = Buffer.alloc(8 + Math.ceil(data.length / 8) * 8 + 8);
    bytes.writeUInt32BE(type, 0);
    bytes.writeUInt32BE(length, 4);
    bytes.set(data, 8);
    poke(file, start, bytes);
  };
}

function named(name: Uint8Array, offset = 0x400, length = name.length) {
  return ({ file }: Places): void => {
    poke64(file, 8, BigInt(offset));
    poke32(file, 16, length);
    poke(file, offset, name);
  };
}

const ENCRYPTION = 0x0537be77;

function luksAt(offset: bigint): Uint8Array {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64BE(offset, 0);
  bytes.writeBigUInt64BE(512n, 8);
  return bytes;
}

function encrypted(method: number, length: number, offset: bigint) {
  return (places: Places): void => {
    poke32(places.file, 32, method);
    extension(ENCRYPTION, length, luksAt(offset).subarray(0, length))(places);
  };
}

const DATA_FILE_NAME = 0x44415441;
const BACKING_FORMAT = 0xe2792aca;
const FEATURE_NAMES = 0x6803f857;
const BITMAPS = 0x23852875;

const HEADER: readonly HeaderCase[] = [
  { name: "A01: empty", damage: ({ file }) => truncateSync(file, 0), readOnly: "EINVAL" },
  { name: "A01: only a magic", damage: ({ file }) => truncateSync(file, 4), readOnly: "EINVAL" },
  { name: "A01: 71 bytes", damage: ({ file }) => truncateSync(file, 71), readOnly: "EINVAL" },
  {
    name: "A01: 80 bytes of version 3",
    damage: ({ file }) => truncateSync(file, 80),
    readOnly: "BLK_CORRUPT",
  },
  ...refusing("A02", "EINVAL", 0, 32, [0, 0x51464900, U32]),
  ...refusing("A03", "ENOTSUP", 4, 32, [0, 1, 4, U32]),
  ...refusing("A04", "ENOTSUP", 20, 32, [0, 8, 22, 31, 32, 63, 64, U32]),
  ...refusing("A05", "BLK_CORRUPT", 72, 64, [16n], { create: { clusterSize: 8192 } }),
  ...refusing("A06", "BLK_CORRUPT", 100, 32, [0, 72, 103]),
  ...refusing("A07", "BLK_CORRUPT", 100, 32, [0x7fff_ffff, U32, 65536 + 8]),
  ...refusing("A08", "BLK_CORRUPT", 100, 32, [105, 111, 114]),
  {
    name: "A09: a header of 104 bytes",
    damage: ({ file }) => {
      poke32(file, 100, 104);
      poke(file, 104, Buffer.alloc(16));
    },
    readOnly: "ok",
  },
  {
    name: "A09: a header of 120 bytes, eight of them unknown",
    damage: ({ file }) => {
      poke32(file, 100, 120);
      poke(file, 112, Buffer.from("unknown!"));
      poke(file, 120, Buffer.alloc(8));
    },
    readOnly: "ok",
  },
  ...refusing("A10", "BLK_CORRUPT", 8, 64, [0xffff_ffff_ffff_ffffn, 65537n, 1n << 53n]),
  ...refusing("A11", "BLK_CORRUPT", 8, 64, [4n, 100n]),
  { name: "A11: a name within an extension", damage: named(Buffer.from("x"), 116), readOnly: "BLK_CORRUPT" },
  ...[U32, 1024].map((length) => ({
    name: `A12: a name of ${length} bytes`,
    damage: named(Buffer.from("x"), 0x1000, length),
    readOnly: "BLK_CORRUPT" as const,
  })),
  {
    name: "A12: a name that crosses the end of the cluster",
    damage: named(Buffer.from("x"), 65530, 100),
    readOnly: "BLK_CORRUPT",
  },
  { name: "A13: a name without bytes", damage: named(Buffer.alloc(0), 0x1000), readOnly: "ok" },
  { name: "A14: NUL in a name", damage: named(Buffer.from("a\0b")), readOnly: "BLK_CORRUPT" },
  {
    name: "A14: a name that is not UTF-8",
    damage: named(Buffer.from([0x61, 0xff, 0xfe])),
    readOnly: "BLK_CORRUPT",
  },
  {
    name: "A14: a name full of directives",
    damage: named(Buffer.from("%s%p%n\n\u001b[2J")),
    readOnly: "BLK_DENIED",
    inspect: "ok",
  },
  ...refusing("A17", "EFBIG", 24, 64, [1n << 63n, 0xffff_ffff_ffff_ffffn]),
  ...refusing("A18", "EFBIG", 24, 64, [1n << 53n]),
  ...refusing("A19", "BLK_CORRUPT", 24, 64, [(1n << 53n) - 1n, BigInt(513 * 1024 * 1024)]),
  ...refusing("A19", "BLK_CORRUPT", 36, 32, [0]),
  ...refusing("A20", "BLK_CORRUPT", 32, 32, [3, U32]),
  {
    name: "A21: LUKS without its header",
    damage: ({ file }) => poke32(file, 32, 2),
    readOnly: "BLK_CORRUPT",
  },
  {
    name: "A21: a LUKS header without LUKS",
    damage: extension(ENCRYPTION, 16, luksAt(0x40000n)),
    readOnly: "BLK_CORRUPT",
  },
  { name: "A21: a LUKS header for AES", damage: encrypted(1, 16, 0x40000n), readOnly: "BLK_CORRUPT" },
  { name: "A21: a LUKS header of 8 bytes", damage: encrypted(2, 8, 0x40000n), readOnly: "BLK_CORRUPT" },
  { name: "A21: an unaligned LUKS header", damage: encrypted(2, 16, 0x40200n), readOnly: "BLK_CORRUPT" },
  { name: "A22: LUKS", damage: encrypted(2, 16, 0x40000n), readOnly: "ENOTSUP", inspect: "ok" },
  ...refusing("A22", "ENOTSUP", 32, 32, [1], { inspect: "ok" }),
  ...refusing("A23", "EFBIG", 36, 32, [U32, 0x7fff_ffff, 4_194_305]),
  {
    name: "A24: the end of the L1 table overflows",
    damage: ({ file }) => {
      poke64(file, 40, 0x7fff_ffff_ffff_0000n);
      poke32(file, 36, 0xffff);
    },
    readOnly: "BLK_CORRUPT",
  },
  ...refusing("A25", "BLK_CORRUPT", 40, 64, [0x1234_5678_90ab_cdefn, 0x30001n]),
  ...refusing("A26", "BLK_CORRUPT", 40, 64, [1n << 40n], { inspect: "ok" }),
  ...refusing("A27", "BLK_CORRUPT", 40, 64, [0n]),
  {
    name: "A27: the L1 table where the refcount table is",
    damage: ({ file, refcountTable }) => poke64(file, 40, BigInt(refcountTable)),
    readOnly: "ok",
    writable: "BLK_CORRUPT",
  },
  ...refusing("A28", "ok", 36, 32, [2, 100]),
  ...refusing("A29", "EFBIG", 56, 32, [U32, 0x0002_0001, 129]),
  ...refusing("A30", "ok", 56, 32, [0], { writable: "BLK_CORRUPT" }),
  ...refusing("A31", "ok", 48, 64, [0x1234_5678_90ab_cdefn, 0xffff_ffff_ffff_0000n], {
    writable: "BLK_CORRUPT",
  }),
  ...refusing("A32", "ok", 48, 64, [0n], { writable: "BLK_CORRUPT" }),
  ...refusing("A33", "EFBIG", 60, 32, [U32, 0x7fff_ffff, 65537]),
  ...refusing("G05", "EFBIG", 60, 32, [131_072]),
  ...refusing("A34", "BLK_CORRUPT", 64, 64, [0xffff_ffff_ffff_0000n, 0x1234n]),
  ...refusing("A36", "BLK_CORRUPT", 96, 32, [7, 32, U32]),
  {
    name: "A39: version 3 with what would be a huge extension where version 2 has them",
    damage: ({ file }) => {
      poke32(file, 100, 128);
      // Unknown fields from 112 on; the extensions begin at 128.
      const fields = Buffer.alloc(24);
      fields.writeUInt32BE(0x1234_5678, 0);
      fields.writeUInt32BE(0x7fff_ffff, 4);
      poke(file, 112, fields);
    },
    readOnly: "ok",
  },
  {
    name: "A38, J12: version 2 with other bytes behind its header",
    create: { version: "v2" },
    // An unknown extension of eight bytes whose payload would be feature bits in version 3.
    damage: extension(0x1234_5678, 8, Buffer.alloc(8, 0xff)),
    readOnly: "ok",
  },
];

const FEATURES: readonly HeaderCase[] = [
  ...Array.from({ length: 59 }, (_unused, index) => 1n << BigInt(index + 5)).flatMap((bit) =>
    refusing("B01, J11", "ENOTSUP", 72, 64, [bit]),
  ),
  {
    name: "B02: nonsense in the table of feature names",
    damage: (places) => {
      const table = Buffer.alloc(60, 0xff);
      table[0] = 0;
      table[1] = 77;
      extension(FEATURE_NAMES, 60, table)(places);
      poke64(places.file, 72, 1n << 63n);
    },
    readOnly: "ENOTSUP",
  },
  ...refusing("B03", "ok", 72, 64, [1n]),
  ...refusing("B05", "ok", 72, 64, [2n], { writable: "EACCES" }),
  ...refusing("B06", "EINVAL", 72, 64, [4n], { inspect: "ok" }),
  ...refusing("B08", "BLK_CORRUPT", 88, 64, [2n]),
  ...refusing("B09", "BLK_CORRUPT", 72, 64, [8n]),
  {
    name: "B10: zstd without its feature bit",
    damage: ({ file }) => poke(file, 104, Buffer.from([1])),
    readOnly: "BLK_CORRUPT",
  },
  {
    name: "B10: an unknown compression type",
    damage: ({ file }) => poke(file, 104, Buffer.from([2])),
    readOnly: "ENOTSUP",
  },
  ...refusing("B12", "ok", 88, 64, [1n << 2n, 1n << 63n]),
  ...refusing("B13", "ok", 88, 64, [1n]),
  ...refusing("B15", "ok", 80, 64, [1n << 1n, 1n << 63n]),
  {
    name: "B16: version 2 with its version changed to 3",
    create: { version: "v2" },
    damage: ({ file }) => poke32(file, 4, 3),
    readOnly: "BLK_CORRUPT",
  },
];

const EXTENSIONS: readonly HeaderCase[] = [
  {
    name: "C01: a huge unknown extension",
    damage: extension(0x1234_5678, 0x7fff_ffff),
    readOnly: "BLK_CORRUPT",
  },
  { name: "C02: an end marker with a length", damage: extension(0, 8, Buffer.alloc(8)), readOnly: "ok" },
  { name: "C03: no end marker", damage: extension(0x1234_5678, 65536 - 120), readOnly: "ok" },
  {
    name: "C04: an extension that begins four bytes before the name",
    damage: (places) => {
      extension(0x1234_5678, 8, Buffer.alloc(8))(places);
      named(Buffer.from("x"), 132)(places);
    },
    readOnly: "BLK_CORRUPT",
  },
  {
    name: "C05: a backing format that is too long",
    damage: extension(BACKING_FORMAT, 16, Buffer.alloc(16, 0x61)),
    readOnly: "BLK_CORRUPT",
  },
  {
    name: "C06: two backing formats that differ",
    damage: ({ file }) => {
      const bytes = Buffer.alloc(40);
      bytes.writeUInt32BE(BACKING_FORMAT, 0);
      bytes.writeUInt32BE(3, 4);
      bytes.write("raw", 8);
      bytes.writeUInt32BE(BACKING_FORMAT, 16);
      bytes.writeUInt32BE(5, 20);
      bytes.write("qcow2", 24);
      poke(file, 112, bytes);
    },
    readOnly: "BLK_CORRUPT",
  },
  {
    name: "C07: a data file name with NUL",
    damage: (places) => {
      extension(DATA_FILE_NAME, 3, Buffer.from("a\0b"))(places);
      poke64(places.file, 72, 4n);
    },
    readOnly: "BLK_CORRUPT",
  },
  ...["json:{}", "nbd://host/x", "/etc/passwd", "../../x"].map((name) => ({
    name: `C07: a data file name ${name}`,
    damage: (places: Places) => {
      extension(DATA_FILE_NAME, name.length, Buffer.from(name))(places);
      poke64(places.file, 72, 4n);
    },
    readOnly: "BLK_DENIED" as const,
    inspect: "ok" as const,
  })),
  {
    name: "C08: a bitmaps extension that makes no sense",
    damage: (places) => {
      extension(BITMAPS, 24, Buffer.alloc(24, 0xff))(places);
      poke64(places.file, 88, 1n);
    },
    readOnly: "ok",
    writable: "BLK_CORRUPT",
  },
  {
    name: "C09: thousands of empty extensions",
    damage: ({ file }) => {
      const bytes = Buffer.alloc(8 * 4000);
      for (let index = 0; index < 4000; index += 1) bytes.writeUInt32BE(0x1000 + index, 8 * index);
      poke(file, 112, bytes);
    },
    readOnly: "BLK_CORRUPT",
  },
  ...[0xffff_fff9, U32].map((length) => ({
    name: `C10: a length that overflows when padded, ${length}`,
    damage: extension(0x1234_5678, length),
    readOnly: "BLK_CORRUPT" as const,
  })),
];

async function outcome(run: () => Promise<unknown>): Promise<Outcome> {
  try {
    await run();
    return "ok";
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    // What an image says must not get to a terminal as it is.
    expect(error.message).not.toMatch(/[\p{Cc}]/u);
    return error.code;
  }
}

async function inspect(filename: string): Promise<void> {
  const graph = new BlockGraph({ registry: createDefaultRegistry() });
  const node = await graph.open({ driver: "file", filename, readOnly: true });
  const edge = graph.attach(node, { name: "inspector", uses: ["read"], shares: ["read"] });
  try {
    await graph.registry.get("qcow2").inspect?.(edge);
  } finally {
    await graph.closeAll();
  }
}

describe.each([
  ["headers", HEADER],
  ["feature bits", FEATURES],
  ["header extensions", EXTENSIONS],
])("hostile %s", (_kind, cases) => {
  test.each(cases)("$name", async ({ create, damage, readOnly, writable, inspect: described }) => {
    const file = at("disk.qcow2");
    damage(await makeVictim(file, create));
    const before = readFileSync(file);
    const opening = (options: Readonly<Record<string, unknown>>): Promise<Outcome> =>
      outcome(() =>
        withImage(
          file,
          async ({ edge }) => {
            const found = await read(edge, BYSTANDER.offset, 512).catch((error: unknown) => error);
            if (!(found instanceof BlockError)) expect(found).toHaveLength(512);
          },
          options,
        ),
      );
    expect(await opening({ readOnly: true }), "read-only").toBe(readOnly);
    expect(await outcome(() => inspect(file)), "inspected").toBe(described ?? readOnly);
    expect(Buffer.compare(readFileSync(file), before), "reading changes nothing").toBe(0);
    const changed = await opening({});
    expect(changed, "writable").toBe(writable ?? readOnly);
    if (changed !== "ok") expect(Buffer.compare(readFileSync(file), before), "refused, not changed").toBe(0);
  });
});

test("A15: a disk of no bytes", async () => {
  const file = at("disk.qcow2");
  await makeVictim(file);
  poke64(file, 24, 0n);
  await withImage(
    file,
    async ({ node, edge }) => {
      expect(node.size).toBe(0);
      await edge.read(0, []);
    },
    { readOnly: true },
  );
});

test("A16: a size that is no multiple of a sector is rounded down, and that is told", async () => {
  const file = at("disk.qcow2");
  await makeVictim(file);
  poke64(file, 24, BigInt(DISK_BYTES - 100));
  await withImage(
    file,
    async ({ node, edge }) => {
      expect(node.size).toBe(DISK_BYTES - 512);
      await read(edge, 0, DISK_BYTES - 512);
      expect(node.events.map(({ type }) => type)).toEqual(["warning"]);
    },
    { readOnly: true },
  );
});

test("A37: refcounts of every width", async () => {
  for (const refcountBits of [1, 2, 4, 8, 16, 32, 64]) {
    const file = at(`refcount-${refcountBits}.qcow2`);
    await makeVictim(file, { refcountBits });
    await withImage(file, async ({ edge }) => {
      expect(await read(edge, BYSTANDER.offset, 512)).toEqual(new Uint8Array(512).fill(BYSTANDER.value));
    });
  }
});
