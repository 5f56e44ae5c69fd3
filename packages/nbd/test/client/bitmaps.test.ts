import path from "node:path";
import { ExtentFlag, ExtentList, loadDirtyBitmap, type DirtyBitmap } from "@blockmirror/block-driver";
import { lacksPeers, PeerServer, requirePeer, run } from "@blockmirror/peers";
import { describe, expect, test } from "vitest";
import { Option, OptionReply } from "../../src/protocol/constants.ts";
import { onCleanup, serve } from "../server/support/serving.ts";
import { openNbd, readBytes } from "./support/devices.ts";
import { FakeServer, u32, type FakePeer, type FakeRequest } from "./support/fake-server.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

/** The dirty ranges of a bitmap. */
function dirtyOf({ bits }: DirtyBitmap): readonly (readonly [start: number, end: number])[] {
  const ranges: (readonly [number, number])[] = [];
  for (let start = bits.nextDirty(0); start >= 0;) {
    const zero = bits.nextZero(start);
    const end = zero < 0 ? bits.size : zero;
    ranges.push([start, end]);
    start = zero < 0 ? -1 : bits.nextDirty(end);
  }
  return ranges;
}

/** A qemu-nbd for one client at a time, as it is by default, of an image with the bitmaps `b0` and `b1` and a backing file. */
async function qemuNbdWithBitmaps(): Promise<PeerServer> {
  const server = new PeerServer("qemu-nbd", (directory) => [
    "--read-only",
    "--shared=1",
    "-f",
    "qcow2",
    "-B",
    "b0",
    "-B",
    "b1",
    path.join(directory, "top.qcow2"),
  ]);
  onCleanup(() => server.stop());
  const qemuImg = (...args: readonly string[]): Promise<unknown> =>
    run(requirePeer("qemu-img"), args, { cwd: server.directory });
  const qemuIo = (image: string, ...commands: readonly string[]): Promise<unknown> =>
    run(requirePeer("qemu-io"), ["-f", "qcow2", ...commands.flatMap((each) => ["-c", each]), image], {
      cwd: server.directory,
    });
  await qemuImg("create", "-q", "-f", "qcow2", "base.qcow2", "8M");
  await qemuIo("base.qcow2", "write -P 1 0 64k");
  await qemuImg("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "top.qcow2");
  await qemuImg("bitmap", "--add", "top.qcow2", "b0");
  await qemuIo("top.qcow2", "write -P 2 1M 128k", "write -z 3M 64k", "discard 5M 64k");
  await qemuImg("bitmap", "--add", "-g", "1M", "top.qcow2", "b1");
  await qemuIo("top.qcow2", "write -P 3 7000k 1k");
  return server.start();
}

describe.skipIf(lacksPeers("qemu-nbd", "qemu-img", "qemu-io", "nbdinfo"))("bitmaps of qemu-nbd", () => {
  test("are loaded as nbdinfo sees them, beside the allocation, over the one connection there is", async () => {
    const server = await qemuNbdWithBitmaps();
    const seenByNbdinfo = async (name: string): Promise<unknown> => {
      const { stdout } = await run(requirePeer("nbdinfo"), [
        "--json",
        `--map=qemu:dirty-bitmap:${name}`,
        server.uri,
      ]);
      const extents: { offset: number; length: number; type: number }[] = JSON.parse(stdout);
      return extents.flatMap(({ offset, length, type }) => (type === 0 ? [] : [[offset, offset + length]]));
    };
    const expected = [await seenByNbdinfo("b0"), await seenByNbdinfo("b1")];
    await using device = await openNbd({ uri: server.uri, readOnly: true, bitmaps: ["b1", "b0"] });
    expect(device.node.dirtyBitmaps.size).toBe(0);
    const [b0, b1] = [await loadDirtyBitmap(device.node, "b0"), await loadDirtyBitmap(device.node, "b1")];
    expect([dirtyOf(b0), dirtyOf(b1)]).toEqual(expected);
    expect(dirtyOf(b1)).toEqual([[6 * MiB, 7 * MiB]]);
    expect([b0.enabled, b0.persistent, b0.name]).toEqual([false, false, "b0"]);
    const extents = new ExtentList();
    await device.edge.status(0, 8 * MiB, extents);
    expect([extents.flagsAt(0), extents.lengthAt(0)]).toEqual([ExtentFlag.Data, 64 * KiB]);
    expect(extents.flagsAt(1)).toBe(ExtentFlag.Zero);
    expect((await readBytes(device.edge, MiB, 1))[0]).toBe(2);
    await expect(loadDirtyBitmap(device.node, "b0")).rejects.toMatchObject({ code: "EEXIST" });
    await expect(loadDirtyBitmap(device.node, "b2")).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("that it has not are missed at once", async () => {
    const server = await qemuNbdWithBitmaps();
    const options = { uri: server.uri, readOnly: true, bitmaps: ["b0", "nosuch"] };
    await expect(openNbd(options)).rejects.toMatchObject({
      code: "ENOENT",
      message: expect.stringContaining("'nosuch'"),
    });
    // The server takes the next client: the first one has gone.
    await using device = await openNbd({ ...options, bitmaps: ["b0"] });
    expect(device.node.device.bitmaps?.list()).toMatchObject([{ name: "b0" }]);
  });
});

test("bitmaps of our server are loaded as they are at that moment", async () => {
  const { graph, node, server } = await serve({ size: 4 * MiB, exported: { writable: false } });
  await server.removeExport("disk");
  const bitmap = node.createDirtyBitmap({ name: "b", granularity: 4 * KiB, enabled: false });
  server.addExport({ name: "disk", node, bitmaps: ["b"] });
  bitmap.bits.set(MiB, 1);
  await using device = await openNbd({ uri: server.uris("disk")[0], readOnly: true, bitmaps: ["b"] });
  expect(device.node.info.details).toMatchObject({ replies: "extended" });
  const first = await loadDirtyBitmap(device.node, "b");
  // What is finer than the protocol tells is rounded outwards.
  expect(dirtyOf(first)).toEqual([[MiB, MiB + 64 * KiB]]);
  device.node.removeDirtyBitmap(first);
  bitmap.bits.set(4 * MiB - 1, 1);
  const second = await loadDirtyBitmap(device.node, "b");
  expect(dirtyOf(second)).toEqual([
    [MiB, MiB + 64 * KiB],
    [4 * MiB - 64 * KiB, 4 * MiB],
  ]);
  expect(() => device.node.device.bitmaps?.keep(second)).toThrow(
    expect.objectContaining({ code: "ENOTSUP" }),
  );
  expect(graph.find("disk")).toBe(node);
});

const STATUS = 5;
const ALLOCATION_ID = 7;
const BITMAP_ID = 9;

/** A server with one bitmap `b` that answers questions as told. */
async function serverWithBitmap(
  onStatus: (peer: FakePeer, request: FakeRequest) => void,
  ids: readonly [number, number] = [ALLOCATION_ID, BITMAP_ID],
): Promise<FakeServer> {
  const server = await FakeServer.start({
    onOption: (peer, option) => {
      if (option !== Option.SetMetaContext) return false;
      for (const [index, name] of ["base:allocation", "qemu:dirty-bitmap:b"].entries()) {
        const reply = Buffer.concat([u32(ids[index] ?? 0), Buffer.from(name)]);
        peer.optionReply(option, OptionReply.MetaContext, reply);
      }
      peer.optionReply(option, OptionReply.Ack);
      return true;
    },
    onRequest: onStatus,
  });
  onCleanup(() => server[Symbol.asyncDispose]());
  return server;
}

function status(id: number, ...extents: readonly (readonly [number, number])[]): Buffer {
  return Buffer.concat([u32(id), ...extents.flatMap(([length, flags]) => [u32(length), u32(flags)])]);
}

test("contexts may come in any order, and each question gets its own", async () => {
  let questions = 0;
  const server = await serverWithBitmap((peer, request) => {
    questions += 1;
    const bitmap = status(BITMAP_ID, [32_768, 1], [32_768, 0]);
    const allocation = status(ALLOCATION_ID, [16_384, 0], [49_152, 3]);
    const parts = questions % 2 === 0 ? [bitmap, allocation] : [allocation, bitmap];
    parts.forEach((part, index) => peer.chunk(request, index, STATUS, part));
  });
  await using device = await openNbd({ uri: server.uri, bitmaps: ["b"] });
  const extents = new ExtentList();
  for (let round = 0; round < 2; round += 1) {
    await device.edge.status(0, 65_536, extents);
    expect([...extents.lengths.subarray(0, extents.count)]).toEqual([16_384, 49_152]);
    const bitmap = await loadDirtyBitmap(device.node, "b");
    // A device of 64 KiB is one bit of 64 KiB.
    expect(dirtyOf(bitmap)).toEqual([[0, 65_536]]);
    device.node.removeDirtyBitmap(bitmap);
  }
});

test.each<readonly [string, readonly Buffer[]]>([
  ["only another context's", [status(ALLOCATION_ID, [65_536, 0])]],
  ["its context twice", [status(BITMAP_ID, [65_536, 0]), status(BITMAP_ID, [65_536, 0])]],
  [
    "more contexts than there are",
    [status(ALLOCATION_ID, [1, 0]), status(ALLOCATION_ID, [1, 0]), status(BITMAP_ID, [65_536, 0])],
  ],
  ["a context that nobody asked for", [status(8, [65_536, 0])]],
  ["an extent beyond the end", [status(BITMAP_ID, [65_537, 0])]],
  ["parts of an extent of another context", [status(ALLOCATION_ID, [65_536, 0]).subarray(0, 9)]],
])("an answer with %s ends the connection, and nothing stays behind", async (_name, chunks) => {
  const server = await serverWithBitmap((peer, request) => {
    chunks.forEach((chunk, index) => peer.chunk(request, index === chunks.length - 1 ? 1 : 0, STATUS, chunk));
  });
  await using device = await openNbd({ uri: server.uri, bitmaps: ["b"], reconnectDelayMs: 0 });
  await expect(loadDirtyBitmap(device.node, "b")).rejects.toMatchObject({
    code: "EIO",
    cause: { name: "ProtocolError" },
  });
  expect(device.node.dirtyBitmaps.size).toBe(0);
});

test("two contexts with one id are refused", async () => {
  const server = await serverWithBitmap(() => undefined, [7, 7]);
  await expect(openNbd({ uri: server.uri, bitmaps: ["b"] })).rejects.toMatchObject({
    cause: { name: "ProtocolError" },
  });
});

test("a server of small blocks is asked about whole ones", async () => {
  const asked: (readonly [number, number])[] = [];
  const server = await serverWithBitmap((peer, request) => {
    asked.push([request.offset, request.length]);
    peer.chunk(request, 0, STATUS, status(ALLOCATION_ID, [request.length, 0]));
    // It ends inside of a block.
    const length = request.offset === 0 ? 10_000 : request.length;
    peer.chunk(request, 1, STATUS, status(BITMAP_ID, [length, 0]));
  });
  const { onOption } = server.behaviour;
  const blocks = Buffer.concat([Buffer.from([0, 3]), u32(4096), u32(4096), u32(65_536)]);
  Object.assign(server.behaviour, {
    onOption: (peer: FakePeer, option: number, data: Buffer) => {
      if (option === Option.Go) peer.optionReply(option, OptionReply.Info, blocks);
      return onOption(peer, option, data);
    },
  });
  await using device = await openNbd({ uri: server.uri, bitmaps: ["b"] });
  expect(dirtyOf(await loadDirtyBitmap(device.node, "b"))).toEqual([]);
  expect(asked).toEqual([
    [0, 65_536],
    [8192, 57_344],
  ]);
});
