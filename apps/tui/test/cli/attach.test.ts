import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { lacksPeers, StorageDaemon } from "@blockmirror/peers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { expandPattern, wellKnownPatterns } from "../../src/attach/find-sockets.ts";
import { runCli, startCli } from "./support/run-cli.ts";

const MIB = 2 ** 20;

let root: string;

beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), "blockmirror-attach-"));
});

afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

describe.skipIf(lacksPeers("qemu-storage-daemon"))("attach to qemu-storage-daemon", () => {
  let daemon: StorageDaemon;

  beforeEach(async () => {
    daemon = await StorageDaemon.start();
    for (const [name, fill] of [
      ["disk", 0x11],
      ["copy", 0],
    ] as const) {
      const filename = path.join(root, `${name}.raw`);
      writeFileSync(filename, Buffer.alloc(8 * MIB, fill));
      const file = { driver: "file", filename };
      await daemon.execute("blockdev-add", { driver: "raw", "node-name": name, file });
    }
  });

  afterEach(async () => {
    await daemon.stop();
  });

  async function startJob(speed: number): Promise<void> {
    await daemon.execute("blockdev-mirror", {
      "job-id": "m0",
      device: "disk",
      target: "copy",
      sync: "full",
      speed,
      "buf-size": MIB,
    });
  }

  test("beside lines, a peer of several that cannot be reached is told", async () => {
    await startJob(2 * MIB);
    const gone = path.join(root, "gone.sock");
    const cli = startCli(["attach", daemon.qmpSocketPath, gone, "--output", "json", "--interval", "0.2"]);
    await cli.saw('"event":"PROGRESS"');
    cli.child.kill("SIGINT");
    const { status, stderr } = await cli.ended;
    expect(status).toBe(130);
    expect(stderr).toMatch(/^blockmirror: .*gone\.sock: there is no such socket; .*; it is tried again\n/u);
  });

  test("shows its jobs and events as lines, and leaves them alone when it ends", async () => {
    await startJob(2 * MIB);
    const cli = startCli(["attach", daemon.qmpSocketPath, "--output", "json", "--interval", "0.2"]);
    await cli.saw('"event":"PROGRESS"');
    cli.child.kill("SIGINT");
    const { status, stdout, stderr } = await cli.ended;
    expect({ status, stderr }).toEqual({ status: 130, stderr: "" });
    const line = stdout.split("\n").find((text) => text.includes("PROGRESS")) ?? "";
    expect(JSON.parse(line)).toMatchObject({ data: { id: "m0", type: "mirror", speed: 2 * MIB } });
    const jobs: unknown = await daemon.execute("query-block-jobs");
    expect(jobs).toMatchObject([{ device: "m0" }]);
  });

  test("tells an end in plain words", async () => {
    await startJob(0);
    const cli = startCli(["attach", daemon.qmpSocketPath, "--output", "plain", "--interval", "0.1"]);
    await cli.saw(/m0: ready/u);
    await daemon.execute("job-complete", { id: "m0" });
    await cli.saw(/m0: completed|m0.*up to date/u);
    cli.child.kill("SIGTERM");
    expect((await cli.ended).status).toBe(130);
  });
});

describe("attach refuses", () => {
  test("an address that nobody answers at, with the reason", async () => {
    const result = await runCli(["attach", path.join(root, "gone.sock")]);
    expect(result.status).toBe(1);
    expect(result.stderr).toMatch(/^blockmirror: .*gone\.sock.*\n$/u);
  });

  test.each([
    [["attach"], /no job runs in the background/u],
    [["attach", "/nowhere/*.sock"], /no socket matches/u],
    [["attach", "tcp:host"], /not an address/u],
  ])("%j", async (args, words) => {
    // Whoever runs the tests may have jobs in the background, or have had some.
    const env = { XDG_RUNTIME_DIR: path.join(root, "run"), XDG_STATE_HOME: path.join(root, "state") };
    const result = await runCli(args, { env });
    expect(result).toMatchObject({ status: 2, stdout: "" });
    expect(result.stderr).toMatch(words);
  });
});

describe("finding sockets", () => {
  const servers: Server[] = [];

  afterEach(async () => {
    for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
  });

  async function listen(name: string): Promise<string> {
    const file = path.join(root, name);
    const server = createServer();
    servers.push(server);
    await new Promise<void>((resolve) => {
      server.listen(file, resolve);
    });
    return file;
  }

  test("patterns name sockets, and nothing else", async () => {
    const one = await listen("100.qmp");
    const two = await listen("101.qmp");
    await listen("100.vnc");
    writeFileSync(path.join(root, "102.qmp"), "");
    expect(await expandPattern(path.join(root, "*.qmp"))).toEqual([one, two]);
    expect(await expandPattern(path.join(root, "10?.vnc"))).toHaveLength(1);
    expect(await expandPattern(path.join(root, "*", "*.qmp"))).toEqual([]);
  });

  test("what is no pattern stands for itself", async () => {
    expect(await expandPattern("/not/there.sock")).toEqual(["/not/there.sock"]);
    expect(await expandPattern("host:4444")).toEqual(["host:4444"]);
  });

  test("the well-known places follow the environment", () => {
    expect(wellKnownPatterns({ XDG_RUNTIME_DIR: "/run/user/7", XDG_CONFIG_HOME: "/home/x/.conf" })).toEqual([
      "/run/user/7/blockmirror/*.qmp",
      "/var/lib/libvirt/qemu/domain-*/monitor.sock",
      "/home/x/.conf/libvirt/qemu/lib/domain-*/monitor.sock",
      "/run/qemu-server/*.qmp",
    ]);
  });
});
