import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { run } from "@blockmirror/peers";
import { checkFile } from "../support/check.ts";
import { qemuCheck } from "../support/qemu-img.ts";
import { BlockError } from "../../../src/index.ts";
import { StoredImage } from "./stored-image.ts";

/** Largest disk that is compared as a whole. */
const MOST_BYTES = 4 * 1024 * 1024;

/**
 * Compares with qemu-img: where both can read the whole disk it must be the same, and what a check finds must be of the
 * same class. Either may refuse what the other takes: that is told, not judged.
 * @returns what differs, or undefined.
 */
export async function differsFromQemu(bytes: Uint8Array, file: string): Promise<string | undefined> {
  writeFileSync(file, bytes);
  const [ours, theirs] = [await ourVerdict(file), await theirVerdict(file)];
  if (ours !== theirs && ours !== "refused" && theirs !== "refused")
    return `check: ${ours}, by qemu-img ${theirs}`;
  const [disk, theirDisk] = [await ourDisk(bytes), await diskByQemu(file)];
  if (disk === undefined || theirDisk === undefined || Buffer.compare(disk, theirDisk) === 0)
    return undefined;
  return `content: ${disk.length} bytes, by qemu-img ${theirDisk.length}`;
}

async function ourVerdict(file: string): Promise<string> {
  try {
    const { corruptions, checkErrors, leaks } = await checkFile(file);
    return verdict(corruptions + checkErrors, leaks);
  } catch (error) {
    if (error instanceof BlockError) return "refused";
    throw error;
  }
}

async function theirVerdict(file: string): Promise<string> {
  try {
    const report = await qemuCheck(file);
    return verdict((report.corruptions ?? 0) + report["check-errors"], report.leaks ?? 0);
  } catch {
    return "refused";
  }
}

function verdict(damage: number, leaks: number): string {
  if (damage > 0) return "damaged";
  return leaks > 0 ? "leaks" : "clean";
}

async function ourDisk(bytes: Uint8Array): Promise<Uint8Array | undefined> {
  const image = await StoredImage.of(bytes);
  try {
    return await image.open({ readOnly: true }, async (edge) => {
      if (edge.info.size > MOST_BYTES) return undefined;
      const disk = new Uint8Array(edge.info.size);
      await edge.read(0, [disk]);
      return disk;
    });
  } catch (error) {
    if (error instanceof BlockError) return undefined;
    throw error;
  } finally {
    await image.close();
  }
}

async function diskByQemu(file: string): Promise<Uint8Array | undefined> {
  const raw = `${file}.raw`;
  try {
    const args = ["convert", "-U", "-f", "qcow2", "-O", "raw", file, raw];
    await run("qemu-img", args, { timeoutMs: 20_000 });
    return readFileSync(raw);
  } catch {
    return undefined;
  } finally {
    rmSync(raw, { force: true });
  }
}
