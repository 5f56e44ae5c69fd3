import { describe, expect, test } from "vitest";
import { ExtentFlag, ExtentList, type BlockEdge } from "../../src/index.ts";
import { lacksNative, temporaryFile } from "../file/support.ts";
import { failure, filled, makeGraph, parent, readBytes } from "../support/graphs.ts";

async function window(
  options: Readonly<Record<string, unknown>>,
): Promise<{ readonly edge: BlockEdge; readonly below: BlockEdge }> {
  const graph = makeGraph();
  const node = await graph.open({ driver: "raw", ...options, file: { driver: "memory", size: 10_000 } });
  const below = node.child("file");
  if (below === undefined) throw new Error("no file");
  return { edge: graph.attach(node, parent("user")), below };
}

describe("a raw image", () => {
  test("is its file, byte for byte", async () => {
    const { edge, below } = await window({});
    await edge.write(9999, [filled(1, 7)]);
    expect(await readBytes(below, 9999, 1)).toEqual(filled(1, 7));
    expect(edge.info).toMatchObject({ driver: "raw", size: 10_000 });
    await edge.resize(20_000);
    expect([edge.info.size, below.info.size]).toEqual([20_000, 20_000]);
  });

  test("a window shows its part and nothing outside", async () => {
    const { edge, below } = await window({ offset: 1000, size: 500 });
    await below.write(0, [filled(10_000, 1)]);
    await edge.write(0, [filled(500, 2)]);
    await failure("EINVAL", () => edge.write(1, [filled(500, 3)]));
    await edge.writeZeroes(499, 1);
    await edge.discard(0, 1);
    const expected = filled(10_000, 1);
    expected.fill(2, 1000, 1500);
    expected[1499] = 0;
    expected[1000] = 0;
    expect(await readBytes(below, 0, 10_000)).toEqual(expected);
    await failure("ENOTSUP", () => edge.resize(600));
  });

  test("an open-ended window is resized with its file", async () => {
    const { edge, below } = await window({ offset: 1000 });
    expect(edge.info.size).toBe(9000);
    await edge.resize(100);
    expect([edge.info.size, below.info.size]).toEqual([100, 1100]);
  });

  test("status is moved into the window and keeps where the bytes are", async () => {
    const { edge, below } = await window({ offset: 4000, size: 5000 });
    await below.write(4096, [filled(10, 1)]);
    const list = new ExtentList();
    await edge.status(0, 5000, list);
    expect(list.count).toBe(3);
    expect([list.lengthAt(0), list.lengthAt(1), list.lengthAt(2)]).toEqual([96, 4096, 808]);
    expect([list.flagsAt(0), list.flagsAt(1)]).toEqual([
      ExtentFlag.Zero | ExtentFlag.HostOffset,
      ExtentFlag.Data | ExtentFlag.HostOffset,
    ]);
    expect(list.hostOffsetAt(1)).toBe(4096);
  });

  test("status requests may overlap, and one that fails leaves the next alone", async () => {
    const graph = makeGraph();
    const node = await graph.open({
      driver: "raw",
      file: {
        driver: "fault",
        rules: [{ operation: "status", error: "EIO" }],
        file: { driver: "strict", later: true, file: { driver: "memory", size: 8192 } },
      },
    });
    const edge = graph.attach(node, parent("user"));
    await failure("EIO", () => edge.status(0, 8192, new ExtentList()));
    const lists = [new ExtentList(), new ExtentList(), new ExtentList()];
    await Promise.all(lists.map(async (list, index) => edge.status(index * 1000, 8192 - index * 1000, list)));
    for (const list of lists) expect([list.count, list.next]).toEqual([1, 8192]);
  });

  test.skipIf(lacksNative)("lends what its file lends, from where the window is", async () => {
    const graph = makeGraph();
    const file = { driver: "file", filename: temporaryFile(8192) };
    const node = await graph.open({ driver: "raw", file, offset: 1000, size: 500 });
    const offers: unknown[] = [];
    const user = graph.attach(node, parent("user"));
    const used = await user.lend(10, 20, (storage, offset, length) => {
      offers.push([storage.info.driver, offset, length]);
      return 7;
    });
    expect(used).toBe(7);
    expect(offers).toEqual([["file", 1010, 20]]);
    await graph.detach(user);
    await graph.close(node);
  });

  test.each([{ offset: 10_001 }, { size: 10_001 }, { offset: 9000, size: 1001 }, { offset: -1 }])(
    "a window of %o outside its file is refused",
    async (options) => {
      await failure("EINVAL", () => window(options));
    },
  );
});
