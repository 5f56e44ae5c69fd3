import { closeSync, ftruncateSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import path from "node:path";
import { BlockGraph, createDefaultRegistry } from "@blockmirror/block-driver";
import { lacksPeers, makeCertificates, run } from "@blockmirror/peers";
import { describe, expect, test } from "vitest";
import { NbdServer, type NbdServerOptions } from "../../src/index.ts";
import { onCleanup, pattern, temporaryDirectory } from "./support/serving.ts";

const MiB = 1024 * 1024;

async function serveFile(tls?: NbdServerOptions["tls"]) {
  const directory = temporaryDirectory();
  const image = path.join(directory, "image.raw");
  const fd = openSync(image, "w");
  ftruncateSync(fd, 16 * MiB);
  writeSync(fd, pattern(3 * MiB), 0, 3 * MiB, MiB);
  closeSync(fd);
  const graph = new BlockGraph({ registry: createDefaultRegistry() });
  const file = { driver: "file", filename: image, locking: "off" };
  const node = await graph.open({ driver: "raw", file });
  const server = new NbdServer({ graph, ...(tls !== undefined && { tls }) });
  onCleanup(() => graph.closeAll());
  onCleanup(() => server.close());
  server.addExport({ name: "disk", node, writable: true });
  await server.listen({ path: path.join(directory, "s") });
  await server.listen({ host: "127.0.0.1", port: 0 });
  const [unix = "", tcp = ""] = server.uris("disk");
  return { directory, image, unix, tcp, server };
}

describe.skipIf(lacksPeers("nbdinfo", "nbdcopy", "qemu-img", "qemu-io", "fio"))("real clients", () => {
  test("nbdinfo finds the export, its size, its abilities and its holes", async () => {
    const { unix } = await serveFile();
    const info = JSON.parse((await run("nbdinfo", ["--json", unix])).stdout);
    expect(info.exports[0]).toMatchObject({
      "export-size": 16 * MiB,
      can_multi_conn: true,
      is_read_only: false,
    });
    expect((await run("nbdinfo", ["--list", unix.replace("disk", "")])).stdout).toContain('export="disk"');
    const map = JSON.parse((await run("nbdinfo", ["--map", "--json", unix])).stdout);
    expect(map.map(({ offset, length, type }: Record<string, number>) => [offset, length, type])).toEqual([
      [0, MiB, 3],
      [MiB, 3 * MiB, 0],
      [4 * MiB, 12 * MiB, 3],
    ]);
  });

  test("nbdcopy takes the disk out and puts one in", async () => {
    const { directory, image, unix, tcp } = await serveFile();
    const copy = path.join(directory, "copy.raw");
    await run("nbdcopy", [unix, copy]);
    expect(readFileSync(copy).equals(readFileSync(image))).toBe(true);
    const other = Buffer.concat([pattern(5 * MiB, 9), Buffer.alloc(6 * MiB), pattern(5 * MiB, 11)]);
    writeFileSync(copy, other);
    await run("nbdcopy", ["--flush", copy, tcp]);
    expect(readFileSync(image).equals(other)).toBe(true);
  });

  test("qemu-img compares, converts and maps; qemu-io writes", async () => {
    const { directory, image, unix, tcp } = await serveFile();
    await run("qemu-img", ["compare", "-f", "raw", "-F", "raw", unix, image]);
    const copy = path.join(directory, "copy.qcow2");
    await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", tcp, copy]);
    await run("qemu-io", [
      "-f",
      "raw",
      "-c",
      "write -P 0x55 5M 1M",
      "-c",
      "write -z -u 1M 64k",
      "-c",
      "discard 2M 64k",
      "-c",
      "flush",
      "-c",
      "read -P 0x55 5M 1M",
      "-c",
      "read -P 0 1M 64k",
      unix,
    ]);
    await run("qemu-img", ["compare", "-f", "raw", "-F", "raw", tcp, image]);
    await run("qemu-img", ["convert", "-n", "-f", "qcow2", "-O", "raw", copy, unix]);
    await run("qemu-img", ["compare", "-f", "qcow2", "-F", "raw", copy, image]);
    const map = JSON.parse((await run("qemu-img", ["map", "-f", "raw", "--output=json", unix])).stdout);
    expect(map[0]).toMatchObject({ start: 0, data: false, zero: true });
  });

  test("fio verifies what it wrote, with many requests in flight", async () => {
    const { directory, unix } = await serveFile();
    await run(
      "fio",
      [
        "--name=v",
        "--ioengine=nbd",
        `--uri=${unix}`,
        "--rw=randwrite",
        "--bs=4k-64k",
        "--size=16M",
        "--iodepth=32",
        "--verify=crc32c",
        "--do_verify=1",
        "--verify_state_save=0",
      ],
      { cwd: directory },
    );
  });

  test("TLS: with the right authority all is well, without TLS nothing is", async () => {
    const directory = temporaryDirectory();
    const at = (name: string): string => path.join(directory, name);
    await makeCertificates(directory);
    const tls = {
      cert: readFileSync(at("server-cert.pem")),
      key: readFileSync(at("server-key.pem")),
      ca: readFileSync(at("ca-cert.pem")),
      verifyClient: true,
    };
    const { tcp, image, server } = await serveFile(tls);
    const copy = at("copy.raw");
    await run("nbdcopy", [`${tcp}?tls-certificates=${directory}`, copy]);
    expect(readFileSync(copy).equals(readFileSync(image))).toBe(true);
    const [, address] = server.addresses;
    const port = address !== undefined && "port" in address ? address.port : 0;
    await run("qemu-img", [
      "compare",
      "--object",
      `tls-creds-x509,id=t,dir=${directory},endpoint=client`,
      "--image-opts",
      `driver=nbd,host=127.0.0.1,port=${port},export=disk,tls-creds=t`,
      `driver=file,filename=${image}`,
    ]);
    await expect(run("nbdinfo", [tcp.replace("nbds:", "nbd:")])).rejects.toMatchObject({
      code: "PEER_FAILED",
    });
    // Without a certificate of its own a client that is verified gets nowhere.
    await expect(run("nbdinfo", [tcp])).rejects.toMatchObject({ code: "PEER_FAILED" });
  });
});
