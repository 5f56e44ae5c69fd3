import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { lacksPeers, makeCertificates, PeerServer, requirePeer, run } from "@blockmirror/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { NbdServer, parsePskKeys } from "../../src/index.ts";
import { openNbd, readBytes } from "../client/support/devices.ts";
import { onCleanup, pattern, serve, temporaryDirectory } from "../server/support/serving.ts";

const MiB = 2 ** 20;
const OPEN = fileURLToPath(new URL("open.js", import.meta.url));

/** Writes a file of keys, one of 32 bytes for each user, where QEMU looks for it. */
function makeKeys(directory: string, ...users: readonly string[]): string {
  const file = path.join(directory, "keys.psk");
  writeFileSync(file, users.map((user) => `${user}:${randomBytes(32).toString("hex")}\n`).join(""));
  return file;
}

/** Writes and reads back through our driver. */
async function use(options: Readonly<Record<string, unknown>>): Promise<void> {
  await using device = await openNbd(options);
  const content = pattern(MiB, 3);
  await device.edge.write(4096, [content]);
  await device.edge.flush();
  expect(Buffer.compare(await readBytes(device.edge, 4096, MiB), content)).toBe(0);
  expect(device.node.info.details).toMatchObject({ tls: true });
}

describe("a file of keys", () => {
  test("has a user and a key in a line", () => {
    const keys = parsePskKeys("qemu:0a0B\n\nalice@example.org:ff \r\nбоб:00\n");
    expect([...keys].map(([user, key]) => [user, [...key]])).toEqual([
      ["qemu", [10, 11]],
      ["alice@example.org", [255]],
      ["боб", [0]],
    ]);
  });

  test.each([
    ["", /no key/],
    ["\n\n", /no key/],
    ["qemu", /line 1/],
    ["\n:00", /line 2/],
    ["qemu:", /line 1/],
    ["qemu:5ecre7", /line 1/],
    ["qemu:123", /line 1/],
    ["qemu:00\nqemu:01", /line 2/],
    [`qemu:${"00".repeat(257)}`, /256 bytes/],
    [`${"q".repeat(129)}:00`, /128 bytes/],
  ])("is refused without telling a key: %j", (text, message) => {
    expect(() => parsePskKeys(text)).toThrow(SyntaxError);
    expect(() => parsePskKeys(text)).toThrow(message);
    expect(() => parsePskKeys(text)).not.toThrow(/5ecre7|123$/);
  });
});

/** A server with a key for each user, and the file of the keys. */
async function served(...users: readonly string[]) {
  const directory = temporaryDirectory();
  const file = makeKeys(directory, ...users);
  const keys = parsePskKeys(readFileSync(file, "utf8"));
  const serving = await serve({ size: 4 * MiB, server: { tls: { keys } } });
  const [uri = ""] = serving.server.uris("disk");
  return { ...serving, directory, file, uri };
}

describe("our server and our client", () => {
  test("agree by every user's key, and the client may be found by URI or by options", async () => {
    const { uri, file, server } = await served("alice", "bob");
    expect(uri).toMatch(/^nbds\+unix:/);
    await use({ uri: `${uri.replace("///", "//alice@/")}&tls-psk-file=${file}` });
    await use({ uri, tls: { pskFile: file, username: "bob" } });
    await use({ uri: uri.replace("///", "//bob@/"), tls: { pskFile: file } });
    await using device = await openNbd({ uri, tls: { pskFile: file, username: "bob" } });
    expect(device.node.info.size).toBe(4 * MiB);
    expect(server.clients()).toMatchObject([{ isSecure: true }]);
  });

  test("a file with one key needs no user, one with several takes the login name", async () => {
    const one = await served("whoever");
    await use({ uri: one.uri, tls: { pskFile: one.file } });
    const login = await served("somebody", userInfo().username);
    await use({ uri: login.uri, tls: { pskFile: login.file } });
    const several = await served("alice", "bob");
    await expect(openNbd({ uri: several.uri, tls: { pskFile: several.file } })).rejects.toMatchObject({
      code: "EINVAL",
      message: expect.stringContaining(userInfo().username),
    });
  });

  test("nobody else gets in, and the server serves on", async () => {
    const { uri, file } = await served("alice");
    const other = makeKeys(temporaryDirectory(), "alice", "mallory");
    const pki = temporaryDirectory();
    await makeCertificates(pki);
    for (const tls of [
      { pskFile: other, username: "alice" },
      { pskFile: other, username: "mallory" },
      { directory: pki },
      true,
    ]) {
      await expect(openNbd({ uri, tls })).rejects.toMatchObject({ operation: "open" });
    }
    await expect(openNbd({ uri: uri.replace("nbds", "nbd") })).rejects.toThrow(/nbds:\/\//);
    await use({ uri, tls: { pskFile: file } });
  });

  test("a server with a certificate is not taken for one that has the key", async () => {
    const pki = temporaryDirectory();
    await makeCertificates(pki);
    const read = (name: string): Buffer => readFileSync(path.join(pki, name));
    const [cert, key] = [read("server-cert.pem"), read("server-key.pem")];
    const { server } = await serve({ server: { tls: { cert, key } } });
    const [uri = ""] = server.uris("disk");
    const pskFile = makeKeys(temporaryDirectory(), "alice");
    // Not even one of an authority that its system trusts, which takes a process of its own.
    const open = async (options: object): Promise<string> => {
      const { stdout } = await run(process.execPath, [OPEN, JSON.stringify(options)], {
        env: { NODE_EXTRA_CA_CERTS: path.join(pki, "ca-cert.pem") },
      });
      return stdout;
    };
    expect(await open({ uri, tls: true })).toBe("opened");
    expect(await open({ uri, tls: { pskFile } })).toMatch(/certificate instead/);
  });

  test("what cannot be is refused before anything is dialled", async () => {
    const directory = temporaryDirectory();
    const pskFile = makeKeys(directory, "alice");
    const server = { path: path.join(directory, "no such socket") };
    await expect(openNbd({ server, tls: { pskFile, username: "eve" } })).rejects.toMatchObject({
      code: "EINVAL",
      message: expect.stringContaining("'eve'"),
    });
    await expect(openNbd({ server, tls: { pskFile, directory } })).rejects.toMatchObject({ code: "EINVAL" });
    await expect(
      openNbd({ uri: `nbds://h/?tls-psk-file=${pskFile}`, tls: { directory } }),
    ).rejects.toMatchObject({ code: "EINVAL" });
    await expect(openNbd({ server, tls: { pskFile: `${pskFile}.none` } })).rejects.toMatchObject({
      code: "ENOENT",
    });
    writeFileSync(pskFile, "alice=00");
    await expect(openNbd({ server, tls: { pskFile } })).rejects.toMatchObject({
      code: "EINVAL",
      message: expect.stringContaining("line 1"),
    });
  });

  test("a server without keys is a mistake", async () => {
    const { graph } = await serve();
    expect(() => new NbdServer({ graph, tls: { keys: new Map() } })).toThrow(TypeError);
  });
});

/** The same with something to copy. */
async function servedWithContent() {
  const { directory, file, uri, node, graph } = await served("alice", "qemu");
  const user = graph.attach(node, { name: "test", uses: ["write"], shares: ["read", "write", "resize"] });
  await user.write(MiB, [pattern(MiB, 5)]);
  return { directory, file, uri };
}

/** QEMU's ways to say which versions of TLS it may use. */
const VERSIONS = [
  ["TLS 1.3", "NORMAL:-VERS-ALL:+VERS-TLS1.3"],
  ["TLS 1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.2"],
  ["any TLS", "NORMAL"],
] as const;

describe.skipIf(lacksPeers("nbdinfo", "nbdcopy", "qemu-img", "qemu-io"))("our server", () => {
  test("and libnbd's clients", async () => {
    const { directory, file, uri } = await servedWithContent();
    const address = `${uri.replace("///", "//alice@/")}&tls-psk-file=${file}`;
    const { stdout } = await run(requirePeer("nbdinfo"), ["--json", address]);
    expect(JSON.parse(stdout)).toMatchObject({ TLS: true, exports: [{ "export-size": 4 * MiB }] });
    const copy = path.join(directory, "copy.raw");
    await run(requirePeer("nbdcopy"), [address, copy]);
    await run(requirePeer("qemu-io"), ["-f", "raw", "-c", "read -P 0 0 1M", "-c", "read -P 0 2M 2M", copy]);
    await use({ uri, tls: { pskFile: file, username: "alice" } });
    await run(requirePeer("nbdcopy"), [copy, address]);
    const stranger = address.replace("alice", "mallory");
    await expect(run(requirePeer("nbdinfo"), [stranger])).rejects.toThrow();
  });

  test.each(VERSIONS)("and QEMU's client with %s", async (_name, priority) => {
    const { directory, uri } = await servedWithContent();
    const socket = new URL(uri).searchParams.get("socket") ?? "";
    const image = `driver=nbd,path=${socket},export=disk,tls-creds=t`;
    for (const username of ["qemu", "alice"]) {
      const credentials = `tls-creds-psk,id=t,dir=${directory},endpoint=client,username=${username},priority=${priority}`;
      const commands = ["write -P 0x21 0 128k", "flush", "read -P 0x21 0 128k", "read -P 0 2M 1M"];
      await run(requirePeer("qemu-io"), [
        "--object",
        credentials,
        "--image-opts",
        ...commands.flatMap((command) => ["-c", command]),
        image,
      ]);
    }
    makeKeys(directory, "qemu");
    await expect(
      run(requirePeer("qemu-img"), [
        "info",
        "--object",
        `tls-creds-psk,id=t,dir=${directory},endpoint=client`,
        "--image-opts",
        image,
      ]),
    ).rejects.toThrow();
  });
});

describe.skipIf(lacksPeers("qemu-nbd"))("our client and qemu-nbd", () => {
  test.each(VERSIONS)("with %s", async (_name, priority) => {
    const server = new PeerServer("qemu-nbd", (directory) => [
      "-f",
      "raw",
      "--tls-creds",
      "t",
      path.join(directory, "disk.raw"),
      "--object",
      `tls-creds-psk,id=t,endpoint=server,dir=${directory},priority=${priority}`,
    ]);
    onCleanup(() => server.stop());
    const pskFile = makeKeys(server.directory, "alice", "bob");
    writeFileSync(path.join(server.directory, "disk.raw"), Buffer.alloc(4 * MiB));
    await server.start();
    const uri = server.uri.replace("nbd+", "nbds+");
    await use({ uri, tls: { pskFile, username: "bob" } });
    await use({ uri: `${uri.replace("///", "//alice@/")}&tls-psk-file=${pskFile}`, connections: 4 });
    const other = makeKeys(temporaryDirectory(), "alice");
    await expect(openNbd({ uri, tls: { pskFile: other } })).rejects.toMatchObject({ operation: "open" });
    await expect(openNbd({ uri: server.uri })).rejects.toThrow(/nbds:\/\//);
  });
});

describe.skipIf(lacksPeers("nbdkit"))("our client and nbdkit", () => {
  const directory: { path: string; server: PeerServer | undefined } = { path: "", server: undefined };
  beforeAll(async () => {
    const server = new PeerServer("nbdkit", (where) => [
      "--tls=require",
      `--tls-psk=${path.join(where, "keys.psk")}`,
      "memory",
      "4M",
    ]);
    makeKeys(server.directory, "alice");
    directory.path = server.directory;
    directory.server = await server.start();
  });
  afterAll(() => directory.server?.stop());

  test("that wants TLS", async () => {
    const uri = `nbds+unix:///?socket=${directory.path}/nbd.sock`;
    await use({ uri, tls: { pskFile: path.join(directory.path, "keys.psk") } });
    await expect(openNbd({ uri, tls: true })).rejects.toMatchObject({ operation: "open" });
  });
});
