import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir, userInfo } from "node:os";
import path from "node:path";
import { BlockGraph, DriverRegistry } from "@blockmirror/block-driver";
import { nbdDriver } from "@blockmirror/nbd";
import { lacksPeers, qemuNbd } from "@blockmirror/peers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { runCli, startCli } from "./support/run-cli.ts";

const MIB = 2 ** 20;

let root: string;

beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), "blockmirror-serve-"));
});

afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

function uriOf(socket: string, exportName = ""): string {
  return `nbd+unix:///${exportName}?socket=${path.join(root, socket)}`;
}

function run(program: string, ...args: readonly string[]): string {
  return execFileSync(program, args, { cwd: root, encoding: "utf8" });
}

describe.skipIf(lacksPeers("qemu-img", "qemu-io", "nbdinfo"))("serve", () => {
  test("lets QEMU's clients read and write an image, and ends in order", async () => {
    run("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "8M");
    const cli = startCli(["serve", "disk.qcow2", "--listen", uriOf("n.sock")], { cwd: root });
    await cli.saw("disk.qcow2 is served at");
    expect(statSync(path.join(root, "n.sock")).mode & 0o777).toBe(0o600);
    run("qemu-io", "-f", "raw", "-c", "write -P 5 1M 2M", "-c", "write -z 0 64k", uriOf("n.sock"));
    expect(JSON.parse(run("nbdinfo", "--json", uriOf("n.sock")))).toMatchObject({
      exports: [{ "export-size": 8 * MIB, is_read_only: false }],
    });
    cli.child.kill("SIGTERM");
    const { status, stdout } = await cli.ended;
    expect(status).toBe(0);
    expect(stdout).toMatch(/has left the image; so far .* 2\.00 MiB written/u);
    run("qemu-img", "check", "-q", "disk.qcow2");
    run("qemu-io", "-f", "qcow2", "-c", "read -P 5 1M 2M", "disk.qcow2");
  });

  test("names several images by their files, and keeps clients of a read-only one from writing", async () => {
    writeFileSync(path.join(root, "one.raw"), Buffer.alloc(MIB, 1));
    writeFileSync(path.join(root, "two.raw"), Buffer.alloc(2 * MIB, 2));
    const args = [
      "serve",
      "one.raw",
      "two.raw",
      "--read-only",
      "--output",
      "json",
      "--listen",
      uriOf("n.sock"),
    ];
    const cli = startCli(args, { cwd: root });
    await cli.saw('"export":"two"');
    expect(JSON.parse(run("nbdinfo", "--json", uriOf("n.sock", "two")))).toMatchObject({
      exports: [{ "export-name": "two", "export-size": 2 * MIB, is_read_only: true }],
    });
    cli.child.kill("SIGINT");
    expect((await cli.ended).status).toBe(0);
  });

  test("lets in who has a key, and nobody else", async () => {
    writeFileSync(path.join(root, "disk.raw"), Buffer.alloc(MIB, 6));
    writeFileSync(path.join(root, "keys.psk"), `alice:${"5a".repeat(32)}\n`);
    writeFileSync(path.join(root, "other.psk"), `alice:${"a5".repeat(32)}\n`);
    const address = uriOf("t.sock").replace("nbd", "nbds");
    const cli = startCli(["serve", "disk.raw", "--listen", address, "--tls-psk", "keys.psk"], { cwd: root });
    await cli.saw("disk.raw is served at nbds+unix:");
    const clients = (keys: string): string => `${address.replace("///", "//alice@/")}&tls-psk-file=${keys}`;
    expect(JSON.parse(run("nbdinfo", "--json", clients(path.join(root, "keys.psk"))))).toMatchObject({
      TLS: true,
      exports: [{ "export-size": MIB }],
    });
    const mirrored = await runCli(["mirror", clients("keys.psk"), "copy.raw"], { cwd: root });
    expect(mirrored, mirrored.stderr).toMatchObject({ status: 0 });
    expect(readFileSync(path.join(root, "copy.raw")).equals(Buffer.alloc(MIB, 6))).toBe(true);
    const refused = await runCli(["mirror", clients("other.psk"), "no.raw"], { cwd: root });
    expect(refused.status).toBe(1);
    cli.child.kill("SIGTERM");
    expect((await cli.ended).status).toBe(0);
  });

  test.each([
    [["serve", "gone.raw"], 1, /does not exist/u],
    [["serve"], 2, /images/u],
    [["serve", "one.raw", "--listen", "http://x"], 2, /--listen/u],
    [["serve", "one.raw", "--listen", "nbds://localhost:1"], 2, /--tls-creds/u],
    [["serve", "one.raw", "--tls-creds", "nowhere"], 1, /server-cert\.pem/u],
    [["serve", "one.raw", "--tls-psk", "nowhere"], 1, /--tls-psk: nowhere cannot be read/u],
    [["serve", "one.raw", "--tls-psk", "one.raw"], 1, /--tls-psk: one\.raw: line 1/u],
    [["serve", "one.raw", "--tls-psk", "keys", "--tls-creds", "pki"], 2, /--tls-psk.*--tls-creds/u],
  ])("refuses %j", async (args, status, words) => {
    writeFileSync(path.join(root, "one.raw"), Buffer.alloc(MIB));
    const result = await runCli(args, { cwd: root, env: { XDG_RUNTIME_DIR: root } });
    expect(result.status).toBe(status);
    expect(result.stderr).toMatch(words);
  });
});

/** Without a runtime directory the one in the temporary directory counts. */
function environment(): Record<string, string> {
  return { XDG_RUNTIME_DIR: "", TMPDIR: root };
}

function directory(): string {
  return path.join(root, `blockmirror-${userInfo().uid}`);
}

describe("without an address", () => {
  test("the socket is in a directory that only its user can reach", async () => {
    writeFileSync(path.join(root, "one.raw"), Buffer.alloc(MIB));
    const cli = startCli(["serve", "one.raw", "--output", "plain"], { cwd: root, env: environment() });
    await cli.saw(/is served at/u);
    expect(statSync(directory()).mode & 0o777).toBe(0o700);
    cli.child.kill("SIGTERM");
    expect((await cli.ended).status).toBe(0);
  });

  test.each<[string, () => void]>([
    [
      "others may write to",
      () => {
        mkdirSync(directory());
        chmodSync(directory(), 0o777);
      },
    ],
    [
      "leads elsewhere",
      () => {
        mkdirSync(path.join(root, "elsewhere"));
        symlinkSync(path.join(root, "elsewhere"), directory());
      },
    ],
  ])("it is not put where somebody else could put theirs: a directory that %s", async (_, prepare) => {
    writeFileSync(path.join(root, "one.raw"), Buffer.alloc(MIB));
    prepare();
    for (const args of [
      ["serve", "one.raw"],
      ["mirror", "one.raw", "two.raw", "--export"],
    ]) {
      const result = await runCli(args, { cwd: root, env: environment() });
      expect(result.status).toBe(1);
      expect(result.stderr).toMatch(/is not a directory of yours alone; .*XDG_RUNTIME_DIR/u);
    }
    expect(existsSync(path.join(root, "two.raw"))).toBe(false);
    const attached = await runCli(["attach", "--output", "plain"], {
      cwd: root,
      env: { ...environment(), XDG_STATE_HOME: path.join(root, "state") },
    });
    expect(attached.status).toBe(2);
  });

  test("what cannot be made is told with what to set", async () => {
    writeFileSync(path.join(root, "one.raw"), Buffer.alloc(MIB));
    const env = { XDG_RUNTIME_DIR: path.join(root, "one.raw"), XDG_STATE_HOME: path.join(root, "one.raw") };
    const served = await runCli(["serve", "one.raw"], { cwd: root, env });
    expect(served).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/ENOTDIR.*set XDG_RUNTIME_DIR/u),
    });
    const detached = await runCli(["mirror", "one.raw", "two.raw", "--detach"], { cwd: root, env });
    expect(detached).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/ENOTDIR.*set XDG_STATE_HOME/u),
    });
  });
});

describe("mirror --export", () => {
  test("follows the writes of a client, and leads it to the target without its noticing", async () => {
    const source = Buffer.alloc(4 * MIB, 1);
    writeFileSync(path.join(root, "source.raw"), source);
    const args = ["mirror", "source.raw", "copy.raw", "--export", uriOf("e.sock"), "--speed", "4M"];
    const cli = startCli([...args, "--output", "plain", "--interval", "0.2"], { cwd: root });
    await cli.saw("running");
    const graph = new BlockGraph({ registry: new DriverRegistry().register(nbdDriver) });
    try {
      const node = await graph.open({ driver: "nbd", uri: uriOf("e.sock") });
      const client = graph.attach(node, { name: "client", uses: ["read", "write"], shares: ["read"] });
      const write = async (offset: number, value: number): Promise<void> => {
        await client.write(offset, [Buffer.alloc(10_000, value)]);
        source.fill(value, offset, offset + 10_000);
      };
      await write(100, 7);
      await cli.saw("ready");
      await write(2 * MIB, 8);
      await cli.saw("up to date");
      await write(3 * MIB, 9);
      const back = Buffer.alloc(10_000);
      await client.read(3 * MIB, [back]);
      expect(back.every((byte) => byte === 9)).toBe(true);
      await client.flush();
    } finally {
      await graph.closeAll();
    }
    const { status, stderr } = await cli.ended;
    expect(status).toBe(0);
    expect(stderr).toContain("1 client(s) go on using copy.raw");
    expect(readFileSync(path.join(root, "copy.raw")).equals(source)).toBe(true);
    expect(readFileSync(path.join(root, "source.raw"))[3 * MIB]).toBe(1);
  });
});

describe.skipIf(lacksPeers("qemu-nbd", "qemu-img"))("mirror to and from NBD addresses", () => {
  test("a target that qemu-nbd serves", async () => {
    writeFileSync(path.join(root, "source.raw"), Buffer.alloc(4 * MIB, 3));
    run("qemu-img", "create", "-q", "-f", "qcow2", "copy.qcow2", "4M");
    const pidFile = path.join(root, "q.pid");
    run(
      "qemu-nbd",
      "--fork",
      "-t",
      "--pid-file",
      pidFile,
      "-f",
      "qcow2",
      "-k",
      path.join(root, "q.sock"),
      "copy.qcow2",
    );
    try {
      const result = await runCli(["mirror", "source.raw", uriOf("q.sock"), "--existing"], { cwd: root });
      expect(result, result.stderr).toMatchObject({ status: 0 });
      run("qemu-img", "compare", "-f", "raw", "-F", "raw", "source.raw", uriOf("q.sock"));
    } finally {
      process.kill(Number(readFileSync(pidFile, "utf8")), "SIGTERM");
    }
  });

  test("the top layer alone goes to an export that stands on a copy of the rest", async () => {
    for (const side of ["here", "there"]) {
      run("qemu-img", "create", "-q", "-f", "raw", `${side}.raw`, "4M");
      run("qemu-io", "-f", "raw", "-c", "write -P 1 0 4M", `${side}.raw`);
      run("qemu-img", "create", "-q", "-f", "qcow2", "-b", `${side}.raw`, "-F", "raw", `${side}.qcow2`);
    }
    run("qemu-io", "-f", "qcow2", "-c", "write -P 2 1M 64k", "-c", "write -z 2M 64k", "here.qcow2");
    const pidFile = path.join(root, "q.pid");
    const socket = path.join(root, "q.sock");
    run("qemu-nbd", "--fork", "-t", "--pid-file", pidFile, "-f", "qcow2", "-k", socket, "there.qcow2");
    try {
      const uri = uriOf("q.sock");
      const result = await runCli(["mirror", "here.qcow2", uri, "--existing", "--sync", "top"], {
        cwd: root,
      });
      expect(result, result.stderr).toMatchObject({ status: 0 });
      expect(result.stderr).toContain("has to stand on a copy of the rest already");
      expect(result.stdout).toMatch(/completed, .*64\.0 KiB copied/u);
    } finally {
      process.kill(Number(readFileSync(pidFile, "utf8")), "SIGTERM");
    }
    run("qemu-img", "compare", "-U", "-f", "qcow2", "-F", "qcow2", "here.qcow2", "there.qcow2");
  });

  test.each(["trust", "fail"] as const)(
    "a server that is killed and comes back, with --unflushed-writes %s",
    async (trust) => {
      const source = Buffer.alloc(4 * MIB, 3);
      writeFileSync(path.join(root, "source.raw"), source);
      const peer = await qemuNbd("raw", 4 * MIB);
      try {
        const options = ["--existing", "--speed", "1M", "--interval", "0.1", "--unflushed-writes", trust];
        const cli = startCli(["mirror", "source.raw", peer.uri, ...options], { cwd: root });
        await cli.saw(/[2-9]\d\.\d%/u);
        await peer.signal("SIGKILL");
        await peer.start();
        const { status, stderr } = await cli.ended;
        if (trust === "trust") {
          expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
          expect(readFileSync(path.join(peer.directory, "disk.raw")).equals(source)).toBe(true);
        } else {
          expect(status).toBe(1);
          expect(stderr).toMatch(
            /mirror failed: .*is not a copy, the source is untouched; .*--unflushed-writes trust goes on/u,
          );
          expect(stderr).not.toContain("unflushedWrites");
        }
      } finally {
        await peer.stop();
      }
    },
  );

  test("an export is never taken for a file that can be made", async () => {
    writeFileSync(path.join(root, "source.raw"), Buffer.alloc(MIB, 3));
    const result = await runCli(["mirror", "source.raw", uriOf("gone.sock")], { cwd: root });
    expect(result.status).toBe(1);
    expect(result.stderr).toMatch(/is the server running there/u);
    expect(result.stderr.split("gone.sock")).toHaveLength(2);
  });
});
