import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { BlockGraph, createDefaultRegistry, ExtentFlag, ExtentList } from "@blockmirror/block-driver";
import { conformanceCases } from "@blockmirror/block-driver/conformance";
import { describe, expect, test } from "vitest";
import { NbdServer } from "../../src/index.ts";
import { nbdRegistry, openNbd, readBytes } from "./support/devices.ts";

/** Serves a new memory disk with our own server. */
async function serve(size: number): Promise<{ readonly uri: string; readonly dispose: () => Promise<void> }> {
  const directory = mkdtempSync(path.join(tmpdir(), "blockmirror-own-"));
  const graph = new BlockGraph({ registry: createDefaultRegistry() });
  const node = await graph.open({ driver: "memory", size });
  const server = new NbdServer({ graph });
  await server.listen({ path: path.join(directory, "nbd.sock") });
  server.addExport({ name: "", node, writable: true });
  const [uri = ""] = server.uris("");
  return {
    uri,
    dispose: async () => {
      await server.close();
      await graph.closeAll();
      rmSync(directory, { recursive: true });
    },
  };
}

const cases = await conformanceCases({
  name: "nbd to our own server",
  registry: nbdRegistry,
  features: { persistent: true },
  storage: async (size) => {
    const { uri, dispose } = await serve(size);
    return { spec: { driver: "nbd", uri }, dispose };
  },
});

describe("conformance", () => {
  for (const { name, run } of cases) test(name, run);
});

test("extended headers: zeroes, trims and status of more than 4 GiB at once", async () => {
  const size = 2 ** 40;
  const { uri, dispose } = await serve(size);
  try {
    await using device = await openNbd({ uri });
    expect(device.node.info).toMatchObject({ size, details: { replies: "extended" } });
    await device.edge.write(2 ** 39, [new Uint8Array(4096).fill(1)]);
    await device.edge.writeZeroes(2 ** 39 + 1024, 2 ** 33, { unmap: true });
    await device.edge.discard(0, 2 ** 38);
    expect(await readBytes(device.edge, 2 ** 39 + 1000, 48)).toEqual(new Uint8Array(48).fill(1, 0, 24));
    const extents = new ExtentList();
    let data = 0;
    for (let at = 0; at < size; at = extents.next) {
      await device.edge.status(at, size - at, extents);
      for (let index = 0; index < extents.count; index += 1) {
        if ((extents.flagsAt(index) & ExtentFlag.Data) !== 0) data += extents.lengthAt(index);
      }
    }
    expect(data).toBe(4096);
  } finally {
    await dispose();
  }
});
