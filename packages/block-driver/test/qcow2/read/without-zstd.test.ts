import * as zlib from "node:zlib";
import { afterEach, expect, test, vi } from "vitest";
import { failure, filled } from "../../support/graphs.ts";
import { createImage } from "../support/create.ts";
import { read, withImage } from "../support/open.ts";
import { peek64, poke64 } from "../support/poke.ts";
import { scratchFiles } from "../support/scratch.ts";

const at = scratchFiles();

afterEach(() => {
  vi.restoreAllMocks();
});

test("B11: without zstd an image of that type says so when it is opened, and what is not compressed can be read", async () => {
  // A runtime that is older than zstd.
  vi.spyOn(process, "getBuiltinModule").mockImplementation((id: string) =>
    id === "node:zlib" ? { ...zlib, zstdDecompress: undefined, createZstdDecompress: undefined } : undefined,
  );
  const file = at("disk.qcow2");
  await createImage(file, 1024 * 1024, { compressionType: "zstd" });
  await withImage(file, ({ edge }) => Promise.resolve(edge.write(0, [filled(65536, 7)])));
  const l2 = Number(peek64(file, Number(peek64(file, 40))) & 0x00ff_ffff_ffff_fe00n);
  poke64(file, l2 + 8, (1n << 62n) | 0x1_0000n);
  await withImage(
    file,
    async ({ node, edge }) => {
      expect(node.events).toMatchObject([{ type: "warning", message: expect.stringContaining("22.15") }]);
      expect(await read(edge, 0, 65536)).toEqual(filled(65536, 7));
      const error = await failure("ENOTSUP", () => read(edge, 65536, 512));
      expect(error.message).toContain("zstd");
      expect(await read(edge, 131_072, 512)).toEqual(filled(512, 0));
    },
    { readOnly: true },
  );
});
