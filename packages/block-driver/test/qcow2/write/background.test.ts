import { describe, expect, test } from "vitest";
import { FaultController, type BlockEdge, type BlockGraph, type BlockNode } from "../../../src/index.ts";
import { makeGraph, parent } from "../../support/graphs.ts";
import { checkFile } from "../support/check.ts";
import { createImage } from "../support/create.ts";
import { scratchFiles } from "../support/scratch.ts";

const KIB = 1024;
const GIB = 1024 * 1024 * KIB;
const at = scratchFiles();

/** An image on a file of a name, whose requests are in a log. */
async function opened(size: number, options: Readonly<Record<string, unknown>>): Promise<Bench> {
  await createImage(at("disk.qcow2"), size, options);
  const graph = makeGraph();
  const controller = new FaultController();
  const file = await graph.open({
    driver: "fault",
    nodeName: "file",
    controller,
    file: { driver: "file", filename: at("disk.qcow2") },
  });
  const node = await graph.open({ driver: "qcow2", file: "file" });
  return { graph, file, controller, guest: graph.attach(node, parent("guest")) };
}

interface Bench {
  readonly graph: BlockGraph;
  readonly file: BlockNode;
  readonly controller: FaultController;
  readonly guest: BlockEdge;
}

/** Drains the file, as one does who replaces it, and sees whether requests come all the same, however long that takes. */
async function mustBeQuiet({ graph, file, controller }: Bench): Promise<void> {
  const section = await graph.drain(file);
  controller.clearLog();
  for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  expect(controller.log).toEqual([]);
  section.end();
  await graph.closeAll();
  expect(await checkFile(at("disk.qcow2"))).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 });
}

describe("what an image does without being asked has ended before its file is drained", () => {
  test("a commit that so much metadata made necessary", async () => {
    const bench = await opened(64 * GIB, {});
    // As many new tables as make a commit begin.
    for (let table = 0; table < 64; table += 1) {
      await bench.guest.write((table * GIB) / 2, [new Uint8Array(512).fill(1)]);
    }
    await mustBeQuiet(bench);
  });

  test("giving freed space back after a flush", async () => {
    const bench = await opened(1024 * KIB, { clusterSize: 4096 });
    await bench.guest.write(0, [new Uint8Array(512 * KIB).fill(1)]);
    for (let cluster = 0; cluster < 128; cluster += 2) await bench.guest.discard(cluster * 4096, 4096);
    await bench.guest.flush();
    await mustBeQuiet(bench);
  });
});
