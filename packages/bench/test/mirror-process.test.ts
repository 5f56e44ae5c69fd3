import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { lacksPeers } from "@blockmirror/peers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { runMirror } from "../src/process/mirror-process.ts";
import { assertIdentical, writeEmptyImage, writeFullImage } from "../src/raw/images.ts";

const MiB = 2 ** 20;

describe.skipIf(lacksPeers("qemu-img"))("our side", () => {
  let directory: string;
  let source: string;
  let target: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "blockmirror-bench-test-"));
    source = join(directory, "source.raw");
    target = join(directory, "target.raw");
    await writeFullImage(source, 8 * MiB);
  });

  afterEach(() => rm(directory, { recursive: true, force: true }));

  test("the program makes an identical copy and reports creation, READY and completion in that order", async () => {
    await writeEmptyImage(target, 8 * MiB);
    const { readyMs, completedMs, processMs, peakBytes } = await runMirror(source, target);
    expect(readyMs).toBeGreaterThanOrEqual(0);
    expect(completedMs).toBeGreaterThanOrEqual(readyMs);
    expect(processMs).toBeGreaterThan(completedMs);
    if (process.platform === "linux") expect(peakBytes).toBeGreaterThan(8 * MiB);
    await assertIdentical(source, target);
  });

  test("a program that fails is an error with what it said", async () => {
    await expect(runMirror(source, join(directory, "gone.raw"))).rejects.toThrow(
      /exit status \d[\s\S]*gone\.raw/u,
    );
  });
});
