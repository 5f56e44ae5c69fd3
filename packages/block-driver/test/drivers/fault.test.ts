import { describe, expect, test } from "vitest";
import { ExtentList, FaultController, type BlockErrorCode, type FaultRule } from "../../src/index.ts";
import { disturbed, failure, filled, isSettled, makeGraph, parent, readBytes } from "../support/graphs.ts";

/** Which of `count` writes fail under the rule. */
async function struck(rule: FaultRule, count = 6): Promise<readonly number[]> {
  const { edge, controller } = await disturbed();
  controller.add({ error: "EIO", ...rule });
  const failed: number[] = [];
  for (let index = 1; index <= count; index += 1) {
    try {
      await edge.write(index * 512, [filled(512, index)]);
    } catch {
      failed.push(index);
    }
  }
  return failed;
}

/** Outcomes of 64 reads that fail with a probability of one half. */
async function outcomes(seed: number): Promise<string> {
  const graph = makeGraph();
  const rules = [{ operation: "read", error: "EIO", probability: 0.5, times: 0 }];
  const node = await graph.open({ driver: "fault", seed, rules, file: { driver: "memory", size: 512 } });
  const edge = graph.attach(node, parent("user"));
  let outcome = "";
  for (let index = 0; index < 64; index += 1) {
    try {
      await edge.read(0, [filled(1, 0)]);
      outcome += ".";
    } catch {
      outcome += "x";
    }
  }
  return outcome;
}

describe("rules", () => {
  test("strike at the nth matching request, so many times", async () => {
    expect(await struck({})).toEqual([1]);
    expect(await struck({ nth: 3 })).toEqual([3]);
    expect(await struck({ nth: 3, times: 2 })).toEqual([3, 4]);
    expect(await struck({ nth: 5, times: 0 })).toEqual([5, 6]);
  });

  test("look at operations and ranges only", async () => {
    expect(await struck({ operation: "read" })).toEqual([]);
    expect(await struck({ operation: ["flush", "write"], times: 0 })).toEqual([1, 2, 3, 4, 5, 6]);
    expect(await struck({ offset: 1024, length: 512, times: 0 })).toEqual([2]);
    expect(await struck({ offset: 1023, length: 2, times: 0 })).toEqual([1, 2]);
    expect(await struck({ offset: 1535, times: 0 })).toEqual([2]);
  });

  test("strike with a probability that the seed decides", async () => {
    const first = await outcomes(1);
    expect(first).toBe(await outcomes(1));
    expect(first).not.toBe(await outcomes(2));
    expect(first).toMatch(/x/);
    expect(first).toMatch(/\./);
    expect(await struck({ probability: 0, times: 0 })).toEqual([]);
    expect(await struck({ probability: 1, times: 0 }, 2)).toEqual([1, 2]);
  });

  test("can depend on the state and change it", async () => {
    const { edge, controller } = await disturbed();
    controller.add({ operation: "flush", newState: 2 });
    controller.add({ operation: "write", state: 2, error: "ENOSPC", times: 0 });
    controller.add({ operation: "discard", state: 2, newState: 1, times: 0 });
    await edge.write(0, [filled(1, 1)]);
    controller.state = 2;
    await failure("ENOSPC", () => edge.write(0, [filled(1, 1)]));
    await edge.discard(0, 1);
    expect(controller.state).toBe(1);
    await edge.write(0, [filled(1, 1)]);
  });

  test("come and go while the device works; the first that strikes decides", async () => {
    const { edge, controller } = await disturbed();
    const remove = controller.add({ operation: "write", error: "EIO", times: 0 });
    controller.add({ operation: "write", error: "ENOSPC", times: 0 });
    await failure("EIO", () => edge.write(0, [filled(1, 1)]));
    remove();
    await failure("ENOSPC", () => edge.write(0, [filled(1, 1)]));
    controller.clear();
    await edge.write(0, [filled(1, 1)]);
  });

  test.each(["EIO", "ENOSPC", "ETIMEDOUT"] satisfies BlockErrorCode[])(
    "fail every operation with %s",
    async (error) => {
      const { edge, controller } = await disturbed();
      controller.add({ error, times: 0 });
      for (const run of [
        () => edge.read(0, [filled(1, 0)]),
        () => edge.write(0, [filled(1, 0)]),
        () => edge.writeZeroes(0, 1),
        () => edge.discard(0, 1),
        () => edge.resize(1024),
        () => edge.status(0, 1, new ExtentList()),
      ]) {
        await failure(error, run);
      }
    },
  );

  test.each([
    { nth: 0 },
    { times: -1 },
    { probability: 1.1 },
    { probability: Number.NaN },
    { offset: -1 },
    { length: 0 },
    { transferred: 0.5 },
  ])("%o makes no sense", (rule) => {
    expect(() => new FaultController().add(rule)).toThrow(RangeError);
  });

  test.each([[[{ operation: "reed" }]], [[{ errror: "EIO" }]], [[{ nth: 0 }]], [["EIO"]], ["EIO"]])(
    "%j in a spec is EINVAL and opens nothing",
    async (rules) => {
      const graph = makeGraph();
      await failure("EINVAL", () =>
        graph.open({ driver: "fault", rules, file: { driver: "memory", size: 1 } }),
      );
      expect(graph.nodes()).toHaveLength(0);
    },
  );
});

describe("what a strike does", () => {
  test("short transfers: a part is done, then it fails", async () => {
    const { edge, controller } = await disturbed();
    await edge.write(0, [filled(1024, 1)]);
    controller.add({ operation: "write", error: "EIO", transferred: 100 });
    await failure("EIO", () => edge.write(0, [filled(60, 2), filled(1000, 3)]));
    expect(await readBytes(edge, 0, 1024)).toEqual(
      Uint8Array.from([...filled(60, 2), ...filled(40, 3), ...filled(924, 1)]),
    );
    controller.add({ operation: "writeZeroes", error: "EIO", transferred: 10 });
    await failure("EIO", () => edge.writeZeroes(0, 1024));
    expect(await readBytes(edge, 0, 11)).toEqual(Uint8Array.of(...filled(10, 0), 2));
    const into = filled(20, 9);
    controller.add({ operation: "read", error: "EIO", transferred: 5 });
    await failure("EIO", () => edge.read(60, [into]));
    expect(into).toEqual(Uint8Array.of(...filled(5, 3), ...filled(15, 9)));
  });

  test("hold and release, one by one or all; what is held can be waited for", async () => {
    const { edge, controller } = await disturbed();
    controller.add({ operation: ["read", "write"], hold: true, times: 0 });
    const waiting = controller.waitForHeld("read");
    expect(await isSettled(waiting)).toBe(false);
    const write = Promise.resolve(edge.write(0, [filled(1, 1)]));
    const read = Promise.resolve(edge.read(0, [filled(1, 1)]));
    const held = await waiting;
    expect(held).toMatchObject({ operation: "read", offset: 0, length: 1 });
    expect(controller.held).toHaveLength(2);
    held.release();
    held.release();
    await read;
    expect(await isSettled(write)).toBe(false);
    controller.clear();
    controller.release();
    await write;
    expect(controller.held).toHaveLength(0);
  });

  test("a held request that fails, fails when it is let go", async () => {
    const { edge, controller } = await disturbed();
    controller.add({ operation: "write", hold: true, error: "EIO" });
    const write = failure("EIO", () => edge.write(0, [filled(1, 1)]));
    await controller.waitForHeld();
    expect(await isSettled(write)).toBe(false);
    controller.release();
    await write;
    expect(await readBytes(edge, 0, 1)).toEqual(filled(1, 0));
  });

  test("delays come from the controller's own timer", async () => {
    const delays: number[] = [];
    let go: (() => void) | undefined;
    const controller = new FaultController({
      rules: [{ operation: "read", delayMs: 250 }],
      timer: (delayMs) => {
        delays.push(delayMs);
        return new Promise((resolve) => {
          go = resolve;
        });
      },
    });
    const graph = makeGraph();
    const node = await graph.open({ driver: "fault", controller, file: { driver: "memory", size: 512 } });
    const read = Promise.resolve(graph.attach(node, parent("user")).read(0, [filled(1, 1)]));
    expect(await isSettled(read)).toBe(false);
    expect(delays).toEqual([250]);
    go?.();
    await read;
  });

  test("the log keeps the latest requests only, as many as it is told to", async () => {
    for (const logLimit of [0, 1, 3]) {
      const graph = makeGraph();
      const controller = new FaultController({ logLimit });
      const file = { driver: "memory", size: 4096 };
      const edge = graph.attach(await graph.open({ driver: "fault", controller, file }), parent("user"));
      for (let offset = 0; offset < 10; offset += 1) {
        await edge.read(offset, [filled(1, 0)]);
        expect(controller.log.length).toBeLessThanOrEqual(logLimit);
      }
      expect(controller.log.map(({ offset }) => offset)).toEqual([7, 8, 9].slice(3 - logLimit));
    }
    for (const logLimit of [-1, 0.5, Number.NaN]) {
      expect(() => new FaultController({ logLimit })).toThrow(RangeError);
    }
  });

  test("the log keeps requests in order with what became of them", async () => {
    const { edge, controller } = await disturbed();
    controller.add({ operation: "write", nth: 2, error: "EIO" });
    await edge.write(0, [filled(512, 1)]);
    await failure("EIO", () => edge.write(512, [filled(10, 1)]));
    await edge.resize(1024);
    expect(controller.log).toEqual([
      { operation: "write", offset: 0, length: 512, outcome: "passed" },
      { operation: "write", offset: 512, length: 10, outcome: "EIO" },
      { operation: "resize", offset: 0, length: 1024, outcome: "passed" },
    ]);
    controller.clearLog();
    expect(controller.log).toEqual([]);
  });

  test("one controller serves several devices", async () => {
    const graph = makeGraph();
    const controller = new FaultController({ rules: [{ operation: "read", nth: 2, error: "EIO" }] });
    const file = { driver: "memory", size: 512 };
    const a = graph.attach(await graph.open({ driver: "fault", controller, file }), parent("a"));
    const b = graph.attach(await graph.open({ driver: "fault", controller, file }), parent("b"));
    await a.read(0, [filled(1, 0)]);
    await failure("EIO", () => b.read(0, [filled(1, 0)]));
  });
});
