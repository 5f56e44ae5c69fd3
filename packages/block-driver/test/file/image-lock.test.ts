import { spawn, type ChildProcess } from "node:child_process";
import { findPeer, lacksPeers, requirePeer, run } from "@blockmirror/peers";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import {
  lacksNative,
  onCleanup,
  openDevice,
  openWritable,
  pattern,
  temporaryDirectory,
  temporaryFile,
} from "./support.ts";

const busy = { code: "EBUSY" };

/** Runs qemu-io on an image and waits until it has it open; it keeps it until the test ends or `release`. */
async function holdWithQemuIo(args: readonly string[]): Promise<() => Promise<void>> {
  const child = spawn(requirePeer("qemu-io"), [...args], { stdio: ["pipe", "pipe", "pipe"] });
  const release = (): Promise<void> => ended(child);
  onCleanup(release);
  let output = "";
  await new Promise<void>((resolve, reject) => {
    child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      if (output.includes("qemu-io>")) resolve();
    });
    child.once("close", () => reject(new Error(`qemu-io ended: ${output}`)));
  });
  return release;
}

/** Starts a storage daemon that has an image open, with an NBD export on it, and waits for its pid file. */
async function holdWithStorageDaemon(args: readonly string[]): Promise<() => Promise<void>> {
  const directory = temporaryDirectory();
  const pidFile = path.join(directory, "pid");
  const child = spawn(
    requirePeer("qemu-storage-daemon"),
    ["--pidfile", pidFile, "--nbd-server", `addr.type=unix,addr.path=${directory}/nbd`, ...args],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  const release = (): Promise<void> => ended(child);
  onCleanup(release);
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  while (!fs.existsSync(pidFile)) {
    if (child.exitCode !== null) throw new Error(`qemu-storage-daemon ended: ${errors}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return release;
}

function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once("close", () => resolve());
    child.kill("SIGTERM");
  });
}

/** What qemu-io or qemu-img says when it is refused a lock. */
async function refusal(name: "qemu-io" | "qemu-img", args: readonly string[]): Promise<string> {
  const { exitCode, stderr, stdout } = await run(requirePeer(name), args, { allowedExitCodes: [0, 1] });
  return exitCode === 0 ? "" : stderr + stdout;
}

describe.skipIf(lacksNative)("image locks among ourselves", () => {
  test("a second writer is refused, within the process too, and may come when the first has closed", async () => {
    const filename = temporaryFile(pattern(1000));
    const first = await openDevice(filename);
    expect(first.info.details).toMatchObject({ locked: true });
    await expect(openDevice(filename)).rejects.toMatchObject(busy);
    await expect(openDevice(filename)).rejects.toThrow(/image\.raw is in use: .*QEMU/);
    await first.close();
    await openDevice(filename);
  });

  test("readers share; a reader and a writer exclude each other", async () => {
    const filename = temporaryFile(1000);
    const readers = [
      await openDevice(filename, { readOnly: true }),
      await openDevice(filename, { readOnly: true }),
    ];
    await expect(openDevice(filename)).rejects.toMatchObject(busy);
    for (const reader of readers) await reader.close();
    await openDevice(filename);
    await expect(openDevice(filename, { readOnly: true })).rejects.toMatchObject(busy);
  });

  test("a refused opening takes nothing away from whoever holds the image", async () => {
    const filename = temporaryFile(1000);
    await openDevice(filename);
    await expect(openDevice(filename, { readOnly: true })).rejects.toMatchObject(busy);
    await expect(openDevice(filename)).rejects.toMatchObject(busy);
    await expect(openDevice(filename, { fixed: true })).rejects.toMatchObject(busy);
  });

  test("locking off neither locks nor looks", async () => {
    const filename = temporaryFile(1000);
    const tolerant = await openDevice(filename, { locking: "off" });
    expect(tolerant.info.details).toMatchObject({ locked: false });
    await openDevice(filename);
    await openDevice(filename, { readOnly: true, locking: "off" });
  });

  test("mandatory locking needs native help, and says so", async () => {
    const filename = temporaryFile(1000);
    const opening = openDevice(filename, { native: false, locking: "on" });
    await expect(opening).rejects.toMatchObject({ code: "ENOTSUP" });
    await expect(openDevice(filename, { native: false, locking: "on" })).rejects.toThrow(/koffi/);
    await openDevice(filename, { locking: "on" });
    await openDevice(filename, { native: false });
  });
});

describe.skipIf(lacksNative || lacksPeers("qemu-io", "qemu-img"))("image locks against QEMU", () => {
  test("a writing QEMU keeps us out, reading or writing, until it ends", async () => {
    const filename = temporaryFile(1024 * 1024);
    const release = await holdWithQemuIo(["-f", "raw", filename]);
    await expect(openDevice(filename)).rejects.toMatchObject(busy);
    await expect(openDevice(filename, { readOnly: true })).rejects.toMatchObject(busy);
    await openDevice(filename, { readOnly: true, locking: "off" });
    await release();
    await (await openDevice(filename)).close();
  });

  test("we keep QEMU out of an image that we write", async () => {
    const filename = temporaryFile(1024 * 1024);
    const device = await openWritable(filename);
    expect(await refusal("qemu-io", ["-f", "raw", "-c", "read 0 512", filename])).toMatch(/Failed to get/);
    // Its read-only qemu-io puts up with a writer, so nothing is in its way.
    expect(await refusal("qemu-io", ["-r", "-f", "raw", "-c", "read 0 512", filename])).toBe("");
    const convert = ["convert", "-f", "raw", "-O", "raw", filename, `${filename}.copy`];
    expect(await refusal("qemu-img", convert)).toMatch(/Failed to get shared "write" lock/);
    expect(await refusal("qemu-img", ["resize", "-f", "raw", filename, "2M"])).toMatch(/Failed to get/);
    expect(fs.statSync(filename).size).toBe(1024 * 1024);
    await device.close();
    expect(await refusal("qemu-io", ["-f", "raw", "-c", "read 0 512", filename])).toBe("");
  });

  test("we keep qemu-img from a qcow2 file that we write", async () => {
    const filename = path.join(temporaryDirectory(), "image.qcow2");
    await run(requirePeer("qemu-img"), ["create", "-q", "-f", "qcow2", filename, "1M"]);
    const device = await openDevice(filename);
    expect(await refusal("qemu-img", ["info", filename])).toMatch(/Failed to get shared "write" lock/);
    expect(await refusal("qemu-img", ["check", filename])).toMatch(/Failed to get/);
    expect(await refusal("qemu-img", ["info", "-U", filename])).toBe("");
    await device.close();
    expect(await refusal("qemu-img", ["info", filename])).toBe("");
  });

  test("readers share with QEMU's readers, both ways", async () => {
    const filename = temporaryFile(1024 * 1024);
    await holdWithQemuIo(["-r", "-f", "raw", filename]);
    await openDevice(filename, { readOnly: true });
    expect(
      await refusal("qemu-img", ["convert", "-f", "raw", "-O", "raw", filename, `${filename}.copy`]),
    ).toBe("");
  });

  test("our reader keeps QEMU's writer out, and its writer may come afterwards", async () => {
    const filename = temporaryFile(1024 * 1024);
    const reader = await openDevice(filename, { readOnly: true });
    expect(await refusal("qemu-io", ["-f", "raw", "-c", "write 0 512", filename])).toMatch(/Failed to get/);
    await reader.close();
    expect(await refusal("qemu-io", ["-f", "raw", "-c", "write 0 512", filename])).toBe("");
  });

  test("a qcow2 image that QEMU has open keeps us out; two fixed openings of one file as well", async () => {
    const filename = path.join(temporaryDirectory(), "image.qcow2");
    await run(requirePeer("qemu-img"), ["create", "-q", "-f", "qcow2", filename, "1M"]);
    const release = await holdWithQemuIo(["-f", "qcow2", filename]);
    await expect(openDevice(filename)).rejects.toMatchObject(busy);
    await expect(openDevice(filename, { fixed: true })).rejects.toMatchObject(busy);
    await expect(openDevice(filename, { readOnly: true })).rejects.toMatchObject(busy);
    await release();
    await openDevice(filename);
  });
});

describe.skipIf(lacksNative || lacksPeers("qemu-storage-daemon"))(
  "image locks against a storage daemon",
  () => {
    test("its writable export keeps us out; its read-only export keeps only our writer out", async () => {
      expect(findPeer("qemu-storage-daemon")).toBeDefined();
      const filename = temporaryFile(1024 * 1024);
      const release = await holdWithStorageDaemon([
        "--blockdev",
        `file,node-name=f,filename=${filename}`,
        "--export",
        "nbd,id=e,node-name=f,writable=on",
      ]);
      await expect(openDevice(filename)).rejects.toMatchObject(busy);
      await expect(openDevice(filename, { readOnly: true })).rejects.toMatchObject(busy);
      await release();
      const releaseReader = await holdWithStorageDaemon([
        "--blockdev",
        `file,node-name=f,filename=${filename},read-only=on`,
        "--export",
        "nbd,id=e,node-name=f",
      ]);
      await openDevice(filename, { readOnly: true });
      await expect(openDevice(filename)).rejects.toMatchObject(busy);
      await releaseReader();
    });
  },
);
