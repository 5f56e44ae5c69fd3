import { once } from "node:events";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { lacksPeers, requirePeer, run, StorageDaemon } from "@blockmirror/peers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { picture, runCli, scratchDirectory, startCli } from "./support/run-cli.ts";

let scratch: ReturnType<typeof scratchDirectory>;

beforeEach(() => {
  scratch = scratchDirectory();
  for (const name of ["a.raw", "b.raw"]) writeFileSync(join(scratch.path, name), randomBytes(2 ** 20));
});

afterEach(() => {
  scratch.remove();
});

describe.skipIf(lacksPeers("qemu-io", "qemu-storage-daemon"))("programs that hold an image", () => {
  test.each(["a.raw", "b.raw"])("a daemon that writes %s is told of, in one line", async (name) => {
    const filename = join(scratch.path, name);
    await using daemon = await StorageDaemon.start({
      args: [
        "--blockdev",
        `driver=file,node-name=held,filename=${filename}`,
        "--nbd-server",
        `addr.type=unix,addr.path=${join(scratch.path, "nbd.sock")}`,
        "--export",
        "type=nbd,id=export,node-name=held,writable=on",
      ],
    });
    expect(daemon.pid).toBeGreaterThan(0);
    const before = picture(scratch.path);
    const result = await runCli(["mirror", "a.raw", "b.raw", "--existing"], { cwd: scratch.path });
    expect(result).toMatchObject({ status: 1, stdout: "" });
    expect(result.stderr).toMatch(/^blockmirror: [^\n]*is in use[^\n]*end that use first[^\n]*\n$/u);
    expect(picture(scratch.path)).toEqual(before);
  });

  test("a mirror that runs keeps qemu-io from writing either side, and lets go at its end", async () => {
    const mirror = startCli(["mirror", "a.raw", "b.raw", "--existing", "--speed", "64K"], {
      cwd: scratch.path,
    });
    await mirror.saw("running");
    const write = (name: string): Promise<{ readonly exitCode: number; readonly stderr: string }> =>
      run(requirePeer("qemu-io"), ["-f", "raw", "-c", "write 0 512", join(scratch.path, name)], {
        allowedExitCodes: [0, 1],
      });
    for (const name of ["a.raw", "b.raw"]) {
      const refused = await write(name);
      expect(refused.exitCode).toBe(1);
      expect(refused.stderr).toMatch(/lock/u);
    }
    mirror.child.kill("SIGINT");
    expect((await mirror.ended).status).toBe(130);
    expect((await write("a.raw")).exitCode).toBe(0);
  });
});

test("two mirrors at once onto one target: the second is refused", async () => {
  const first = startCli(["mirror", "a.raw", "b.raw", "--existing", "--speed", "64K"], { cwd: scratch.path });
  await first.saw("running");
  const second = await runCli(["mirror", "a.raw", "b.raw", "--existing"], { cwd: scratch.path });
  expect(second.status).toBe(1);
  expect(second.stderr).toMatch(/^blockmirror: [^\n]*in use[^\n]*\n$/u);
  const ended = once(first.child, "exit");
  first.child.kill("SIGTERM");
  await ended;
});
