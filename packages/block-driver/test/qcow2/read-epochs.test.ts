import { describe, expect, test } from "vitest";
import { ReadEpochs } from "../../src/drivers/qcow2/metadata/read-epochs.ts";
import { isSettled } from "../support/graphs.ts";

describe("ReadEpochs", () => {
  test("passes at once when nothing runs", () => {
    expect(new ReadEpochs().passed()).toBeUndefined();
  });

  test("passes when the requests begun before have ended, whatever began since", async () => {
    const epochs = new ReadEpochs();
    const before = epochs.begin();
    const alsoBefore = epochs.begin();
    const passed = epochs.passed();
    const after = epochs.begin();
    expect(passed).toBeDefined();
    epochs.end(before);
    expect(await isSettled(passed ?? Promise.resolve())).toBe(false);
    epochs.end(alsoBefore);
    expect(await isSettled(passed ?? Promise.resolve())).toBe(true);
    epochs.end(after);
    expect(epochs.running).toBe(0);
  });

  test("later epochs wait for earlier requests too", async () => {
    const epochs = new ReadEpochs();
    const first = epochs.begin();
    const one = epochs.passed() ?? Promise.resolve();
    const second = epochs.begin();
    const two = epochs.passed() ?? Promise.resolve();
    epochs.end(second);
    expect(await isSettled(two)).toBe(false);
    epochs.end(first);
    expect(await isSettled(one)).toBe(true);
    expect(await isSettled(two)).toBe(true);
    expect(epochs.passed()).toBeUndefined();
  });

  test("refuses an end without a begin", () => {
    const epochs = new ReadEpochs();
    epochs.end(epochs.begin());
    expect(() => epochs.end(0)).toThrow(RangeError);
  });
});
