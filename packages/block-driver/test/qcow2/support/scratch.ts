import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach } from "vitest";

/** In memory where the system has that: flushing to a disk is not what these tests are about. */
const SCRATCH = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

/** A fresh directory for each test of the file; returns the function that makes paths in it. */
export function scratchFiles(): (name: string) => string {
  let root = "";
  beforeEach(() => {
    root = mkdtempSync(join(SCRATCH, "blockmirror-qcow2-"));
  });
  afterEach(() => {
    rmSync(root, { recursive: true, force: true });
  });
  return (name) => join(root, name);
}
