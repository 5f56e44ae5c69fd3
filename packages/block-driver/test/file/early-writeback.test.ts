import { expect, test } from "vitest";
import { EarlyWriteback } from "../../src/drivers/file/early-writeback.ts";

const MIB = 1024 * 1024;

function rig(fail = false): {
  readonly writeback: EarlyWriteback;
  readonly calls: readonly (readonly [fd: number, offset: number, length: number])[];
  readonly finish: () => void;
} {
  const calls: (readonly [number, number, number])[] = [];
  const running: (() => void)[] = [];
  const startWriteback = (fd: number, offset: number, length: number): Promise<void> => {
    calls.push([fd, offset, length]);
    return new Promise((resolve, reject) => {
      running.push(() => {
        if (fail) reject(new Error("EIO"));
        else resolve();
      });
    });
  };
  return {
    writeback: new EarlyWriteback({ startWriteback }, 7),
    calls,
    finish: () => running.shift()?.(),
  };
}

test("small writes never begin a write-out", () => {
  const { writeback } = rig();
  for (let index = 0; index < 100_000; index += 1) expect(writeback.note(index * 4096, 4096)).toBe(false);
});

test("every 16 MiB of bulk writes begin one, over the range they cover", async () => {
  const { writeback, calls, finish } = rig();
  for (let index = 0; index < 15; index += 1) expect(writeback.note((100 + index) * MIB, MIB)).toBe(false);
  expect(writeback.note(115 * MIB, MIB)).toBe(true);
  const begun = writeback.begin();
  expect(calls).toEqual([[7, 100 * MIB, 16 * MIB]]);
  // One at a time: what comes meanwhile waits for the next.
  for (let index = 0; index < 200; index += 1) expect(writeback.note(index * MIB, MIB)).toBe(false);
  finish();
  await begun;
  expect(writeback.note(300 * MIB, MIB)).toBe(true);
  void writeback.begin();
  expect(calls[1]).toEqual([7, 0, 301 * MIB]);
});

test("a failure is left to the flush", async () => {
  const { writeback, finish } = rig(true);
  for (let index = 0; index < 64; index += 1) writeback.note(index * MIB, MIB);
  const begun = writeback.begin();
  finish();
  await expect(begun).resolves.toBeUndefined();
});
