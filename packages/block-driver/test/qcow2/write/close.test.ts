import { describe, expect, test } from "vitest";
import { BlockError, FaultController, type FaultOperation } from "../../../src/index.ts";
import { commitUntilClean } from "../../../src/drivers/qcow2/metadata/commit-until-clean.ts";
import { failure } from "../../support/graphs.ts";
import { checkFile } from "../support/check.ts";
import { createImage } from "../support/create.ts";
import { openImage, read, withImage } from "../support/open.ts";
import { scratchFiles } from "../support/scratch.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const at = scratchFiles();

/** The operations that fail for ever once all has been written, and how closing must end. */
const BROKEN: readonly (readonly [broken: readonly FaultOperation[], end: "fails" | "succeeds"])[] = [
  [["write"], "fails"],
  [["flush"], "fails"],
  [["write", "flush"], "fails"],
  [["read", "write", "writeZeroes", "discard", "flush", "resize", "status"], "fails"],
  [["resize"], "fails"],
  // Giving space back is advice, and everything that closing reads has been read.
  [["discard"], "succeeds"],
  [["read"], "succeeds"],
];

describe("closing an image whose file fails for ever", () => {
  test.each(BROKEN)("at %s: it %s, and does not try for ever", async (broken, end) => {
    const file = at("disk.qcow2");
    await createImage(file, 64 * MIB);
    const controller = new FaultController();
    const { edge, close } = await openImage({
      driver: "fault",
      controller,
      file: { driver: "file", filename: file },
    });
    await edge.write(0, [Buffer.alloc(MIB, 1)]);
    await edge.flush();
    // Something to write, something to link, something to give back and something to cut off.
    await edge.write(8 * MIB, [Buffer.alloc(MIB, 2)]);
    await edge.discard(0, 512 * KIB);
    controller.clearLog();
    controller.add({ operation: broken, times: 0, error: "EIO" });
    if (end === "fails") await expect(close()).rejects.toBeInstanceOf(BlockError);
    else await close();
    expect(controller.log.length).toBeLessThan(100);
    controller.clear();
    expect(await checkFile(file)).toMatchObject({ corruptions: 0, checkErrors: 0 });
    await withImage(file, async (image) => {
      const flushed = await read(image.edge, 512 * KIB, 512 * KIB);
      expect(flushed.every((byte) => byte === 1)).toBe(true);
      if (end === "fails") return;
      expect((await read(image.edge, 8 * MIB, MIB)).every((byte) => byte === 2)).toBe(true);
      expect((await read(image.edge, 0, 512 * KIB)).every((byte) => byte === 0)).toBe(true);
    });
  });

  test("closing again ends as it did before, without another request", async () => {
    await createImage(at("disk.qcow2"), MIB);
    const controller = new FaultController();
    const { edge, node, close } = await openImage({
      driver: "fault",
      controller,
      file: { driver: "file", filename: at("disk.qcow2") },
    });
    await edge.write(0, [Buffer.alloc(64 * KIB, 1)]);
    controller.add({ operation: "write", times: 0, error: "ENOSPC" });
    const { device } = node;
    await failure("ENOSPC", () => device.close());
    controller.clearLog();
    await failure("ENOSPC", () => device.close());
    expect(controller.log).toEqual([]);
    await close().catch(() => {});
  });
});

describe("committing until an image is clean", () => {
  const returning = { idle: () => Promise.resolve() };

  test("goes on while what was given back is to be written", async () => {
    let left = 2;
    const commits = {
      get dirty() {
        return left > 0;
      },
      flush() {
        left -= 1;
        return Promise.resolve();
      },
    };
    await commitUntilClean(commits, returning, "disk");
    expect(left).toBe(0);
  });

  test("ends with an error when it never becomes clean", async () => {
    let flushes = 0;
    const commits = {
      dirty: true,
      flush() {
        flushes += 1;
        return Promise.resolve();
      },
    };
    const error = await failure("EIO", () => commitUntilClean(commits, returning, "disk"));
    expect(error.message).toContain("disk");
    expect(flushes).toBeLessThan(100);
  });
});
