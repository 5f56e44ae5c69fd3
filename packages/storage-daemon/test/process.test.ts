import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile, stat, writeFile } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { ExtentList } from "@blockmirror/block-driver";
import { QmpClient } from "@blockmirror/qmp";
import { describe, expect, it, vi } from "vitest";

import { Daemon, runStorageDaemon } from "../src/index.ts";
import { afterTest, DaemonProcess, listenAt, scratch } from "./support/daemon-process.ts";
import { MIB } from "./support/images.ts";

const raw = (name: string, path: string): string =>
  `raw,node-name=${name},file.driver=file,file.filename=${path}`;

describe("a daemon by its command line", () => {
  it("carries options out in their order and ends in order when told to", async () => {
    const directory = await scratch();
    const image = join(directory, "a,b.raw");
    const socket = join(directory, "qmp.sock");
    const pidFile = join(directory, "pid");
    await writeFile(image, Buffer.alloc(MIB));
    const daemon = new DaemonProcess([
      "--blockdev",
      raw("disk", image.replaceAll(",", ",,")),
      `--blockdev={"driver":"null-co","node-name":"null","size":${MIB},"read-only":true}`,
      ...listenAt(socket),
      "--pidfile",
      pidFile,
    ]);
    const client = await daemon.connect(socket);
    expect(client.greeting.version.package).toBe("test");
    const nodes = await client.execute("query-named-block-nodes", { flat: true });
    expect(nodes.map((node) => [node["node-name"], node.ro])).toEqual(
      expect.arrayContaining([
        ["disk", false],
        ["null", true],
      ]),
    );
    expect((await stat(socket)).mode & 0o777).toBe(0o600);
    expect(await readFile(pidFile, "utf8")).toBe(`${daemon.child.pid}\n`);
    await client.execute("quit");
    expect(await client.closed).toMatchObject({ code: "QMP_CLOSED" });
    expect(await daemon.ended).toEqual({ code: 0, stdout: "", stderr: "" });
    expect([existsSync(socket), existsSync(pidFile)]).toEqual([false, false]);
  });

  it("exports nodes, and says at its end that they are gone", async () => {
    const directory = await scratch();
    const [socket, nbd] = [join(directory, "qmp.sock"), join(directory, "nbd.sock")];
    const daemon = new DaemonProcess([
      ...listenAt(socket),
      "--blockdev",
      "null-co,node-name=n,size=1048576",
      "--nbd-server",
      `addr.type=unix,addr.path=${nbd}`,
      "--export",
      "nbd,id=e,node-name=n,name=disk,writable=on",
      `--export={"type":"nbd","id":"f","node-name":"n"}`,
    ]);
    const client = await daemon.connect(socket);
    const exported = async (): Promise<string[]> =>
      (await client.execute("query-block-exports")).map(({ id }) => id);
    // The monitor is served before the options behind it have been carried out.
    for (let ids = await exported(); ids.length < 2;) ids = await exported();
    expect(await exported()).toEqual(["f", "e"]);
    expect((await stat(nbd)).mode & 0o777).toBe(0o600);
    const reader = new Daemon();
    afterTest(() => reader.close());
    const server = { type: "unix", path: nbd };
    await reader.nodes.add({ driver: "nbd", "node-name": "r", server, export: "disk" });
    expect(reader.graph.find("r")?.size).toBe(MIB);
    await reader.close();
    const events = client.events();
    daemon.child.kill("SIGTERM");
    const gone: unknown[] = [];
    for (; gone.length < 2;) gone.push((await events.next()).value?.data);
    expect(gone).toEqual([{ id: "e" }, { id: "f" }]);
    expect(await daemon.ended).toMatchObject({ code: 0, stderr: "" });
    expect(existsSync(nbd)).toBe(false);
  });

  it("makes throttle groups and nodes, and ends though their requests wait", async () => {
    const directory = await scratch();
    const [socket, nbd] = [join(directory, "qmp.sock"), join(directory, "nbd.sock")];
    const daemon = new DaemonProcess([
      "--object",
      "throttle-group,id=g,limits.bps-total=1,limits.iops-read=7,x-iops-size=4096",
      "--blockdev",
      "throttle,node-name=t,throttle-group=g,file.driver=null-co,file.size=1048576",
      "--nbd-server",
      `addr.type=unix,addr.path=${nbd}`,
      "--export",
      "nbd,id=e,node-name=t,name=disk,writable=on",
      ...listenAt(socket),
    ]);
    const client = await daemon.connect(socket);
    expect(await client.execute("qom-get", { path: "g", property: "limits" })).toMatchObject({
      "bps-total": 1,
      "iops-read": 7,
      "iops-size": 4096,
    });
    const guest = new Daemon();
    afterTest(() => guest.close());
    const server = { type: "unix", path: nbd };
    const node = await guest.nodes.add({ driver: "nbd", "node-name": "d", server, export: "disk" });
    const edge = guest.graph.attach(node, { name: "guest", uses: ["read", "write"], shares: [] });
    // A single request: each of those that a longer read is cut into has to wait for the one before.
    await edge.read(0, [Buffer.alloc(MIB / 4)]);
    // It would take twelve days.
    const waiting = Promise.resolve(edge.read(0, [Buffer.alloc(MIB)]));
    // What comes after it on the same connection is answered, so it has arrived.
    await edge.status(0, MIB, new ExtentList());
    await client.execute("quit");
    await waiting;
    expect(await daemon.ended).toMatchObject({ code: 0, stderr: "" });
  });

  it.each([
    ["throttle-group,id=g,limits.bps-total=1000,limits.bps-read=3", 1],
    ["throttle-group,limits.bps-total=1", 1],
    ["throttle-group,id=g,limits.bps-total=1M", 2],
  ])("refuses the object %s", async (object, code) => {
    const daemon = new DaemonProcess(["--object", object]);
    expect(await daemon.ended).toMatchObject({ code, stdout: "" });
  });

  it.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("ends jobs before itself on %s", async (signal) => {
    const directory = await scratch();
    const socket = join(directory, "qmp.sock");
    await writeFile(join(directory, "a"), Buffer.alloc(MIB, 1));
    await writeFile(join(directory, "b"), Buffer.alloc(MIB));
    const daemon = new DaemonProcess([
      "--blockdev",
      raw("a", join(directory, "a")),
      "--blockdev",
      raw("b", join(directory, "b")),
      ...listenAt(socket),
    ]);
    const client = await daemon.connect(socket);
    const events = client.events();
    await client.execute("blockdev-mirror", { "job-id": "j", device: "a", target: "b", sync: "full" });
    const seen: string[] = [];
    for await (const event of events) {
      if (event.event === "BLOCK_JOB_READY") daemon.child.kill(signal);
      seen.push(event.event === "JOB_STATUS_CHANGE" ? event.data.status : event.event);
      if (seen.at(-1) === "null") break;
    }
    expect(seen.slice(-4)).toEqual(["aborting", "BLOCK_JOB_CANCELLED", "concluded", "null"]);
    expect(await daemon.ended).toMatchObject({ code: 0, stderr: "" });
  });

  it("speaks on its standard input and output, without newlines, and stays when they end", async () => {
    const directory = await scratch();
    const socket = join(directory, "qmp.sock");
    const daemon = new DaemonProcess([
      "--chardev",
      "stdio,id=s",
      "--monitor",
      "chardev=s,mode=control",
      ...listenAt(socket),
    ]);
    daemon.child.stdin?.end('{"execute":"qmp_capabilities"}{"execute":"query-jobs","id":1}');
    const client = await daemon.connect(socket);
    await client.execute("quit");
    const { code, stdout } = await daemon.ended;
    expect(code).toBe(0);
    expect(
      stdout
        .trim()
        .split("\r\n")
        .map((line) => Object.keys(Object(JSON.parse(line)))),
    ).toEqual([["QMP"], ["return"], ["return", "id"]]);
  });

  it("connects to a socket that somebody else listens at", async () => {
    const path = join(await scratch(), "theirs.sock");
    const connected = new Promise<Socket>((resolve) => {
      const server = createServer(resolve).listen(path);
      afterTest(() => server.close());
    });
    const daemon = new DaemonProcess(["--chardev", `socket,id=c,path=${path}`, "--monitor", "c"]);
    const client = await QmpClient.over(await connected, "daemon");
    await client.execute("quit");
    expect((await daemon.ended).code).toBe(0);
  });

  it("listens at a descriptor that it was given", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = Object(server.address());
    const fd: unknown = Reflect.get(Object(Reflect.get(server, "_handle")), "fd");
    if (typeof fd !== "number") throw new Error("the listening socket has no descriptor");
    const daemon = new DaemonProcess(
      ["--chardev", "socket,id=c,fd=3,server=on,wait=off", "--monitor", "c"],
      [fd],
    );
    // From here on only the daemon has the socket, so only the daemon accepts.
    await new Promise((resolve) => server.close(resolve));
    const client = await daemon.connect(`127.0.0.1:${port}`);
    expect(await client.execute("query-jobs")).toEqual([]);
    await client.execute("quit");
    await daemon.ended;
  });

  it("waits for its first client when told to", async () => {
    const directory = await scratch();
    const [socket, pidFile] = [join(directory, "qmp.sock"), join(directory, "pid")];
    const daemon = new DaemonProcess([
      "--chardev",
      `socket,id=c,path=${socket},server=on,wait=on`,
      "--monitor",
      "c",
      "--pidfile",
      pidFile,
    ]);
    const client = await daemon.connect(socket);
    await client.execute("query-jobs");
    expect(existsSync(pidFile)).toBe(true);
    await client.execute("quit");
    await daemon.ended;
  });

  it("connects to its client again and again when told to", async () => {
    const socket = join(await scratch(), "qmp.sock");
    const daemon = new DaemonProcess([
      "--chardev",
      `socket,id=c,path=${socket},reconnect=1`,
      "--monitor",
      "c",
    ]);
    const [told] = await once(daemon.child.stderr ?? daemon.child, "data");
    expect(String(told)).toMatch(/chardev 'c' cannot connect, and tries again: .*ENOENT/);
    const clients = createServer({ pauseOnConnect: true }).listen(socket);
    afterTest(() => clients.close());
    // The first one hangs up on the greeting.
    const [first] = await once(clients, "connection");
    first.destroy();
    const [second] = await once(clients, "connection");
    second.resume();
    const [greeting] = await once(second, "data");
    expect(String(greeting)).toContain("QMP");
    second.destroy();
    daemon.child.kill("SIGTERM");
    const { code, stderr } = await daemon.ended;
    // A connection that was lost is none that could not be made.
    expect([code, stderr.trim().split("\n")]).toEqual([0, [expect.stringContaining("cannot connect")]]);
  });

  it.each([
    {
      given: "server=on,wait=off,reconnect=5",
      of: "'reconnect' is incompatible with socket in server listen mode",
    },
    { given: "wait=on", of: "'wait' is incompatible with socket in client connect mode" },
    { given: "reconnect=soon", of: "'reconnect' expects a number" },
  ])("refuses $given of a chardev", async ({ given, of }) => {
    const socket = join(await scratch(), "qmp.sock");
    const daemon = new DaemonProcess(["--chardev", `socket,id=c,path=${socket},${given}`, "--monitor", "c"]);
    expect(await daemon.ended).toMatchObject({ code: 2, stderr: expect.stringContaining(of) });
  });

  it("ends when told to, though its first client has not come", async () => {
    const directory = await scratch();
    const socket = join(directory, "qmp.sock");
    const daemon = new DaemonProcess([
      "--chardev",
      `socket,id=c,path=${socket},server=on,wait=on`,
      "--monitor",
      "c",
      "--pidfile",
      join(directory, "pid"),
    ]);
    while (!existsSync(socket)) await new Promise((resolve) => setTimeout(resolve, 10));
    daemon.child.kill("SIGTERM");
    expect(await daemon.ended).toEqual({ code: 0, stdout: "", stderr: "" });
    expect([existsSync(socket), existsSync(join(directory, "pid"))]).toEqual([false, false]);
  });

  it("never takes a living socket away, and replaces one that is dead", async () => {
    const path = join(await scratch(), "qmp.sock");
    const first = new DaemonProcess(listenAt(path));
    const client = await first.connect(path);
    const second = await new DaemonProcess(listenAt(path)).ended;
    expect(second).toMatchObject({ code: 1, stderr: expect.stringContaining("in use by another process") });
    expect(await client.execute("query-jobs")).toEqual([]);
    first.child.kill("SIGKILL");
    await first.ended;
    expect(existsSync(path)).toBe(true);
    const third = new DaemonProcess(listenAt(path));
    await (await third.connect(path)).execute("quit");
    expect((await third.ended).code).toBe(0);
  });

  it("does not replace what is no socket", async () => {
    const path = join(await scratch(), "file");
    await writeFile(path, "precious");
    expect(await new DaemonProcess(listenAt(path)).ended).toMatchObject({ code: 1 });
    expect(await readFile(path, "utf8")).toBe("precious");
  });

  it("refuses a pid file of a living process, and replaces one of a dead one", async () => {
    const directory = await scratch();
    const [socket, pidFile] = [join(directory, "qmp.sock"), join(directory, "pid")];
    await writeFile(pidFile, `${process.pid}\n`);
    const refused = await new DaemonProcess([...listenAt(socket), "--pidfile", pidFile]).ended;
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining(String(process.pid)) });
    expect(await readFile(pidFile, "utf8")).toBe(`${process.pid}\n`);
    await writeFile(pidFile, "999999999\n");
    const daemon = new DaemonProcess([...listenAt(socket), "--pidfile", pidFile]);
    await (await daemon.connect(socket)).execute("quit");
    expect((await daemon.ended).code).toBe(0);
  });

  it("goes to the background when everything listens", async () => {
    const directory = await scratch();
    const [socket, pidFile] = [join(directory, "qmp.sock"), join(directory, "pid")];
    const args = [...listenAt(socket), "--pidfile", pidFile, "--daemonize"];
    const foreground = await new DaemonProcess(args).ended;
    expect(foreground).toEqual({ code: 0, stdout: "", stderr: "" });
    const pid = Number(await readFile(pidFile, "utf8"));
    afterTest(() => {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has ended, as it should.
      }
    });
    const client = await QmpClient.connect(socket);
    afterTest(() => client.close());
    await client.execute("quit");
    await client.closed;
  });

  it("says in the foreground why it cannot go to the background", async () => {
    const path = join(await scratch(), "file");
    await writeFile(path, "precious");
    const { code, stderr } = await new DaemonProcess([...listenAt(path), "--daemonize"]).ended;
    expect(code).toBe(1);
    expect(stderr).toContain("not a socket");
  });

  it.each([
    [["--nonsense"], 2],
    [["stray"], 2],
    [["--blockdev"], 2],
    [["--blockdev", "raw,node-name"], 2],
    [["--blockdev", "null-co,node-name=n,read-only=perhaps"], 2],
    [["--blockdev", "null-co,node-name=n,size=much"], 2],
    [["--blockdev", "null-co,node-name=n,bogus=1"], 1],
    [["--blockdev", "nosuch,node-name=n"], 1],
    [["--blockdev", "null-co"], 1],
    [["--blockdev", "{broken"], 2],
    [["--blockdev", "file,node-name=f,filename=/nonexistent"], 1],
    [["--export", "nbd,id=e,node-name=n"], 1],
    [["--nbd-server", "addr.type=unix"], 1],
    [["--nbd-server", "path=x"], 2],
    [["--object", "secret,id=s"], 1],
    [["--monitor", "c"], 2],
    [["--chardev", "socket,id=c"], 2],
    [["--chardev", "socket,path=/x"], 2],
    [["--chardev", "pty,id=c"], 2],
    [["--chardev", "stdio,id=c", "--chardev", "stdio,id=c"], 2],
    [["--chardev", "stdio,id=c", "--monitor", "c,mode=readline"], 2],
    [["--chardev", "socket,id=c,path=/x,server=maybe"], 2],
  ])("refuses %j with one line and status %i", async (args, code) => {
    // In this process: there are many of them, and none gets as far as to listen.
    const written: string[] = [];
    const spy = vi.spyOn(process.stderr, "write").mockImplementation((text) => {
      written.push(String(text));
      return true;
    });
    try {
      expect(await runStorageDaemon(args)).toBe(code);
    } finally {
      spy.mockRestore();
    }
    expect(written.join("")).toMatch(/^blockmirror storage-daemon: [^\n]+\n$/);
  });

  it("tells its options and its version", async () => {
    const help = await new DaemonProcess(["--help"]).ended;
    expect(help).toMatchObject({ code: 0, stdout: expect.stringContaining("--blockdev") });
    const version = await new DaemonProcess(["-V"]).ended;
    expect(version).toMatchObject({ code: 0, stdout: "blockmirror storage-daemon test\n" });
  });
});
