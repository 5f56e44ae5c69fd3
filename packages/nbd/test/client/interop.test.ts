import { rmSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { ExtentFlag, ExtentList } from "@blockmirror/block-driver";
import {
  lacksPeers,
  makeCertificates,
  nbdkit,
  PeerServer,
  qemuNbd,
  requirePeer,
  run,
} from "@blockmirror/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openNbd, readBytes, type OpenNbd } from "./support/devices.ts";

const MiB = 2 ** 20;
const joined = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));
const bytes = (value: number, length: number): Uint8Array => new Uint8Array(length).fill(value);

/** Starts a server for one test. */
async function using(server: Promise<PeerServer>, use: (server: PeerServer) => Promise<void>): Promise<void> {
  const started = await server;
  try {
    await use(started);
  } finally {
    await started.stop();
  }
}

/** Every extent of the device, as `[offset, length, flags]`. */
async function map({ edge, node }: OpenNbd): Promise<readonly (readonly number[])[]> {
  const all: number[][] = [];
  const extents = new ExtentList(4);
  for (let at = 0; at < node.size; at = extents.next) {
    await edge.status(at, node.size - at, extents);
    extents.clip(node.size);
    for (let index = 0; index < extents.count; index += 1) {
      const [last, flags] = [all.at(-1), extents.flagsAt(index)];
      if (last !== undefined && last[2] === flags) last[1] = (last[1] ?? 0) + extents.lengthAt(index);
      else all.push([extents.offsetAt(index), extents.lengthAt(index), flags]);
    }
  }
  return all;
}

async function qemuIo(image: string, format: string, ...commands: readonly string[]): Promise<void> {
  await run(requirePeer("qemu-io"), ["-f", format, ...commands.flatMap((each) => ["-c", each]), image]);
}

describe.skipIf(lacksPeers("qemu-nbd", "qemu-img", "qemu-io"))("qemu-nbd", () => {
  for (const format of ["raw", "qcow2"] as const) {
    test(`a ${format} image: what is written here is read there, with its holes`, async () => {
      await using(qemuNbd(format, 8 * MiB), async (server) => {
        const device = await openNbd({ uri: server.uri });
        expect(device.node.info).toMatchObject({
          size: 8 * MiB,
          can: {
            write: true,
            fua: true,
            writeZeroes: "fast",
            unmap: true,
            discard: "hint",
            flush: true,
            status: "exact",
          },
        });
        await device.edge.write(MiB, [bytes(1, 64), bytes(2, MiB - 64)]);
        await device.edge.write(4 * MiB, [bytes(3, MiB)], { fua: true });
        await device.edge.writeZeroes(4 * MiB + 65_536, 65_536, { unmap: true });
        await device.edge.discard(7 * MiB, MiB);
        await device.edge.flush();
        expect(await map(device)).toEqual([
          [0, MiB, ExtentFlag.Zero],
          [MiB, MiB, ExtentFlag.Data],
          [2 * MiB, 2 * MiB, ExtentFlag.Zero],
          [4 * MiB, 65_536, ExtentFlag.Data],
          [4 * MiB + 65_536, 65_536, ExtentFlag.Zero],
          [4 * MiB + 131_072, MiB - 131_072, ExtentFlag.Data],
          [5 * MiB, 3 * MiB, ExtentFlag.Zero],
        ]);
        expect(await readBytes(device.edge, MiB, 128)).toEqual(joined(bytes(1, 64), bytes(2, 64)));
        await device.graph.closeAll();
        await server.signal("SIGTERM");
        await qemuIo(
          path.join(server.directory, `disk.${format}`),
          format,
          "read -P 0 0 1M",
          "read -P 1 1M 64",
          "read -P 2 1048640 1048512",
          "read -P 3 4M 64k",
          "read -P 0 4259840 64k",
          "read -P 3 4325376 917504",
        );
      });
    });
  }

  test("several named exports with a description and bitmaps, and their names", async () => {
    const described = ["-x", "a disk/№1", "-D", "described", "-B", "b0", "-A"];
    const disk = new PeerServer("qemu-nbd", (directory) => [
      "-f",
      "qcow2",
      ...described,
      path.join(directory, "disk.qcow2"),
    ]);
    const image = path.join(disk.directory, "disk.qcow2");
    await run(requirePeer("qemu-img"), ["create", "-q", "-f", "qcow2", image, "1M"]);
    await run(requirePeer("qemu-img"), ["bitmap", "--add", image, "b0"]);
    await using(disk.start(), async (server) => {
      const uri = `nbd+unix:///a%20disk/%E2%84%961?socket=${server.socket}`;
      for (const options of [{ uri }, { server: { path: server.socket }, export: "a disk/№1" }]) {
        await using device = await openNbd({ ...options, readOnly: true });
        expect(device.node.info).toMatchObject({
          size: MiB,
          details: { export: "a disk/№1", replies: "structured" },
        });
        expect(await map(device)).toEqual([[0, MiB, ExtentFlag.Zero]]);
      }
      await expect(openNbd({ uri: server.uri })).rejects.toMatchObject({ code: "ENOENT" });
    });
  });

  test("a read-only export is refused to writers", async () => {
    await using(qemuNbd("raw", MiB, "--read-only"), async (server) => {
      await expect(openNbd({ uri: server.uri })).rejects.toMatchObject({ code: "EROFS" });
      await using device = await openNbd({ uri: server.uri, readOnly: true });
      expect(await readBytes(device.edge, 0, 512)).toEqual(bytes(0, 512));
    });
  });

  test("one client at a time, and many", async () => {
    for (const shared of ["1", "2", "8"]) {
      await using(qemuNbd("raw", 4 * MiB, `--shared=${shared}`), async (server) => {
        await using device = await openNbd({ uri: server.uri });
        const all = Array.from({ length: 64 }, (_write, index) => index);
        await Promise.all(
          all.map(async (index) => device.edge.write(index * 65_536, [bytes(index + 1, 65_536)])),
        );
        await device.edge.flush();
        for (const index of all) {
          expect(await readBytes(device.edge, index * 65_536, 1)).toEqual(bytes(index + 1, 1));
        }
      });
    }
  });

  test("requests larger than a transfer are cut, and vectors of many pieces go as they are", async () => {
    await using(qemuNbd("raw", 80 * MiB), async (server) => {
      await using device = await openNbd({ uri: server.uri });
      const pieces = Array.from({ length: 700 }, (_piece, index) => bytes(index % 251, 100 * 1024));
      await device.edge.write(1, pieces);
      const back = Array.from({ length: 7000 }, () => Buffer.alloc(10 * 1024));
      await device.edge.read(1, back);
      expect(Buffer.concat(back).equals(Buffer.concat(pieces))).toBe(true);
    });
  });
});

describe.skipIf(lacksPeers("qemu-nbd", "qemu-img"))("TLS with qemu-nbd", () => {
  const server = new PeerServer("qemu-nbd", (directory) => [
    "-f",
    "raw",
    "--object",
    `tls-creds-x509,id=tls0,endpoint=server,verify-peer=on,dir=${path.join(directory, "server")}`,
    "--tls-creds",
    "tls0",
    path.join(directory, "disk.raw"),
  ]);
  const client = path.join(server.directory, "pki");

  beforeAll(async () => {
    await makeCertificates(client);
    await run(
      "/bin/sh",
      ["-c", "cp -r pki server && mkdir other anonymous && cp pki/ca-cert.pem anonymous"],
      {
        cwd: server.directory,
      },
    );
    await makeCertificates(path.join(server.directory, "other"));
    await run(requirePeer("qemu-img"), [
      "create",
      "-q",
      "-f",
      "raw",
      path.join(server.directory, "disk.raw"),
      "4M",
    ]);
    await server.start();
  });
  afterAll(() => server.stop());

  test("both sides know each other, by directory, by URI and by files", async () => {
    const files = { ca: "ca-cert.pem", certificate: "client-cert.pem", key: "client-key.pem" };
    const tls = Object.fromEntries(
      Object.entries(files).map(([name, file]) => [name, path.join(client, file)]),
    );
    for (const options of [
      { server: { path: server.socket }, tls: { directory: client } },
      { uri: `nbds+unix:///?socket=${server.socket}&tls-certificates=${client}` },
      { uri: `nbds+unix:///?socket=${server.socket}`, tls: { ...tls, serverName: "localhost" } },
    ]) {
      await using device = await openNbd({ ...options, connections: 4 });
      const pieces = Array.from({ length: 16 }, (_piece, index) => bytes(index + 1, 65_536));
      await Promise.all(pieces.map(async (piece, index) => device.edge.write(index * 65_536, [piece])));
      await device.edge.flush();
      expect(Buffer.compare(await readBytes(device.edge, 0, MiB), Buffer.concat(pieces))).toBe(0);
      expect(device.node.info.details).toMatchObject({ tls: true });
    }
  });

  test("a wrong authority, a wrong name, no certificate and no TLS are refused", async () => {
    const uri = `nbds+unix:///?socket=${server.socket}`;
    const other = path.join(server.directory, "other");
    const anonymous = path.join(server.directory, "anonymous");
    await expect(openNbd({ uri, tls: { directory: other } })).rejects.toMatchObject({ operation: "open" });
    await expect(openNbd({ uri, tls: { directory: client, serverName: "elsewhere" } })).rejects.toMatchObject(
      { operation: "open" },
    );
    await expect(openNbd({ uri, tls: { directory: anonymous } })).rejects.toMatchObject({
      operation: "open",
    });
    await expect(openNbd({ uri })).rejects.toMatchObject({ operation: "open" });
    await expect(openNbd({ uri: server.uri })).rejects.toMatchObject({
      message: expect.stringContaining("nbds://"),
    });
    const missing = { directory: path.join(server.directory, "nowhere") };
    await expect(openNbd({ uri, tls: missing })).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("a server without TLS is not talked to in the clear", async () => {
    await using(qemuNbd("raw", MiB), async (plain) => {
      const uri = `nbds+unix:///?socket=${plain.socket}`;
      await expect(openNbd({ uri, tls: { directory: client } })).rejects.toMatchObject({ operation: "open" });
    });
  });
});

describe.skipIf(lacksPeers("nbdkit"))("nbdkit", () => {
  test("errors of the server are errors of the request, and nothing else", async () => {
    await using(
      nbdkit("--filter=error", "memory", "1M", "error-pwrite=ENOSPC", "error-pwrite-rate=100%"),
      async (server) => {
        await using device = await openNbd({ uri: server.uri });
        await expect(async () => device.edge.write(512, [bytes(1, 512)])).rejects.toMatchObject({
          code: "ENOSPC",
          operation: "write",
          offset: 512,
          length: 512,
        });
        expect(await readBytes(device.edge, 0, 1024)).toEqual(bytes(0, 1024));
      },
    );
  });

  test("a slow server is waited for", async () => {
    await using(
      nbdkit("--filter=delay", "memory", "1M", "delay-read=50ms", "delay-write=50ms"),
      async (server) => {
        await using device = await openNbd({ uri: server.uri });
        await Promise.all(
          Array.from({ length: 16 }, async (_write, index) =>
            device.edge.write(index * 512, [bytes(index + 1, 512)]),
          ),
        );
        expect(await readBytes(device.edge, 15 * 512, 512)).toEqual(bytes(16, 512));
      },
    );
  });

  test("without zeroes and extents, what is missing is announced and emulated", async () => {
    const filters = ["--filter=nozero", "--filter=noextents"];
    await using(nbdkit(...filters, "memory", "1M", "zeromode=none"), async (server) => {
      await using device = await openNbd({ uri: server.uri });
      expect(device.node.info.can).toMatchObject({ writeZeroes: "no" });
      await device.edge.write(0, [bytes(1, 4096)]);
      await device.edge.writeZeroes(1024, 1024);
      expect(await readBytes(device.edge, 1000, 1100)).toEqual(
        joined(bytes(1, 24), bytes(0, 1024), bytes(1, 52)),
      );
      expect(await map(device)).toEqual([[0, MiB, ExtentFlag.Data]]);
    });
  });

  test("block sizes are obeyed", async () => {
    const sizes = ["blocksize-minimum=4096", "blocksize-preferred=65536", "blocksize-maximum=128k"];
    const policy = ["--filter=blocksize-policy", "memory", "1M", ...sizes, "blocksize-error-policy=error"];
    await using(nbdkit(...policy), async (server) => {
      await using device = await openNbd({ uri: server.uri });
      expect(device.node.info).toMatchObject({
        align: { read: 4096, write: 4096 },
        max: { transfer: 131_072 },
      });
      const content = Buffer.from(Array.from({ length: 300_001 }, (_byte, index) => index % 253));
      await device.edge.write(777, [content]);
      expect(Buffer.compare(await readBytes(device.edge, 777, content.byteLength), content)).toBe(0);
      await device.edge.writeZeroes(1000, 100_000);
      await device.edge.discard(500, 10_000);
      expect(await readBytes(device.edge, 50_000, 9)).toEqual(bytes(0, 9));
    });
  });

  test("a file with holes, over TCP", async () => {
    const server = new PeerServer("nbdkit", (directory) => ["file", path.join(directory, "disk.raw")]);
    await run("/bin/sh", ["-c", "truncate -s 1M disk.raw"], { cwd: server.directory });
    await using(server.start(), async () => {
      const relay = net.createServer((socket) => {
        const onward = net.connect(server.socket);
        socket.pipe(onward).pipe(socket);
        for (const each of [socket, onward]) each.on("error", () => undefined);
      });
      await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
      const address = relay.address();
      const port = typeof address === "object" ? address?.port : undefined;
      await using device = await openNbd({ server: { host: "127.0.0.1", port } });
      relay.close();
      expect(device.node.info.label).toBe(`nbd://127.0.0.1:${port}/`);
      await device.edge.write(65_536, [bytes(5, 4096)]);
      await device.edge.flush();
      expect(await map(device)).toEqual([
        [0, 65_536, ExtentFlag.Zero],
        [65_536, 4096, ExtentFlag.Data],
        [69_632, MiB - 69_632, ExtentFlag.Zero],
      ]);
    });
  });

  test("a server that ends with its last client ends with this one", async () => {
    await using(nbdkit("--filter=exitlast", "memory", "1M"), async (server) => {
      const device = await openNbd({ uri: server.uri });
      await device.edge.write(0, [bytes(1, 512)]);
      await device.graph.closeAll();
      await server.hasEnded();
    });
  });
});

test("nobody listens", async () => {
  const nowhere = path.join(import.meta.dirname, "no-such-socket");
  rmSync(nowhere, { force: true });
  await expect(openNbd({ uri: `nbd+unix:///?socket=${nowhere}` })).rejects.toMatchObject({
    code: "ENOENT",
    // Who reads it has the address in front of him once, not once for every layer that passes the error on.
    message: `cannot open nbd+unix:///?socket=${nowhere}: there is no such socket (ENOENT); is the server running there?`,
  });
  // A host with several addresses fails with an error for each.
  await expect(openNbd({ uri: "nbd://localhost:1" })).rejects.toMatchObject({
    code: "EIO",
    message:
      "cannot open nbd://localhost:1/: nobody listens there (ECONNREFUSED); is the server running there?",
  });
});
