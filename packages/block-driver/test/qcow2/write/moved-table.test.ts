import { expect, test } from "vitest";
import { keepDirtyBitmap } from "../../../src/index.ts";
import { checkFile } from "../support/check.ts";
import { createImage } from "../support/create.ts";
import { openImage, read, withImage, type OpenImage } from "../support/open.ts";
import { scratchFiles } from "../support/scratch.ts";

const KIB = 1024;
const at = scratchFiles();

/** What writes a whole header while the image is open, or when it is closed. */
const HEADER_WRITERS: readonly (readonly [name: string, write: (image: OpenImage) => Promise<void>])[] = [
  [
    "a backing file is recorded",
    ({ graph, node }) => graph.changeBackingFile(node, { filename: "base.raw", format: "raw" }),
  ],
  [
    "a bitmap is stored",
    async ({ node }) => keepDirtyBitmap(node, node.createDirtyBitmap({ name: "kept", granularity: 512 })),
  ],
  ["the disk becomes larger", ({ edge }) => edge.resize(16 * 1024 * KIB)],
];

test.each(HEADER_WRITERS)(
  "a refcount table that has grown to another place is still the image's when %s",
  async (_name, write) => {
    // One cluster of refcount table, for 2 MiB of file.
    await createImage(at("disk.qcow2"), 512 * KIB, { clusterSize: 512, refcountBits: 64 });
    const image = await openImage(at("disk.qcow2"));
    await image.edge.resize(4096 * KIB);
    await image.edge.write(0, [new Uint8Array(2000 * KIB).fill(1)]);
    await image.edge.flush();
    await write(image);
    await image.edge.write(2000 * KIB, [new Uint8Array(8 * KIB).fill(1)]);
    await image.close();
    expect(await checkFile(at("disk.qcow2"))).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 });
    await withImage(
      at("disk.qcow2"),
      async ({ edge }) => {
        await edge.write(3000 * KIB, [new Uint8Array(8 * KIB).fill(2)]);
        expect(await read(edge, 0, 2008 * KIB)).toEqual(new Uint8Array(2008 * KIB).fill(1));
      },
      { backing: null },
    );
  },
);
