import { lacksPeers } from "@blockmirror/peers";
import type { JsonObject } from "@blockmirror/qmp";
import { describe, it } from "vitest";

import { compare } from "./support/compare.ts";
import { addPair, makeImage, MIB, rawNode } from "./support/images.ts";
import { shapeOf, type Answer, type Side } from "./support/sides.ts";

/** Answers in their order, results by their shape. */
async function outline(
  side: Side,
  commands: readonly (readonly [string, JsonObject?])[],
): Promise<unknown[]> {
  const answers: unknown[] = [];
  for (const [command, args] of commands) {
    const answer: Answer = await side.ask(command, args);
    answers.push([command, args, "error" in answer ? answer.error : shapeOf(answer.return)]);
  }
  // The directory is in arguments that name files.
  const generic: unknown = JSON.parse(JSON.stringify(answers).replaceAll(side.directory, "DIR"));
  return Array.isArray(generic) ? generic : [];
}

function b(name: string, more: JsonObject = {}): JsonObject {
  return { node: "src", name, ...more };
}

function action(type: string, data: JsonObject): JsonObject {
  return { type: `block-dirty-bitmap-${type}`, data };
}

const isGone = (word: string): boolean => word === "null";
const MIRROR = { "job-id": "j", device: "src", target: "dst", sync: "full" };

describe.skipIf(lacksPeers("qemu-storage-daemon"))("answers as qemu-storage-daemon's", () => {
  it("to good and bad blockdev-add and -del", async () => {
    await compare(async (side) => {
      await makeImage(side, "a.raw", MIB, 1);
      await makeImage(side, "b.raw", MIB, 2);
      const file = { driver: "file", filename: side.path("b.raw") };
      return outline(side, [
        ["blockdev-add", rawNode(side, "a", "a.raw")],
        ["blockdev-add", rawNode(side, "a", "b.raw")],
        ["blockdev-add", { driver: "raw", file }],
        ["blockdev-add", { driver: "raw", "node-name": "1bad", file }],
        ["blockdev-add", { driver: "raw", "node-name": "x", file: { ...file, "node-name": "#bad" } }],
        ["blockdev-add", { driver: "raw", "node-name": "x", file: { ...file, "node-name": "x" } }],
        ["blockdev-add", { driver: "raw", "node-name": "x", file: "nosuch" }],
        ["blockdev-add", { driver: "raw", "node-name": "x" }],
        ["blockdev-add", { driver: "nosuch", "node-name": "x" }],
        ["blockdev-add", { "node-name": "x" }],
        ["blockdev-add", { driver: "file", "node-name": "x", filename: "/nonexistent" }],
        ["blockdev-add", { ...file, "node-name": "x", zzz: 1 }],
        ["blockdev-add", rawNode(side, "x", "b.raw", { "read-only": "yes" })],
        ["blockdev-add", { ...file, "node-name": "file" }],
        ["blockdev-add", { driver: "raw", "node-name": "by-name", file: "file", offset: 512, size: 1024 }],
        ["blockdev-add", { driver: "raw", "node-name": "odd", file: "nosuch", offset: -1 }],
        ["blockdev-add", { driver: "null-co", "node-name": "null0", size: MIB }],
        ["blockdev-add", { driver: "null-co", "node-name": "null1", "read-only": true }],
        ["blockdev-del", { "node-name": "nosuch" }],
        ["blockdev-del"],
        ["blockdev-del", { "node-name": "file" }],
        ["blockdev-del", { "node-name": "by-name" }],
        ["blockdev-del", { "node-name": "file" }],
        ["block_resize", { size: MIB }],
        ["block_resize", { "node-name": "nosuch", size: MIB }],
        ["block_resize", { "node-name": "a", device: "a", size: MIB }],
        ["block_resize", { "node-name": "a", size: -1 }],
        ["block_resize", { "node-name": "a", size: 2 * MIB }],
        ["block_resize", { device: "a", size: MIB }],
        ["block_resize", { "node-name": "null1", size: MIB }],
        ["query-block"],
        ["stop"],
      ]);
    });
  });

  it("to query-named-block-nodes: the same members of the same types", async () => {
    await compare(async (side) => {
      await makeImage(side, "a.raw", MIB, 1);
      await side.run("blockdev-add", rawNode(side, "a", "a.raw"));
      await side.run("blockdev-add", { driver: "null-co", "node-name": "n", size: MIB, "read-only": true });
      await side.run("block-dirty-bitmap-add", { node: "a", name: "b" });
      const nodes = await side.client.execute("query-named-block-nodes", { flat: true });
      const named = nodes.filter((node) => node["node-name"]?.startsWith("#") !== true);
      return named.map((node) => [node["node-name"], node.drv, node.ro, shapeOf(node)]);
    });
  });

  it("to blockdev-mirror that cannot be", async () => {
    await compare(async (side) => {
      await addPair(side);
      await side.run("blockdev-add", {
        driver: "null-co",
        "node-name": "ro",
        size: 4 * MIB,
        "read-only": true,
      });
      const bad: readonly JsonObject[] = [
        { "job-id": undefined },
        { "job-id": "1j" },
        { device: "nosuch" },
        { target: "nosuch" },
        { target: "src" },
        { target: "ro" },
        { sync: undefined },
        { sync: "weird" },
        { sync: "incremental" },
        { granularity: 1000 },
        { granularity: 256 },
        { granularity: 128 * MIB },
        { granularity: -1 },
        { speed: -1 },
        { "buf-size": -1 },
        { "filter-node-name": "dst" },
        { replaces: "nosuch" },
        { "on-source-error": "panic" },
        { "copy-mode": "sometimes" },
        { bogus: 1 },
      ];
      return outline(side, [
        ...bad.map((change) => ["blockdev-mirror", { ...MIRROR, ...change }] as const),
        ["query-jobs"],
      ]);
    });
  });

  it("to a mirror of images of different sizes: the command succeeds and the job fails", async () => {
    await compare(async (side) => {
      await makeImage(side, "src.raw", MIB, 1);
      await side.run("blockdev-add", rawNode(side, "src", "src.raw"));
      await side.run("blockdev-add", { driver: "null-co", "node-name": "dst", size: 2 * MIB });
      await side.run("blockdev-mirror", { ...MIRROR, "auto-dismiss": false });
      const events = await side.eventsUntil((word) => word === "concluded");
      const jobs = await side.run("query-jobs");
      const info = shapeOf(await side.run("query-jobs"));
      await side.run("job-dismiss", { id: "j" });
      return [events, jobs, info, await side.eventsUntil(isGone), await side.run("query-jobs")];
    });
  });

  it("to every verb in every state of a mirror to its pivot", async () => {
    await compare(async (side) => {
      await addPair(side);
      const verbs = async (): Promise<unknown[]> =>
        outline(side, [
          ["job-complete", { id: "zz" }],
          ["block-job-complete", { device: "zz" }],
          ["block-job-cancel", { device: "zz" }],
          ["block-job-set-speed", { device: "zz", speed: 0 }],
          ["block-job-finalize", { id: "zz" }],
          ["block-job-set-speed", { device: "j", speed: -5 }],
          ["job-dismiss", { id: "j" }],
          ["block-job-dismiss", { id: "j" }],
          ["job-resume", { id: "j" }],
        ]);
      const start = {
        ...MIRROR,
        speed: 65_536,
        "buf-size": 65_536,
        "auto-finalize": false,
        "auto-dismiss": false,
      };
      await side.run("blockdev-mirror", start);
      const seen: unknown[] = [await verbs()];
      seen.push(
        await outline(side, [
          ["blockdev-mirror", { ...MIRROR, "job-id": "k" }],
          ["blockdev-del", { "node-name": "src" }],
          ["blockdev-del", { "node-name": "dst" }],
          ["job-complete", { id: "j" }],
          ["job-finalize", { id: "j" }],
          ["job-pause", { id: "j" }],
          ["job-pause", { id: "j" }],
        ]),
      );
      seen.push(await side.eventsUntil((word) => word === "paused"));
      const [info] = await side.client.execute("query-block-jobs");
      const { "actively-synced": _newer, ...known } = info ?? {};
      seen.push(shapeOf(known), info?.status, info?.paused, info?.speed);
      seen.push(
        await outline(side, [
          ["block-job-set-speed", { device: "j", speed: 0 }],
          ["job-resume", { id: "j" }],
        ]),
      );
      seen.push(await side.eventsUntil((word) => word === "BLOCK_JOB_READY"), await verbs());
      await side.run("job-pause", { id: "j" });
      seen.push(await side.eventsUntil((word) => word === "standby"));
      await side.run("job-resume", { id: "j" });
      seen.push(await side.eventsUntil((word) => word === "ready"));
      await side.run("job-complete", { id: "j" });
      seen.push(await side.eventsUntil((word) => word === "BLOCK_JOB_PENDING"), await verbs());
      seen.push(
        await outline(side, [
          ["job-pause", { id: "j" }],
          ["job-complete", { id: "j" }],
          ["job-finalize", { id: "j" }],
        ]),
      );
      seen.push(
        await side.eventsUntil((word) => word === "concluded"),
        await outline(side, [["job-cancel", { id: "j" }]]),
      );
      await side.run("job-dismiss", { id: "j" });
      seen.push(await side.eventsUntil(isGone), await side.run("query-block-jobs"));
      seen.push(
        await outline(side, [
          ["blockdev-del", { "node-name": "src" }],
          ["blockdev-del", { "node-name": "dst" }],
        ]),
      );
      return seen;
    });
  });

  it.each([
    ["job-cancel", { id: "j" }],
    ["block-job-cancel", { device: "j" }],
    ["block-job-cancel", { device: "j", force: true }],
  ])("to %s %o of a READY mirror", async (verb, args) => {
    await compare(async (side) => {
      await addPair(side);
      await side.run("blockdev-mirror", MIRROR);
      await side.eventsUntil((word) => word === "BLOCK_JOB_READY");
      return [await side.ask(verb, args), await side.eventsUntil(isGone)];
    });
  });

  it.each([
    ["job-cancel", { id: "j" }],
    ["block-job-cancel", { device: "j" }],
  ])("to %s %o of a mirror that is not READY", async (verb, args) => {
    await compare(async (side) => {
      await addPair(side);
      await side.run("blockdev-mirror", { ...MIRROR, speed: 1, "auto-dismiss": false });
      await side.eventsUntil((word) => word === "running");
      const answer = await side.ask(verb, args);
      const events = await side.eventsUntil((word) => word === "concluded");
      const [job] = await side.client.execute("query-jobs");
      return [answer, events, job?.error, job?.status];
    });
  });

  it.each(["background", "write-blocking"])("to a mirror in copy mode %s", async (mode) => {
    await compare(async (side) => {
      await addPair(side);
      await side.run("blockdev-mirror", { ...MIRROR, "copy-mode": mode });
      const seen: unknown[] = [await side.eventsUntil((word) => word === "BLOCK_JOB_READY")];
      await side.run("job-complete", { id: "j" });
      return [...seen, await side.eventsUntil(isGone)];
    });
  });

  it("to drive-mirror that creates its target, and to one that finds it", async () => {
    await compare(async (side) => {
      await addPair(side);
      const seen: unknown[] = [];
      for (const mode of ["absolute-paths", "existing"]) {
        const target = side.path("made.raw");
        seen.push(
          await side.ask("drive-mirror", {
            "job-id": "d",
            device: "src",
            target,
            sync: "full",
            mode,
            format: "raw",
          }),
          await side.eventsUntil((word) => word === "BLOCK_JOB_READY"),
        );
        await side.run("block-job-cancel", { device: "d" });
        seen.push(await side.eventsUntil(isGone));
        const nodes = await side.client.execute("query-named-block-nodes");
        seen.push(nodes.filter((node) => node.file === target).length);
      }
      const missing = side.path("missing.raw");
      seen.push(
        await side.ask("drive-mirror", {
          "job-id": "d",
          device: "src",
          target: missing,
          sync: "full",
          mode: "existing",
        }),
      );
      return seen;
    });
  });

  it("to bitmaps and transactions", async () => {
    await compare(async (side) => {
      await addPair(side);
      const seen = await outline(side, [
        ["block-dirty-bitmap-add", b("b0")],
        ["block-dirty-bitmap-add", b("b0")],
        ["block-dirty-bitmap-add", { node: "nosuch", name: "b0" }],
        ["block-dirty-bitmap-add", b("b1", { granularity: 1000 })],
        ["block-dirty-bitmap-add", b("b1", { granularity: 256 })],
        ["block-dirty-bitmap-add", b("")],
        ["block-dirty-bitmap-add", b("x".repeat(1024))],
        ["block-dirty-bitmap-add", b("b1", { persistent: true })],
        ["block-dirty-bitmap-add", b("b1", { granularity: 131_072, disabled: true })],
        [
          "block-dirty-bitmap-merge",
          { node: "src", target: "b1", bitmaps: ["b0", { node: "src", name: "b0" }] },
        ],
        ["block-dirty-bitmap-merge", { node: "src", target: "b1", bitmaps: ["nob"] }],
        ["block-dirty-bitmap-merge", { node: "src", target: "nob", bitmaps: ["b0"] }],
        ["block-dirty-bitmap-enable", b("b1")],
        ["block-dirty-bitmap-disable", b("b1")],
        ["block-dirty-bitmap-clear", b("b1")],
        ["block-dirty-bitmap-remove", b("b1")],
        ["block-dirty-bitmap-remove", b("zz")],
        ["transaction", { actions: [action("add", b("b3")), action("remove", b("zz"))] }],
        ["block-dirty-bitmap-remove", b("b3")],
        ["transaction", { actions: [action("add", b("b3")), { type: "abort", data: {} }] }],
        ["block-dirty-bitmap-remove", b("b3")],
        [
          "transaction",
          { actions: [action("disable", b("b0")), action("remove", b("b0")), action("add", b("b0"))] },
        ],
        [
          "transaction",
          {
            actions: [
              action("add", b("b4", { disabled: true })),
              action("merge", { node: "src", target: "b4", bitmaps: ["b0"] }),
            ],
          },
        ],
        ["transaction", { actions: [{ type: "nonsense", data: {} }] }],
        ["transaction", { actions: [] }],
      ]);
      const nodes = await side.client.execute("query-named-block-nodes");
      const source = nodes.find((node) => node["node-name"] === "src");
      return [seen, source?.["dirty-bitmaps"]];
    });
  });

  it("to blockdev-create: a job that has to be dismissed", async () => {
    await compare(async (side) => {
      const seen: unknown[] = [];
      for (const [id, filename] of [
        ["good", side.path("new.raw")],
        ["bad", "/nonexistent/new.raw"],
      ] as const) {
        const options = { driver: "file", filename, size: MIB };
        seen.push(
          await side.ask("blockdev-create", { "job-id": id, options }),
          await side.eventsUntil((word) => word === "concluded"),
        );
        const [job] = await side.client.execute("query-jobs");
        seen.push(job?.type, "error" in (job ?? {}), await side.run("query-block-jobs"));
        seen.push(await side.ask("block-job-dismiss", { id }), await side.ask("job-dismiss", { id }));
        seen.push(await side.eventsUntil(isGone));
      }
      seen.push(
        await side.ask("blockdev-create", { "job-id": "x", options: { driver: "file", filename: "y" } }),
      );
      return seen;
    });
  });

  it("to quit: jobs end first, then the answer, then the connection", async () => {
    await compare(async (side) => {
      await addPair(side);
      await side.run("blockdev-mirror", { ...MIRROR, speed: 1 });
      const answer = side.ask("quit");
      // QEMU drains its jobs before it ends them, which shows as a pause of a moment.
      const events = (await side.eventsUntil(isGone)).filter((word) => !["paused", "running"].includes(word));
      const seen = [events, await answer];
      return [...seen, (await side.client.closed).code];
    });
  });
});
