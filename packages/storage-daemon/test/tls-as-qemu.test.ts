import { createCipheriv, randomBytes } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { lacksPeers, makeCertificates, PeerServer, requirePeer, run } from "@blockmirror/peers";
import type { JsonObject } from "@blockmirror/qmp";
import { describe, expect, it } from "vitest";

import { compare } from "./support/compare.ts";
import { afterTest, DaemonProcess, listenAt, scratch } from "./support/daemon-process.ts";
import { addPair, MIB } from "./support/images.ts";
import { qemuImg, qemuIo } from "./support/qemu.ts";
import { Side } from "./support/sides.ts";

const PASSWORD = "open, sesame";

/** Makes `pki` with an encrypted server key in `locked`, `other` of another authority, and `psk` with `alice` and `qemu`. */
async function makeCredentials(directory: string): Promise<void> {
  const at = (name: string): string => `${directory}/${name}`;
  for (const name of ["pki", "other"]) await makeCertificates(at(name));
  await run("cp", ["-r", at("pki"), at("locked")]);
  for (const name of ["server-key.pem", "client-key.pem"]) {
    await run("openssl", [
      "pkcs8",
      "-topk8",
      "-v2",
      "aes256",
      "-passout",
      `pass:${PASSWORD}`,
      "-in",
      at(`pki/${name}`),
      "-out",
      at(`locked/${name}`),
    ]);
  }
  for (const name of ["psk", "otherpsk", "nokeys"]) await mkdir(at(name));
  for (const name of ["psk", "otherpsk"]) {
    const lines = ["qemu", "alice"].map((user) => `${user}:${randomBytes(32).toString("hex")}\n`);
    await writeFile(at(`${name}/keys.psk`), lines.join(""));
  }
}

/** Credentials of both kinds, without id and endpoint, and those that the other side does not accept. */
const KINDS = {
  certificates: { good: ["tls-creds-x509", "pki"], bad: ["tls-creds-x509", "other"] },
  "pre-shared keys": { good: ["tls-creds-psk", "psk"], bad: ["tls-creds-psk", "otherpsk"] },
} as const;

function credentials(
  side: { readonly directory: string },
  [type, dir]: readonly [string, string],
  endpoint: "client" | "server",
  id: string,
): JsonObject {
  return { "qom-type": type, id, endpoint, dir: `${side.directory}/${dir}` };
}

function secret(id: string, more: JsonObject): JsonObject {
  return { "qom-type": "secret", id, ...more };
}

function addressOf(side: Side): JsonObject {
  return { addr: { type: "unix", data: { path: side.path("nbd.sock") } } };
}

/** A node of the `nbd` driver for the export `dst` of the server in that directory. */
function clientNode(path: string, more: JsonObject): JsonObject {
  return { driver: "nbd", "node-name": "far", server: { type: "unix", path }, export: "dst", ...more };
}

/** Mirrors `src` to a node of another side, and ends the job. */
async function mirrorTo(side: Side, target: string): Promise<void> {
  await side.run("blockdev-mirror", { "job-id": "j", device: "src", target, sync: "full" });
  await side.eventsUntil((word) => word === "BLOCK_JOB_READY");
  await side.run("block-job-cancel", { device: "j" });
  await side.eventsUntil((word) => word === "null");
  await side.run("blockdev-del", { "node-name": target });
}

describe.skipIf(lacksPeers("qemu-storage-daemon"))("objects, beside qemu-storage-daemon", () => {
  it("are made and refused alike", async () => {
    await compare(async (side) => {
      await makeCredentials(side.directory);
      const psk = (id: string, dir: string | undefined, more: JsonObject): JsonObject => ({
        "qom-type": "tls-creds-psk",
        id,
        ...(dir === undefined ? {} : { dir: side.path(dir) }),
        ...more,
      });
      const x509 = (id: string, dir: string, more: JsonObject): JsonObject => ({
        ...psk(id, dir, more),
        "qom-type": "tls-creds-x509",
      });
      const key = randomBytes(32);
      const iv = randomBytes(16);
      const cipher = createCipheriv("aes-256-cbc", key, iv);
      const data = Buffer.concat([cipher.update(PASSWORD), cipher.final()]).toString("base64");
      const sealed = { data, format: "base64", keyid: "master", iv: iv.toString("base64") };
      await writeFile(side.path("password"), PASSWORD);
      await writeFile(side.path("garbage.pem"), "garbage");
      await run("/bin/sh", ["-c", "cp -r pki garbage; cp garbage.pem garbage/server-cert.pem"], {
        cwd: side.directory,
      });
      const server = { endpoint: "server" };
      const objects: readonly JsonObject[] = [
        secret("s0", {}),
        secret("s1", { data: "x", file: "/y" }),
        secret("plain", { data: PASSWORD }),
        secret("plain", { data: "again" }),
        secret("s2", { data: Buffer.from(PASSWORD).toString("base64"), format: "base64" }),
        secret("s3", { data: "!!", format: "base64" }),
        secret("s4", { data: "", format: "raw" }),
        secret("s5", { data: "x", format: "hex" }),
        secret("s6", { file: side.path("none") }),
        secret("s7", { file: side.path("password") }),
        secret("binary", { data: "//8=", format: "base64" }),
        secret("master", { data: key.toString("base64"), format: "base64" }),
        secret("sealed", sealed),
        secret("t0", { ...sealed, keyid: "plain" }),
        secret("t1", { ...sealed, keyid: "nosuch" }),
        secret("t2", { data, format: "base64", keyid: "master" }),
        secret("t3", { ...sealed, iv: "AAAA" }),
        psk("p0", undefined, server),
        psk("p1", "nokeys", server),
        psk("p2", "psk", server),
        psk("p3", "psk", {}),
        psk("p4", "psk", { endpoint: "client", username: "alice" }),
        psk("p5", "psk", { endpoint: "client", username: "mallory" }),
        psk("p6", "psk", { ...server, username: "alice" }),
        psk("p7", "pki", server),
        psk("2nd", "psk", server),
        x509("x0", "psk", server),
        x509("x1", "pki", server),
        x509("x2", "pki", { endpoint: "client" }),
        x509("x3", "garbage", server),
        x509("x4", "locked", server),
        x509("x5", "locked", { ...server, passwordid: "nosuch" }),
        x509("x6", "locked", { ...server, passwordid: "p2" }),
        x509("x7", "locked", { ...server, passwordid: "s4" }),
        x509("x8", "locked", { ...server, passwordid: "binary" }),
        x509("y0", "locked", { ...server, passwordid: "plain" }),
        x509("y1", "locked", { ...server, passwordid: "s2" }),
        x509("y2", "locked", { ...server, passwordid: "s7" }),
        x509("y3", "locked", { ...server, passwordid: "sealed" }),
        x509("y4", "locked", { endpoint: "client", passwordid: "plain" }),
      ];
      const answers: unknown[] = [];
      for (const each of objects) answers.push([each["id"], await side.ask("object-add", each)]);
      const start = addressOf(side);
      for (const id of ["nosuch", "plain", "p4", "x2", "p2"]) {
        answers.push([id, await side.ask("nbd-server-start", { ...start, "tls-creds": id })]);
      }
      for (const id of ["nosuch", "plain", "p2", "x1"]) {
        const node = clientNode(side.path("nbd.sock"), { "tls-creds": id });
        answers.push([id, await side.ask("blockdev-add", node)]);
      }
      // The server goes on with what it got.
      for (const id of ["p2", "p2", "plain", "nosuch"]) answers.push(await side.ask("object-del", { id }));
      answers.push(await side.ask("nbd-server-stop"));
      return answers;
    });
  });
});

describe("objects", () => {
  it("with options that this daemon has not are refused", async () => {
    await using side = await Side.ours();
    await makeCredentials(side.directory);
    for (const kind of Object.values(KINDS)) {
      const server = credentials(side, kind.good, "server", "t");
      const client = credentials(side, kind.good, "client", "t");
      const answers = [await side.ask("object-add", { ...server, priority: "NORMAL" })];
      if (kind === KINDS.certificates) {
        answers.push(await side.ask("object-add", { ...client, "verify-peer": false }));
      }
      for (const answer of answers) expect(answer).toEqual({ error: "GenericError" });
      expect(await side.ask("object-add", server)).toEqual({ return: {} });
      expect(await side.ask("object-del", { id: "t" })).toEqual({ return: {} });
    }
    expect(await side.ask("object-add", { "qom-type": "iothread", id: "i" })).toEqual({
      error: "GenericError",
    });
  });
});

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-io", "qemu-img", "nbdinfo"))("an NBD server", () => {
  it.each(Object.entries(KINDS))("with %s lets in who belongs, and nobody else", async (_name, kind) => {
    await compare(async (side) => {
      await makeCredentials(side.directory);
      await addPair(side);
      await side.run("object-add", credentials(side, kind.good, "server", "tls0"));
      await side.run("nbd-server-start", { ...addressOf(side), "tls-creds": "tls0" });
      await side.run("block-export-add", { type: "nbd", id: "e", "node-name": "dst", writable: true });
      const socket = side.path("nbd.sock");
      const qemuClient = async (which: readonly [string, string], ...commands: string[]): Promise<void> => {
        const [type, dir] = which;
        await qemuIo(
          "--object",
          `${type},id=t,endpoint=client,dir=${side.path(dir)}`,
          "--image-opts",
          ...commands.flatMap((command) => ["-c", command]),
          `driver=nbd,path=${socket},export=dst,tls-creds=t,tls-hostname=localhost`,
        );
      };
      await qemuClient(kind.good, "write -P 0x31 0 64k", "flush", "read -P 0x31 0 64k");
      await expect(qemuClient(kind.bad, "read 0 512")).rejects.toThrow();
      await expect(
        run(requirePeer("nbdinfo"), ["--size", `nbd+unix:///dst?socket=${socket}`]),
      ).rejects.toThrow();
      // A daemon of each kind is a client as well: it mirrors to the export.
      for (const start of [() => Side.theirs(), () => Side.ours()]) {
        await using client = await start();
        await run("/bin/sh", ["-c", `cp -r "$0"/*/ .`, side.directory], { cwd: client.directory });
        await addPair(client, 4 * MIB);
        await client.run("object-add", credentials(client, kind.good, "client", "good"));
        await client.run("object-add", credentials(client, kind.bad, "client", "bad"));
        for (const refused of [{ "tls-creds": "bad" }, {}]) {
          expect(await client.ask("blockdev-add", clientNode(socket, refused))).toEqual({
            error: "GenericError",
          });
        }
        const far = clientNode(socket, { "tls-creds": "good", "tls-hostname": "localhost" });
        await client.run("blockdev-add", far);
        await mirrorTo(client, "far");
        await qemuClient(kind.good, "write -z 1M 1M", "write -P 0x31 0 64k", "flush");
        const [mirrored, source] = [
          await readFile(side.path("dst.raw")),
          await readFile(client.path("src.raw")),
        ];
        expect(mirrored.subarray(2 * MIB).equals(source.subarray(2 * MIB))).toBe(true);
      }
      return side.ask("query-block-exports");
    });
  });

  it("by its command line, with a key under a password", async () => {
    const directory = await scratch();
    await makeCredentials(directory);
    await writeFile(`${directory}/disk.raw`, Buffer.alloc(MIB, 9));
    for (const [object, client] of [
      [`tls-creds-x509,id=t,endpoint=server,dir=${directory}/locked,passwordid=s`, "tls-certificates=pki"],
      [`tls-creds-psk,id=t,endpoint=server,dir=${directory}/psk`, "tls-psk-file=psk/keys.psk"],
    ] as const) {
      const daemon = new DaemonProcess([
        "--object",
        `secret,id=s,data=${PASSWORD.replaceAll(",", ",,")}`,
        "--object",
        object,
        "--blockdev",
        `raw,node-name=dst,file.driver=file,file.filename=${directory}/disk.raw`,
        "--nbd-server",
        `addr.type=unix,addr.path=${directory}/nbd.sock,tls-creds=t`,
        "--export",
        "nbd,id=e,node-name=dst,writable=on",
        ...listenAt(`${directory}/qmp.sock`),
      ]);
      const monitor = await daemon.connect(`${directory}/qmp.sock`);
      const uri = `nbds+unix://alice@/dst?socket=nbd.sock&${client}`;
      const { stdout } = await run(requirePeer("nbdinfo"), ["--json", uri], { cwd: directory });
      expect(JSON.parse(stdout)).toMatchObject({ TLS: true, exports: [{ "export-size": MIB }] });
      await monitor.execute("quit");
      expect(await daemon.ended).toMatchObject({ code: 0, stderr: "" });
    }
  });
});

describe.skipIf(lacksPeers("qemu-nbd", "qemu-img", "qemu-storage-daemon"))("the nbd driver", () => {
  it.each(Object.entries(KINDS))("reaches qemu-nbd by %s, and by the right name only", async (name, kind) => {
    const [type, dir] = kind.good;
    const server = new PeerServer("qemu-nbd", (directory) => [
      "-f",
      "raw",
      "-x",
      "dst",
      "--tls-creds",
      "t",
      "--object",
      `${type},id=t,endpoint=server,dir=${directory}/${dir}`,
      `${directory}/disk.raw`,
    ]);
    afterTest(() => server.stop());
    await makeCredentials(server.directory);
    await writeFile(`${server.directory}/disk.raw`, Buffer.alloc(4 * MIB));
    await server.start();
    await compare(async (side) => {
      await addPair(side);
      await side.run("object-add", credentials(server, kind.good, "client", "good"));
      await side.run("object-add", credentials(server, kind.bad, "client", "bad"));
      const answers: unknown[] = [];
      for (const more of [
        {},
        { "tls-creds": "bad" },
        ...(name === "certificates" ? [{ "tls-creds": "good", "tls-hostname": "elsewhere" }] : []),
        { "tls-creds": "good", "tls-hostname": "localhost" },
      ]) {
        answers.push(await side.ask("blockdev-add", clientNode(server.socket, more)));
      }
      await mirrorTo(side, "far");
      await qemuImg(
        "compare",
        "-f",
        "raw",
        "-F",
        "raw",
        side.path("src.raw"),
        `${server.directory}/disk.raw`,
      );
      await writeFile(`${server.directory}/disk.raw`, Buffer.alloc(4 * MIB));
      return answers;
    });
  });
});
