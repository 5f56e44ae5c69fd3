import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  BlockGraph,
  createDefaultRegistry,
  ExtentFlag,
  ExtentList,
  type DeviceSpec,
} from "@blockmirror/block-driver";
import { conformanceCases } from "@blockmirror/block-driver/conformance";
import { describe, expect, test } from "vitest";
import { NbdServer, type NbdExport } from "../../src/index.ts";
import { nbdRegistry, openNbd, readBytes } from "./support/devices.ts";

interface Served {
  readonly uri: string;
  readonly exported: NbdExport;
  readonly dispose: () => Promise<void>;
}

/** Serves a new memory disk, or what is in its place, with our own server. */
async function serve(size: number, spec: DeviceSpec = { driver: "memory", size }): Promise<Served> {
  const directory = mkdtempSync(path.join(tmpdir(), "blockmirror-own-"));
  const graph = new BlockGraph({ registry: createDefaultRegistry() });
  const node = await graph.open(spec);
  const server = new NbdServer({ graph });
  await server.listen({ path: path.join(directory, "nbd.sock") });
  const exported = server.addExport({ name: "", node, writable: true });
  const [uri = ""] = server.uris("");
  return {
    uri,
    exported,
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

test("long reads and writes travel in pieces of 256 KiB, and arrive whole", async () => {
  const { uri, exported, dispose } = await serve(4 * 2 ** 20);
  try {
    await using device = await openNbd({ uri });
    const data = new Uint8Array(2 ** 20 + 5000).map((_, index) => (index * 31) >>> 8);
    const before = exported.statistics().requests;
    // In a vector whose parts end elsewhere than the pieces.
    await device.edge.write(100_000, [data.subarray(0, 300_001), data.subarray(300_001)]);
    expect(exported.statistics().requests.write - before.write).toBe(5);
    expect(await readBytes(device.edge, 100_000, data.length)).toEqual(data);
    expect(exported.statistics().requests.read - before.read).toBe(5);
    expect(await readBytes(device.edge, 99_990, 10)).toEqual(new Uint8Array(10));
    expect(await readBytes(device.edge, 100_000 + data.length, 10)).toEqual(new Uint8Array(10));
  } finally {
    await dispose();
  }
});

test("a piece that fails fails its request when no piece uses its buffers any more", async () => {
  const bad = { operation: "write", error: "ENOSPC", offset: 2 ** 20, length: 512 };
  const { uri, exported, dispose } = await serve(4 * 2 ** 20, {
    driver: "fault",
    file: { driver: "memory", size: 4 * 2 ** 20 },
    rules: [bad],
  });
  try {
    await using device = await openNbd({ uri });
    await expect(device.edge.write(0, [new Uint8Array(2 * 2 ** 20).fill(7)])).rejects.toMatchObject({
      code: "ENOSPC",
    });
    expect(exported.statistics()).toMatchObject({ failedRequests: 1, requests: { write: 8 } });
  } finally {
    await dispose();
  }
});
