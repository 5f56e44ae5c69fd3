import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BlockGraph, createDefaultRegistry } from "@blockmirror/block-driver";
import { lacksPeers, StorageDaemon } from "@blockmirror/peers";
import { LinkedPeer } from "../../src/attach/linked-peer.ts";
import { PeerMirror } from "../../src/attach/peer-mirror.ts";
import type { NewJobRequest } from "../../src/job-source/job-source.ts";
import { FakePeer, settle } from "../support/fake-peer.ts";

const NODES = {
  "query-named-block-nodes": () => [
    { "node-name": "disk", drv: "raw", image: { "virtual-size": 4096 } },
    { "node-name": "#block1", drv: "raw", image: { filename: "/images/base.raw" } },
    { "node-name": "#block2", drv: "raw", image: { filename: "base.raw" } },
  ],
};

const COMMANDS = {
  ...NODES,
  "blockdev-add": () => ({}),
  "blockdev-del": () => ({}),
  "blockdev-mirror": () => ({}),
  "job-dismiss": () => ({}),
};

const REQUEST: NewJobRequest = {
  id: "m0",
  sourcePath: "disk",
  targetPath: "/copies/disk.raw",
  sync: "full",
  existing: true,
  speed: 7,
};

describe("looking at a request", () => {
  const mirror = new PeerMirror(new FakePeer(COMMANDS));

  it("names the nodes there are when the source is none of them", async () => {
    const { problems } = await mirror.validate({ ...REQUEST, sourcePath: "disc" });
    expect(problems).toEqual([{ field: "sourcePath", message: "no such node; there are disk" }]);
  });

  it("looks for the node whose users are to be switched, too", async () => {
    const { problems } = await mirror.validate({ ...REQUEST, replaces: "throttle" });
    expect(problems).toEqual([{ field: "replaces", message: "no such node; there are disk" }]);
  });

  it("wants a target that means something to the peer", async () => {
    const { problems } = await mirror.validate({ ...REQUEST, targetPath: "copy.raw" });
    expect(problems).toMatchObject([{ field: "targetPath" }]);
  });

  it("does not promise to make an export", async () => {
    const { problems } = await mirror.validate({ ...REQUEST, targetPath: "nbd://host/x", existing: false });
    expect(problems).toMatchObject([{ field: "targetPath" }]);
  });

  it("knows a machine's drives by their names, and offers them first", async () => {
    const drives = [
      { device: "d0", inserted: { "node-name": "#block1" } },
      { device: "", qdev: "/machine/vd", inserted: { "node-name": "disk" } },
      { device: "cd" },
    ];
    const machine = new PeerMirror(new FakePeer({ ...COMMANDS, "query-block": () => drives }));
    expect(await machine.sourceNames()).toEqual(["d0", "disk"]);
    expect((await machine.validate({ ...REQUEST, sourcePath: "d0" })).problems).toEqual([]);
    expect((await machine.validate({ ...REQUEST, sourcePath: "cd" })).problems).toMatchObject([
      { field: "sourcePath", message: "no such node; there are d0, disk" },
    ]);
  });

  it("offers images before what they are stored in, and nothing that has no name of its own", async () => {
    const nodes = ["file:store", "qcow2:disk", "raw:#block2", "throttle:slow"].map((text) => {
      const [drv, name] = text.split(":");
      return { "node-name": name, drv };
    });
    const peer = new FakePeer({ "query-named-block-nodes": () => nodes });
    expect(await new PeerMirror(peer).sourceNames()).toEqual(["disk", "slow", "store"]);
  });

  it("refuses a new target that would lack what the job does not copy", async () => {
    const overlay = {
      nodes: [
        { id: 1, type: "block-driver", name: "disk" },
        { id: 2, type: "block-driver", name: "#block1" },
        { id: 3, type: "block-driver", name: "#block2" },
      ],
      edges: [{ parent: 1, child: 2, name: "backing", perm: [], "shared-perm": [] }],
    };
    expect(await problemsOfNew({ sync: "none" }, overlay)).toMatchObject([{ field: "existing" }]);
    expect(await problemsOfNew({ sync: "top" }, overlay)).toEqual([
      { field: "targetPath", message: expect.stringMatching(/cannot be raw.*set Format to qcow2$/u) },
    ]);
    expect(await problemsOfNew({ sync: "top", targetFormat: "qcow2" }, overlay)).toEqual([]);
    // Its name would mean something else in another directory.
    const relative = { nodes: overlay.nodes, edges: [{ parent: 1, child: 3, name: "backing" }] };
    expect(await problemsOfNew({ sync: "top", targetFormat: "qcow2" }, relative)).toMatchObject([
      { field: "existing", message: expect.stringContaining("cannot record base.raw") },
    ]);
    // Of an image that stands on nothing the top layer is everything.
    expect(await problemsOfNew({ sync: "top" }, { nodes: overlay.nodes, edges: [] })).toEqual([]);
    expect(await problemsOfNew({ sync: "top", targetFormat: "qcow2" }, undefined)).toMatchObject([
      { field: "existing", message: expect.stringContaining("does not tell") },
    ]);
  });

  it("says what an existing target loses", async () => {
    expect(await mirror.validate(REQUEST)).toEqual({
      problems: [],
      destroys: { target: "/copies/disk.raw" },
    });
  });
});

describe("starting a mirror on a peer", () => {
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(path.join(tmpdir(), "blockmirror-attach-"));
  });

  afterEach(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  it("hands every option on in the peer's words, and leaves to it what was not chosen", async () => {
    const peer = new FakePeer(COMMANDS);
    await new PeerMirror(peer).start({
      ...REQUEST,
      granularity: 4096,
      bufferSize: 2 ** 20,
      copyMode: "write-blocking",
      onSourceError: "stop",
      onTargetError: "enospc",
      unmap: false,
      replaces: "throttled",
    });
    expect(mirrorOf(peer)).toMatchObject({
      replaces: "throttled",
      granularity: 4096,
      "buf-size": 2 ** 20,
      "copy-mode": "write-blocking",
      "on-source-error": "stop",
      "on-target-error": "enospc",
    });
    expect(peer.told[0]).toMatchObject([
      "blockdev-add",
      { discard: "ignore", file: { driver: "file", discard: "ignore" } },
    ]);
    const plain = new FakePeer(COMMANDS);
    await new PeerMirror(plain).start(REQUEST);
    for (const option of [
      "buf-size",
      "copy-mode",
      "on-source-error",
      "on-target-error",
      "unmap",
      "replaces",
    ]) {
      expect(mirrorOf(plain)).not.toHaveProperty(option);
    }
  });

  it("opens the target and starts the job", async () => {
    const peer = new FakePeer(COMMANDS);
    expect(await new PeerMirror(peer).start(REQUEST)).toBe("m0");
    expect(peer.told).toEqual([
      [
        "blockdev-add",
        {
          driver: "raw",
          "node-name": "m0-target",
          discard: "unmap",
          file: { driver: "file", filename: "/copies/disk.raw", discard: "unmap" },
        },
      ],
      [
        "blockdev-mirror",
        {
          "job-id": "m0",
          device: "disk",
          target: "m0-target",
          sync: "full",
          speed: 7,
          "auto-dismiss": false,
        },
      ],
    ]);
  });

  it("never writes raw bytes over a qcow2 image", async () => {
    const target = path.join(directory, "copy.qcow2");
    writeFileSync(target, Buffer.from("514649fb00000003", "hex"));
    const peer = new FakePeer(COMMANDS);
    await new PeerMirror(peer).start({ ...REQUEST, targetPath: target });
    expect(peer.told[0]).toMatchObject(["blockdev-add", { driver: "qcow2" }]);
  });

  it.each([
    ["nbd://host/vol", { server: { type: "inet", host: "host", port: "10809" }, export: "vol" }],
    ["nbd://host:1234/vol%20a", { server: { type: "inet", host: "host", port: "1234" }, export: "vol a" }],
    ["nbd+unix:///vol?socket=/run/n.sock", { server: { type: "unix", path: "/run/n.sock" }, export: "vol" }],
  ])("reaches %s", async (targetPath, file) => {
    const peer = new FakePeer(COMMANDS);
    await new PeerMirror(peer).start({ ...REQUEST, targetPath });
    expect(peer.told[0]).toMatchObject(["blockdev-add", { file: { driver: "nbd", ...file } }]);
  });

  it("takes the target away again when the job is refused", async () => {
    const peer = new FakePeer({
      ...COMMANDS,
      "blockdev-mirror": () => {
        throw new Error("Need a root block node");
      },
    });
    await expect(new PeerMirror(peer).start(REQUEST)).rejects.toThrow("Need a root block node");
    expect(peer.told.at(-1)).toEqual(["blockdev-del", { "node-name": "m0-target" }]);
  });

  it("takes the target away when the job has ended", async () => {
    const peer = new FakePeer(COMMANDS);
    await new PeerMirror(peer).start(REQUEST);
    peer.emit("JOB_STATUS_CHANGE", { id: "m0", status: "concluded" });
    await settle();
    expect(peer.told.at(-1)).toEqual(["blockdev-del", { "node-name": "m0-target" }]);
  });

  it("creates the file first, by a job that is waited for", async () => {
    const peer = new FakePeer({
      ...COMMANDS,
      "blockdev-create": () => {
        queueMicrotask(() => peer.emit("JOB_STATUS_CHANGE", { id: "m0-create", status: "concluded" }));
        return {};
      },
      "query-jobs": () => [{ id: "m0-create", type: "create", status: "concluded" }],
    });
    await new PeerMirror(peer).start({ ...REQUEST, existing: false });
    expect(peer.told.map(([command]) => command)).toEqual([
      "blockdev-create",
      "job-dismiss",
      "blockdev-add",
      "blockdev-mirror",
    ]);
    expect(peer.told[0]?.[1]).toMatchObject({
      options: { driver: "file", filename: "/copies/disk.raw", size: 4096 },
    });
  });

  it("goes no further when the file cannot be created", async () => {
    const peer = new FakePeer({
      ...COMMANDS,
      "blockdev-create": () => {
        queueMicrotask(() => peer.emit("JOB_STATUS_CHANGE", { id: "m0-create", status: "concluded" }));
        return {};
      },
      "query-jobs": () => [{ id: "m0-create", type: "create", status: "concluded", error: "No space" }],
    });
    await expect(new PeerMirror(peer).start({ ...REQUEST, existing: false })).rejects.toThrow("No space");
    expect(peer.told.map(([command]) => command)).toEqual(["blockdev-create", "job-dismiss"]);
  });

  describe("a file that it had created for a job that is refused", () => {
    let targetPath: string;
    let peer: FakePeer;

    beforeEach(() => {
      targetPath = path.join(directory, "copy.raw");
      peer = new FakePeer({
        ...COMMANDS,
        "blockdev-create": () => {
          writeFileSync(targetPath, "");
          truncateSync(targetPath, 2 ** 20);
          queueMicrotask(() => peer.emit("JOB_STATUS_CHANGE", { id: "m0-create", status: "concluded" }));
          return {};
        },
        "query-jobs": () => [{ id: "m0-create", type: "create", status: "concluded" }],
        "blockdev-mirror": refuseAsQemu,
      });
    });

    async function refuse(): Promise<void> {
      const start = new PeerMirror(peer).start({ ...REQUEST, targetPath, existing: false });
      await expect(start).rejects.toThrow("Need a root block node");
    }

    it("goes with its node", async () => {
      peer.answer("blockdev-del", () => {
        expect(existsSync(targetPath)).toBe(true);
        return {};
      });
      await refuse();
      expect(peer.told.at(-1)).toEqual(["blockdev-del", { "node-name": "m0-target" }]);
      expect(existsSync(targetPath)).toBe(false);
    });

    it("goes when it cannot be opened, or not be created in full", async () => {
      peer.answer("blockdev-add", refuseAsQemu);
      await refuse();
      expect(existsSync(targetPath)).toBe(false);
      peer.answer("blockdev-create", () => {
        writeFileSync(targetPath, "");
        return refuseAsQemu();
      });
      await refuse();
      expect(existsSync(targetPath)).toBe(false);
    });

    it.each([
      ["another took its place", () => (rmSync(targetPath), writeFileSync(targetPath, "other"))],
      ["somebody wrote to it", () => writeFileSync(targetPath, Buffer.alloc(4096, 1), { flag: "r+" })],
    ])("stays when %s", async (_what, meddle) => {
      peer.answer("blockdev-del", () => {
        meddle();
        return {};
      });
      await refuse();
      expect(existsSync(targetPath)).toBe(true);
    });

    it("stays when somebody uses it", async () => {
      const graph = new BlockGraph({ registry: createDefaultRegistry() });
      peer.answer("blockdev-add", async () => {
        const node = await graph.open({ driver: "file", filename: targetPath });
        graph.attach(node, { name: "guest", uses: ["read"], shares: ["read"] });
        return {};
      });
      await refuse();
      expect(existsSync(targetPath)).toBe(true);
      await graph.closeAll();
    });
  });

  it("never has a file made where one is: the peer would empty it", async () => {
    const targetPath = path.join(directory, "precious.raw");
    writeFileSync(targetPath, "precious");
    const peer = new FakePeer({ ...COMMANDS, "blockdev-create": () => ({}) });
    const request = { ...REQUEST, targetPath, existing: false };
    const mirror = new PeerMirror(peer);
    expect((await mirror.validate(request)).problems).toEqual([
      { field: "targetPath", message: "exists; set Existing to yes to overwrite it, or name another" },
    ]);
    await expect(mirror.start(request)).rejects.toThrow("exists; set Existing to yes");
    expect(peer.told).toEqual([]);
    expect(readFileSync(targetPath, "utf8")).toBe("precious");
  });
});

it.skipIf(lacksPeers("qemu-storage-daemon"))(
  "qemu-storage-daemon takes every option of the form, and leads the users of the replaced node to the copy",
  async () => {
    const directory = mkdtempSync(path.join(tmpdir(), "blockmirror-attach-"));
    const daemon = await StorageDaemon.start();
    const peer = new LinkedPeer(daemon.qmpSocketPath);
    try {
      const [filename, targetPath] = [path.join(directory, "disk.raw"), path.join(directory, "copy.raw")];
      writeFileSync(filename, Buffer.alloc(2 ** 20, 7));
      const file = { driver: "file", filename };
      await daemon.execute("blockdev-add", { driver: "raw", "node-name": "disk", file });
      await daemon.execute("object-add", { "qom-type": "throttle-group", id: "group" });
      const filter = { "node-name": "filter", "throttle-group": "group", file: "disk" };
      await daemon.execute("blockdev-add", { driver: "throttle", ...filter });
      const heard = eventOf(peer, "BLOCK_JOB_READY");
      const completed = eventOf(peer, "BLOCK_JOB_COMPLETED");
      await connected(peer);
      await new PeerMirror(peer).start({
        ...REQUEST,
        sourcePath: "filter",
        targetPath,
        existing: false,
        speed: 0,
        granularity: 4096,
        bufferSize: 2 ** 20,
        copyMode: "write-blocking",
        onSourceError: "stop",
        onTargetError: "enospc",
        unmap: false,
        replaces: "disk",
      });
      await heard;
      await daemon.execute("job-complete", { id: "m0" });
      await completed;
      expect(readFileSync(targetPath)).toEqual(Buffer.alloc(2 ** 20, 7));
      const nodes = JSON.stringify(await peer.execute("query-named-block-nodes", { flat: false }));
      expect(nodes).toContain(targetPath);
    } finally {
      await peer.close();
      await daemon.stop();
      rmSync(directory, { recursive: true, force: true });
    }
  },
);

it.skipIf(lacksPeers("qemu-storage-daemon"))(
  "qemu-storage-daemon's refusal of a job leaves no file behind",
  async () => {
    const directory = mkdtempSync(path.join(tmpdir(), "blockmirror-attach-"));
    const daemon = await StorageDaemon.start();
    const peer = new LinkedPeer(daemon.qmpSocketPath);
    try {
      const [filename, targetPath] = [path.join(directory, "disk.raw"), path.join(directory, "copy.raw")];
      writeFileSync(filename, Buffer.alloc(2 ** 20, 7));
      const file = { driver: "file", filename };
      await daemon.execute("blockdev-add", { driver: "raw", "node-name": "disk", file });
      await connected(peer);
      const request = { ...REQUEST, targetPath, existing: false, replaces: "nowhere" };
      await expect(new PeerMirror(peer).start(request)).rejects.toThrow("nowhere");
      expect(existsSync(targetPath)).toBe(false);
    } finally {
      await peer.close();
      await daemon.stop();
      rmSync(directory, { recursive: true, force: true });
    }
  },
);

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-img", "qemu-io"))(
  "a copy of the top layer on qemu-storage-daemon",
  () => {
    let directory: string;
    let daemon: StorageDaemon;
    let peer: LinkedPeer;

    beforeEach(async () => {
      directory = mkdtempSync(path.join(tmpdir(), "blockmirror-attach-"));
      qemu("qemu-img", "create", "-q", "-f", "raw", "base.raw", "1M");
      qemu("qemu-io", "-f", "raw", "-c", "write -q -P 7 0 1M", "base.raw");
      qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "top.qcow2");
      qemu("qemu-io", "-f", "qcow2", "-c", "write -q -P 9 64k 64k", "top.qcow2");
      daemon = await StorageDaemon.start();
      peer = new LinkedPeer(daemon.qmpSocketPath);
      const file = { driver: "file", filename: path.join(directory, "top.qcow2") };
      await daemon.execute("blockdev-add", { driver: "qcow2", "node-name": "top", file });
      await daemon.execute("object-add", { "qom-type": "throttle-group", id: "group" });
      const filter = { "node-name": "disk", "throttle-group": "group", file: "top" };
      await daemon.execute("blockdev-add", { driver: "throttle", ...filter });
      await connected(peer);
    });

    afterEach(async () => {
      await peer.close();
      await daemon.stop();
      rmSync(directory, { recursive: true, force: true });
    });

    function qemu(program: string, ...args: readonly string[]): string {
      return execFileSync(program, args, { cwd: directory, encoding: "utf8" });
    }

    it("is an overlay of what the source stands on, and shows what the source does", async () => {
      const [ready, completed] = [eventOf(peer, "BLOCK_JOB_READY"), eventOf(peer, "BLOCK_JOB_COMPLETED")];
      const request: NewJobRequest = {
        ...REQUEST,
        targetPath: path.join(directory, "copy.qcow2"),
        existing: false,
        sync: "top",
        detectZeroes: true,
      };
      const mirror = new PeerMirror(peer);
      expect((await mirror.validate(request)).problems).toEqual([]);
      await mirror.start({ ...request, speed: 0 });
      await ready;
      await daemon.execute("job-complete", { id: "m0" });
      await completed;
      await daemon.stop();
      expect(JSON.parse(qemu("qemu-img", "info", "--output=json", "copy.qcow2"))).toMatchObject({
        format: "qcow2",
        "backing-filename": path.join(directory, "base.raw"),
        "backing-filename-format": "raw",
      });
      qemu("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", "top.qcow2", "copy.qcow2");
      expect(qemu("qemu-img", "map", "copy.qcow2").split("\n").slice(1, 4)).toMatchObject([
        expect.stringContaining("base.raw"),
        expect.stringContaining("copy.qcow2"),
        expect.stringContaining("base.raw"),
      ]);
    });

    it("into an export is as good as what its server made of it", async () => {
      qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "far.qcow2");
      const server = await StorageDaemon.start();
      const file = { driver: "file", filename: path.join(directory, "far.qcow2") };
      const socket = path.join(directory, "far.sock");
      const addr = { type: "unix", data: { path: socket } };
      await server.execute("blockdev-add", { driver: "qcow2", "node-name": "far", file });
      await server.execute("nbd-server-start", { addr });
      await server.execute("block-export-add", { type: "nbd", id: "e", "node-name": "far", writable: true });
      const [ready, completed] = [eventOf(peer, "BLOCK_JOB_READY"), eventOf(peer, "BLOCK_JOB_COMPLETED")];
      const targetPath = `nbd+unix:///far?socket=${socket}`;
      await new PeerMirror(peer).start({ ...REQUEST, targetPath, sync: "top", speed: 0 });
      await ready;
      await daemon.execute("job-complete", { id: "m0" });
      await completed;
      await daemon.stop();
      await server.stop();
      qemu("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", "top.qcow2", "far.qcow2");
    });

    it("is refused into an image that stands on nothing, which is left as it was", async () => {
      const targetPath = path.join(directory, "alone.qcow2");
      qemu("qemu-img", "create", "-q", "-f", "qcow2", "alone.qcow2", "1M");
      const before = readFileSync(targetPath);
      const start = new PeerMirror(peer).start({ ...REQUEST, targetPath, sync: "top" });
      await expect(start).rejects.toThrow(/stands on nothing.*base\.raw/u);
      expect(readFileSync(targetPath)).toEqual(before);
      expect(await peer.execute("query-block-jobs")).toEqual([]);
      expect(JSON.stringify(await peer.execute("query-named-block-nodes"))).not.toContain("alone.qcow2");
    });
  },
);

/** What is wrong with a request for a new target, on a peer with this block graph or one that does not tell it. */
async function problemsOfNew(changes: Partial<NewJobRequest>, graph: unknown): Promise<unknown> {
  const peer = new FakePeer({
    ...COMMANDS,
    ...(graph !== undefined && { "x-debug-query-block-graph": () => graph }),
  });
  const request = { ...REQUEST, targetPath: "/copies/new.raw", existing: false, ...changes };
  return (await new PeerMirror(peer).validate(request)).problems;
}

function refuseAsQemu(): never {
  throw new Error("Need a root block node");
}

function eventOf(peer: LinkedPeer, name: string): Promise<void> {
  return new Promise((resolve) => {
    peer.onEvent(({ event }) => {
      if (event === name) resolve();
    });
  });
}

function connected(peer: LinkedPeer): Promise<void> {
  return new Promise((resolve) => {
    const look = (): void => {
      if (peer.state === "connected") resolve();
    };
    peer.onState(look);
    look();
  });
}

function mirrorOf({ told }: FakePeer): unknown {
  return told.find(([command]) => command === "blockdev-mirror")?.[1];
}
