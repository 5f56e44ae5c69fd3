import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { makeGraph, parent, readBytes } from "../support/graphs.ts";
import { printExtents } from "./open-raw.ts";
import { patternDriver } from "./pattern.ts";
import { writeGreeting } from "./write.ts";

/** Formatters may break lines differently in the two places. */
function squeeze(text: string): string {
  return text.replaceAll(/[\s,]+/g, "");
}

describe("the README's examples", () => {
  let directory = "";
  beforeEach(() => {
    directory = fs.mkdtempSync(path.join(os.tmpdir(), "blockmirror-readme-"));
  });
  afterEach(() => fs.rmSync(directory, { recursive: true }));

  test.each(["write", "open-raw", "pattern"])("%s is printed there as it is tested here", (name) => {
    const here = path.dirname(new URL(import.meta.url).pathname);
    const code = fs
      .readFileSync(path.join(here, `${name}.ts`), "utf8")
      .replaceAll('"../../src/index.ts"', '"@blockmirror/block-driver"');
    const readme = fs.readFileSync(path.join(here, "../../README.md"), "utf8");
    expect(squeeze(readme)).toContain(squeeze(code));
  });

  test("writing makes an image that begins with the greeting", async () => {
    const filename = path.join(directory, "disk.raw");
    await writeGreeting(filename);
    const content = fs.readFileSync(filename);
    expect(content.byteLength).toBe(1024 * 1024);
    expect(content.subarray(0, 12).toString()).toBe("hello, disk\0");
  });

  test("listing covers the image and counts what it stores", async () => {
    const filename = path.join(directory, "disk.raw");
    await writeGreeting(filename);
    const lines: string[] = [];
    const stored = await printExtents(filename, (line) => lines.push(line));
    expect(lines[0]).toMatch(/^0\+\d+ data$/);
    expect(stored).toBeGreaterThanOrEqual(12);
    const total = lines.reduce((sum, line) => sum + Number(/\+(\d+) /.exec(line)?.[1]), 0);
    expect(total).toBe(1024 * 1024);
  });

  test("the pattern reads as it says", async () => {
    const graph = makeGraph();
    graph.registry.register(patternDriver);
    const node = await graph.open({ driver: "pattern", size: 1000, seed: 5 });
    const edge = graph.attach(node, parent("user", { uses: ["read"] }));
    expect(await readBytes(edge, 244, 4)).toEqual(Uint8Array.of(249, 250, 0, 1));
  });
});
