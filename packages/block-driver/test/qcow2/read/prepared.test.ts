// Images whose tables were made in advance: every cluster counts as data, and most are holes of the file.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { ExtentFlag, ExtentList, type BlockEdge } from "../../../src/index.ts";
import { lacksNative } from "../../file/support.ts";
import { filled } from "../../support/graphs.ts";
import { createImage } from "../support/create.ts";
import { withImage } from "../support/open.ts";
import { poke64 } from "../support/poke.ts";
import { scratchFiles } from "../support/scratch.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZE = 64 * MIB;
const at = scratchFiles();
const HOLLOW = ExtentFlag.Zero | ExtentFlag.HostOffset | ExtentFlag.Hollow;
const DATA = ExtentFlag.Data | ExtentFlag.HostOffset;

/** Offset, end and flags of every extent, neighbours of equal flags merged. */
async function kinds(edge: BlockEdge, precise = true): Promise<(readonly [number, number, number])[]> {
  const extents = new ExtentList();
  const found: (readonly [number, number, number])[] = [];
  for (let offset = 0; offset < SIZE; offset = extents.next) {
    await edge.status(offset, SIZE - offset, extents, { precise });
    for (let index = 0; index < extents.count; index += 1) {
      const [start, flags] = [extents.offsetAt(index), extents.flagsAt(index)];
      const end = start + extents.lengthAt(index);
      const last = found.at(-1);
      if (last?.[2] === flags) found[found.length - 1] = [last[0], end, flags];
      else found.push([start, end, flags]);
    }
  }
  return found;
}

describe.skipIf(lacksNative)("an image whose tables were made in advance", () => {
  test("reads as zeroes where its file has a hole, and says that it has the space", async () => {
    const file = at("prepared.qcow2");
    await createImage(file, SIZE, { preallocation: "metadata" });
    await withImage(file, async ({ edge }) => {
      expect(await kinds(edge)).toEqual([[0, SIZE, HOLLOW]]);
      await edge.write(MIB + 4096, [filled(4096, 1)]);
      await edge.write(3 * MIB, [filled(MIB, 2)]);
      expect(await kinds(edge)).toEqual([
        [0, MIB + 4096, HOLLOW],
        [MIB + 4096, MIB + 8192, DATA],
        [MIB + 8192, 3 * MIB, HOLLOW],
        [3 * MIB, 4 * MIB, DATA],
        [4 * MIB, SIZE, HOLLOW],
      ]);
      expect(await kinds(edge, false)).toEqual([
        [0, MIB, HOLLOW],
        [MIB, MIB + 64 * KIB, DATA],
        [MIB + 64 * KIB, 3 * MIB, HOLLOW],
        [3 * MIB, 4 * MIB, DATA],
        [4 * MIB, SIZE, HOLLOW],
      ]);
    });
  });

  test("one that took its clusters by being written is not asked about holes", async () => {
    const file = at("grown.qcow2");
    await createImage(file, SIZE);
    await withImage(file, ({ edge }) => Promise.resolve(edge.write(0, [filled(8 * MIB, 1)])));
    await withImage(file, async ({ edge }) => {
      await edge.write(16 * MIB, [filled(4096, 2)]);
      expect((await kinds(edge)).filter(([, , flags]) => (flags & ExtentFlag.Hollow) !== 0)).toEqual([]);
    });
  });

  test("refcounts that cannot be read say nothing: the rest is answered as ever", async () => {
    const file = at("broken.qcow2");
    await createImage(file, SIZE, { preallocation: "metadata" });
    // The first refcount block, by an entry of the table that the header tells the place of.
    poke64(file, Number(readFileSync(file).readBigUInt64BE(48)), 2n ** 55n);
    await withImage(file, async ({ edge }) => expect(await kinds(edge)).toEqual([[0, SIZE, DATA]]), {
      readOnly: true,
    });
  });
});
