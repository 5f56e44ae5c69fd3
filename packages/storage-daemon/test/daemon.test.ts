import { readFile } from "node:fs/promises";
import {
  BYTE_ALIGNMENT,
  DEFAULT_LIMITS,
  DRIVER_CONTRACT_VERSION,
  DriverRegistry,
  ExtentFlag,
  memoryDriver,
  option,
  optionSchema,
  rawDriver,
  READ_ONLY_CAPABILITIES,
  type BlockDriver,
} from "@blockmirror/block-driver";
import { QmpClient, type JsonObject } from "@blockmirror/qmp";
import { describe, expect, it } from "vitest";

import { createDaemonRegistry } from "../src/index.ts";
import { addPair, makeImage, MIB, rawNode } from "./support/images.ts";
import { Side } from "./support/sides.ts";

const MIRROR = { "job-id": "j", device: "src", target: "dst", sync: "full" };

/** A driver that somebody else wrote. */
const patternDriver: BlockDriver<{ readonly length: number; readonly tone: "high" | "low" }> = {
  name: "pattern",
  kind: "protocol",
  contractVersion: DRIVER_CONTRACT_VERSION,
  options: optionSchema({
    length: option.bytes("size of the disk"),
    tone: option.choice("which bytes", ["high", "low"], "low"),
  }),
  open: ({ length, tone }, { nodeName }) =>
    Promise.resolve({
      info: {
        driver: "pattern",
        label: nodeName,
        size: length,
        readOnly: true,
        align: BYTE_ALIGNMENT,
        max: DEFAULT_LIMITS,
        can: READ_ONLY_CAPABILITIES,
      },
      read: (_offset, into) => {
        for (const piece of into) piece.fill(tone === "high" ? 0xf0 : 0x0f);
      },
      status: (offset, length, extents) => {
        extents.reset(offset);
        extents.append(length, ExtentFlag.Data);
      },
      close: () => Promise.resolve(),
    }),
};

describe("drivers", () => {
  it("of other authors are nodes like others: introspected, checked, mirrored", async () => {
    await using side = await Side.ours({ registry: createDaemonRegistry().register(patternDriver) });
    const refused: readonly JsonObject[] = [
      { driver: "pattern", "node-name": "x" },
      { driver: "pattern", "node-name": "x", length: "1" },
      { driver: "pattern", "node-name": "x", length: 1, tone: "shrill" },
      { driver: "pattern", "node-name": "x", length: 1, other: 1 },
    ];
    for (const options of refused)
      expect(await side.ask("blockdev-add", options)).toEqual({ error: "GenericError" });
    await side.run("blockdev-add", { driver: "pattern", "node-name": "src", length: MIB, tone: "high" });
    await makeImage(side, "dst.raw", MIB, 0);
    await side.run("blockdev-add", rawNode(side, "dst", "dst.raw"));
    await side.run("blockdev-mirror", MIRROR);
    await side.eventsUntil((word) => word === "BLOCK_JOB_READY");
    await side.run("block-job-cancel", { device: "j" });
    await side.eventsUntil((word) => word === "null");
    expect((await readFile(side.path("dst.raw"))).equals(Buffer.alloc(MIB, 0xf0))).toBe(true);
    const schema = await side.client.execute("query-qmp-schema");
    expect(JSON.stringify(schema)).toContain('"case":"pattern"');
  });

  it("that are not registered are in no list", async () => {
    await using side = await Side.ours({
      registry: new DriverRegistry().register(rawDriver).register(memoryDriver),
    });
    const schema = JSON.stringify(await side.client.execute("query-qmp-schema"));
    expect(schema).toContain('"case":"raw"');
    expect(schema).not.toContain('"case":"null-co"');
    expect(await side.ask("blockdev-add", { driver: "null-co", "node-name": "n" })).toEqual({
      error: "GenericError",
    });
  });

  it("inject errors as blkdebug: the mirror stops, and goes on after resume", async () => {
    await using side = await Side.ours();
    await makeImage(side, "src.raw", MIB, 9);
    await makeImage(side, "dst.raw", MIB, 0);
    await side.run("blockdev-add", {
      driver: "blkdebug",
      "node-name": "src",
      image: rawNode(side, "inner", "src.raw"),
      "inject-error": [{ event: "read_aio", errno: 28, once: true }],
    });
    await side.run("blockdev-add", rawNode(side, "dst", "dst.raw"));
    await side.run("blockdev-mirror", { ...MIRROR, "on-source-error": "enospc" });
    const words = await side.eventsUntil((word) => word === "paused");
    expect(words).toEqual(["created", "running", "BLOCK_JOB_ERROR", "paused"]);
    expect(await side.client.execute("query-block-jobs")).toMatchObject([
      { "io-status": "nospace", paused: true },
    ]);
    await side.run("job-resume", { id: "j" });
    await side.eventsUntil((word) => word === "BLOCK_JOB_READY");
    await side.run("block-job-cancel", { device: "j" });
    await side.eventsUntil((word) => word === "null");
    const [source, target] = await Promise.all([
      readFile(side.path("src.raw")),
      readFile(side.path("dst.raw")),
    ]);
    expect(source.equals(target)).toBe(true);
  });

  it.each([
    { "take-child-perms": ["write"] },
    { "unshare-child-perms": ["write"] },
    { "inject-error": [{ event: "read_aio", errno: 9999 }] },
    { "inject-error": [{ event: "l2_load" }] },
  ])("refuse rules that blkdebug here cannot do: %o", async (more) => {
    await using side = await Side.ours();
    const node = { driver: "blkdebug", "node-name": "d", image: { driver: "null-co" }, ...more };
    expect(await side.ask("blockdev-add", node)).toEqual({ error: "GenericError" });
    expect(await side.client.execute("query-named-block-nodes")).toEqual([]);
  });
});

describe("nodes", () => {
  it("that were opened inline go with their parent", async () => {
    await using side = await Side.ours();
    await makeImage(side, "a.raw", MIB, 1);
    await side.run("blockdev-add", rawNode(side, "a", "a.raw"));
    expect(side.daemon.graph.nodes()).toHaveLength(2);
    await side.run("blockdev-del", { "node-name": "a" });
    expect(side.daemon.graph.nodes()).toHaveLength(0);
  });

  it("leave nothing behind when they cannot be opened", async () => {
    await using side = await Side.ours();
    await makeImage(side, "a.raw", MIB, 1);
    expect(await side.ask("blockdev-add", rawNode(side, "a", "a.raw", { offset: 4 * MIB }))).toEqual({
      error: "GenericError",
    });
    expect(side.daemon.graph.nodes()).toHaveLength(0);
    expect(await side.ask("blockdev-add", rawNode(side, "a", "a.raw"))).toEqual({ return: {} });
  });

  it("refuse sizes that no number holds exactly", async () => {
    await using side = await Side.ours();
    const huge = { driver: "null-co", "node-name": "n", size: 2n ** 60n };
    expect(await side.ask("blockdev-add", huge)).toEqual({ error: "GenericError" });
  });

  it("show the graph of a mirror: the filter above the source, and the job's edges", async () => {
    await using side = await Side.ours();
    await addPair(side);
    await side.run("blockdev-mirror", { ...MIRROR, "filter-node-name": "filter", speed: 1 });
    const { nodes, edges } = await side.client.execute("x-debug-query-block-graph");
    const nameOf = (id: number | bigint): string => nodes.find((node) => node.id === id)?.name ?? "?";
    const named = edges.map(({ parent, child, name }) => `${nameOf(parent)} -${name}-> ${nameOf(child)}`);
    expect(named).toEqual(
      expect.arrayContaining(["filter -backing-> src", "j -source-> src", "j -target-> dst"]),
    );
    expect(nodes.find((node) => node.name === "j")).toMatchObject({ type: "block-job" });
    const drivers = await side.client.execute("query-named-block-nodes", { flat: true });
    expect(drivers.find((node) => node["node-name"] === "filter")?.drv).toBe("mirror_top");
    await side.run("job-cancel", { id: "j" });
  });

  it("are never overwritten by an image that is created", async () => {
    await using side = await Side.ours();
    await addPair(side);
    const before = await readFile(side.path("src.raw"));
    const target = side.path("src.raw");
    expect(await side.ask("drive-mirror", { "job-id": "d", device: "src", target, sync: "full" })).toEqual({
      error: "GenericError",
    });
    await side.run("blockdev-create", {
      "job-id": "c",
      options: { driver: "file", filename: target, size: 1 },
    });
    await side.eventsUntil((word) => word === "concluded");
    expect(await side.client.execute("query-jobs")).toMatchObject([
      { error: expect.stringContaining("'#block") },
    ]);
    expect((await readFile(target)).equals(before)).toBe(true);
  });
});

describe("what nobody asked for", () => {
  it("is told to the owner: a mistake in a driver, but no refusal", async () => {
    const told: unknown[] = [];
    const broken = {
      ...patternDriver,
      name: "broken",
      open: () => Promise.reject(new TypeError("a mistake")),
    };
    const registry = createDaemonRegistry().register(broken);
    await using side = await Side.ours({ registry, onError: (error) => told.push(error) });
    expect(await side.ask("job-pause", { id: "zz" })).toEqual({ error: "GenericError" });
    await makeImage(side, "a.raw", MIB, 1);
    await side.run("blockdev-add", rawNode(side, "a", "a.raw"));
    expect(await side.ask("blockdev-add", rawNode(side, "b", "a.raw"))).toEqual({ error: "GenericError" });
    expect(told).toEqual([]);
    const node = { driver: "broken", "node-name": "x", length: 1 };
    expect(await side.ask("blockdev-add", node)).toEqual({ error: "GenericError" });
    expect(told).toEqual([expect.any(TypeError)]);
  });

  it("does not stay: jobs that are gone leave nothing in memory", async () => {
    await using side = await Side.ours();
    await addPair(side);
    for (let index = 0; index < 3; index += 1) {
      await side.run("blockdev-mirror", MIRROR);
      await side.eventsUntil((word) => word === "BLOCK_JOB_READY");
      await side.run("job-cancel", { id: "j" });
      await side.eventsUntil((word) => word === "null");
      expect(side.daemon.jobs.list()).toEqual([]);
      expect(await side.ask("x-blockmirror-query-dirty-map", { id: "j" })).toEqual({ error: "GenericError" });
    }
  });
});

describe("commands of our own", () => {
  it("tell what QMP does not: phase, rates, forecast, map", async () => {
    await using side = await Side.ours();
    await addPair(side);
    await side.run("blockdev-mirror", MIRROR);
    await side.eventsUntil((word) => word === "BLOCK_JOB_READY");
    expect(await side.run("x-blockmirror-query-jobs")).toMatchObject([
      {
        id: "j",
        phase: "ready",
        source: "src",
        target: "dst",
        granularity: 65_536,
        size: 4 * MIB,
        "dirty-bytes": 0,
        "in-flight-bytes": 0,
        "read-errors": 0,
        forecast: { converges: true, seconds: 0 },
        "unanswered-ms": 0,
      },
    ]);
    const map = Object(await side.run("x-blockmirror-query-dirty-map", { id: "j", cells: 8 }));
    expect([map.copied, map.dirty, map["in-flight"], map.failed].map((cells) => cells.length)).toEqual([
      8, 8, 8, 8,
    ]);
    expect(map.dirty).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
    expect(await side.ask("x-blockmirror-query-dirty-map", { id: "j", cells: 0 })).toEqual({
      error: "GenericError",
    });
    expect(await side.ask("x-blockmirror-query-dirty-map", { id: "zz" })).toEqual({ error: "GenericError" });
    await side.run("job-cancel", { id: "j" });
  });
});

describe("block-job-change", () => {
  it("brings guests' writes to both sides from now on", async () => {
    await using side = await Side.ours();
    await addPair(side);
    await side.run("blockdev-mirror", MIRROR);
    await side.eventsUntil((word) => word === "BLOCK_JOB_READY");
    const mode = async (): Promise<unknown> =>
      Object(await side.run("x-blockmirror-query-jobs"))[0]["copy-mode"];
    expect(await mode()).toBe("background");
    await side.run("block-job-change", { id: "j", type: "mirror", "copy-mode": "write-blocking" });
    expect(await mode()).toBe("write-blocking");
    const wrong = { id: "zz", type: "mirror", "copy-mode": "background" };
    expect(await side.ask("block-job-change", wrong)).toEqual({ error: "DeviceNotActive" });
    expect(await side.ask("block-job-change", { id: "j", type: "commit" })).toEqual({
      error: "GenericError",
    });
    await side.run("job-cancel", { id: "j" });
  });
});

async function countOf(side: Side, node: string, name: string): Promise<unknown> {
  const nodes = await side.client.execute("query-named-block-nodes");
  const bitmaps = nodes.find((each) => each["node-name"] === node)?.["dirty-bitmaps"] ?? [];
  return bitmaps.find((bitmap) => bitmap.name === name)?.count;
}

describe("bitmaps", () => {
  it("follow writes, are cleared, and get back what a refused transaction took", async () => {
    await using side = await Side.ours();
    await addPair(side);
    await side.run("block-dirty-bitmap-add", { node: "dst", name: "b", granularity: 65_536 });
    await side.run("block-dirty-bitmap-add", { node: "dst", name: "off", disabled: true });
    await side.run("blockdev-mirror", MIRROR);
    await side.eventsUntil((word) => word === "BLOCK_JOB_READY");
    await side.run("job-complete", { id: "j" });
    await side.eventsUntil((word) => word === "null");
    expect(await countOf(side, "dst", "b")).toBe(4 * MIB);
    expect(await countOf(side, "dst", "off")).toBe(0);
    const clear = { type: "block-dirty-bitmap-clear", data: { node: "dst", name: "b" } };
    const merge = { type: "block-dirty-bitmap-merge", data: { node: "dst", target: "off", bitmaps: ["b"] } };
    const abort = { type: "abort", data: {} };
    expect(await side.ask("transaction", { actions: [merge, clear, abort] })).toEqual({
      error: "GenericError",
    });
    expect(await countOf(side, "dst", "b")).toBe(4 * MIB);
    expect(await countOf(side, "dst", "off")).toBe(0);
    await side.run("transaction", { actions: [merge, clear] });
    expect(await countOf(side, "dst", "b")).toBe(0);
    expect(await countOf(side, "dst", "off")).toBe(4 * MIB);
  });
});

describe("many clients", () => {
  it("all get every event, and see one state", async () => {
    await using side = await Side.ours();
    await addPair(side);
    const clients = await Promise.all(Array.from({ length: 20 }, () => QmpClient.connect(side.socketPath)));
    const streams = clients.map((client) => client.events());
    await side.run("blockdev-mirror", MIRROR);
    const seen = await Promise.all(
      streams.map(async (events) => {
        const words: string[] = [];
        for await (const event of events) {
          words.push(event.event === "JOB_STATUS_CHANGE" ? event.data.status : event.event);
          if (event.event === "BLOCK_JOB_READY") break;
        }
        return words.join(" ");
      }),
    );
    expect(new Set(seen)).toEqual(new Set(["created running ready BLOCK_JOB_READY"]));
    await side.run("job-cancel", { id: "j" });
    await Promise.all(clients.map((client) => client.close()));
  });

  it("may say any verbs at any time: each is accepted or refused, and every job ends", async () => {
    await using side = await Side.ours();
    const clients = await Promise.all(Array.from({ length: 4 }, () => QmpClient.connect(side.socketPath)));
    const verbs = [
      "job-pause",
      "job-resume",
      "job-complete",
      "job-cancel",
      "job-finalize",
      "job-dismiss",
    ] as const;
    let state = 20_140_401;
    const random = (below: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    for (let round = 0; round < 5; round += 1) {
      for (const name of ["src", "dst"]) {
        await side.run("blockdev-add", { driver: "null-co", "node-name": name, size: 64 * MIB });
      }
      const flags = { "auto-finalize": random(2) === 0, "auto-dismiss": random(2) === 0 };
      await side.run("blockdev-mirror", { ...MIRROR, ...flags });
      await Promise.all(
        clients.map(async (client) => {
          for (let step = 0; step < 40; step += 1) {
            const verb = verbs[random(verbs.length)] ?? "job-pause";
            await client.execute(verb, { id: "j" }).catch((error: unknown) => {
              expect(error).toMatchObject({ code: "QMP_COMMAND_FAILED", errorClass: "GenericError" });
            });
          }
        }),
      );
      await endJob(side);
      for (const name of ["src", "dst"]) await side.run("blockdev-del", { "node-name": name });
    }
    await Promise.all(clients.map((client) => client.close()));
  });

  it("may vanish in the middle of a command", async () => {
    await using side = await Side.ours();
    await addPair(side);
    for (let index = 0; index < 20; index += 1) {
      const client = await QmpClient.connect(side.socketPath);
      const asking = client.execute("blockdev-add", { driver: "null-co", "node-name": `n${index}` });
      asking.catch(() => undefined);
      await client.close();
      await expect(asking).rejects.toMatchObject({ code: "QMP_CLOSED" });
    }
    expect(await side.client.execute("query-jobs")).toEqual([]);
  });

  it("may be a thousand, one after the other", async () => {
    await using side = await Side.ours();
    for (let index = 0; index < 1000; index += 1) {
      const client = await QmpClient.connect(side.socketPath);
      await client.close();
    }
    expect(await side.client.execute("query-jobs")).toEqual([]);
  });
});

/** Ends and dismisses the job, whatever state it is in. */
async function endJob(side: Side): Promise<void> {
  await side.ask("job-cancel", { id: "j" });
  for (;;) {
    const [job] = await side.client.execute("query-jobs");
    if (job === undefined) return;
    if (job.status === "concluded") await side.ask("job-dismiss", { id: "j" });
    else await side.ask("job-cancel", { id: "j" });
  }
}
