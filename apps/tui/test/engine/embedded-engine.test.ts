import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { BlockEdge } from "@blockmirror/block-driver";
import { EmbeddedEngine } from "../../src/engine/embedded-engine.ts";
import { createImage } from "../../src/images/create-image.ts";
import { imageSpec } from "../../src/images/image-location.ts";
import type { JobSourceEvent, NewJobRequest } from "../../src/job-source/job-source.ts";
import { picture, scratchDirectory } from "../cli/support/run-cli.ts";

const MIB = 2 ** 20;
let scratch: ReturnType<typeof scratchDirectory>;
let engine: EmbeddedEngine;

beforeEach(() => {
  scratch = scratchDirectory();
  engine = new EmbeddedEngine();
  writeFileSync(file("a.raw"), randomBytes(2 * MIB));
});

afterEach(async () => {
  await engine.close();
  scratch.remove();
});

function file(name: string): string {
  return join(scratch.path, name);
}

function request(changes: Partial<NewJobRequest> = {}): NewJobRequest {
  return {
    id: "job0",
    sourcePath: file("a.raw"),
    targetPath: file("b.raw"),
    sync: "full",
    existing: false,
    speed: 0,
    ...changes,
  };
}

/** Resolves with the first event that fits. */
function heard(fits: (event: JobSourceEvent) => boolean): Promise<JobSourceEvent> {
  return new Promise((resolve) => {
    const unsubscribe = engine.subscribe((event) => {
      if (!fits(event)) return;
      unsubscribe();
      resolve(event);
    });
  });
}

/** Starts a job to a new target, and returns the format that this was given. */
async function madeFormat(changes: Partial<NewJobRequest>): Promise<unknown> {
  const targetPath = file(changes.targetPath ?? "");
  await engine.start(request({ ...changes, id: `to-${changes.targetPath}`, targetPath }));
  return engine.list().at(-1)?.target?.driver;
}

function status(id = "job0"): string | undefined {
  return engine.list().find((job) => job.id === id)?.status;
}

async function startToReady(changes: Partial<NewJobRequest> = {}): Promise<void> {
  const ready = heard(({ event }) => event === "BLOCK_JOB_READY");
  await engine.start(request(changes));
  await ready;
}

describe("a job from start to dismissal", () => {
  test("starts, gets READY, completes, stays until it is dismissed", async () => {
    await startToReady();
    expect(engine.list()).toMatchObject([
      { id: "job0", type: "mirror", status: "ready", ready: true, endpoint: "embedded", length: 2 * MIB },
    ]);
    expect(engine.can("job0", "dismiss")).toEqual({
      allowed: false,
      reason: "dismiss needs a concluded job",
    });
    expect(engine.can("job0", "complete")).toEqual({ allowed: true });
    await engine.complete("job0");
    await engine.find("job0")?.job.done;
    expect(status()).toBe("concluded");
    expect(engine.list()[0]).toMatchObject({ bytesCopied: 2 * MIB, cancelled: false, error: undefined });
    await engine.dismiss("job0");
    expect(engine.list()).toEqual([]);
    expect(readFileSync(file("b.raw"))).toEqual(readFileSync(file("a.raw")));
  });

  test("pauses, resumes, and takes a new limit", async () => {
    await engine.start(request({ speed: 64 * 1024 }));
    expect(engine.can("job0", "resume")).toMatchObject({ allowed: false });
    const paused = heard((event) => event.event === "JOB_STATUS_CHANGE" && event.data.status === "paused");
    await engine.pause("job0");
    await paused;
    expect(engine.list()[0]).toMatchObject({ paused: true, userPaused: true });
    const changed = heard(({ event }) => event === "changed");
    await engine.setSpeed("job0", 0);
    await changed;
    expect(engine.list()[0]?.speed).toBe(0);
    const ready = heard(({ event }) => event === "BLOCK_JOB_READY");
    await engine.resume("job0");
    await ready;
  });

  test("cancelled before READY: told as cancelled, images free again", async () => {
    await engine.start(request({ speed: 64 * 1024 }));
    await engine.cancel("job0", { force: false });
    await engine.find("job0")?.job.done;
    expect(engine.list()[0]).toMatchObject({ status: "concluded", cancelled: true });
  });

  test("cancelled when READY: ended well, with a copy", async () => {
    const ready = heard(({ event }) => event === "BLOCK_JOB_READY");
    await engine.start(request());
    await ready;
    const ended = heard((event) => event.event === "JOB_STATUS_CHANGE" && event.data.status === "concluded");
    await engine.cancel("job0", { force: false });
    await ended;
    expect(engine.list()[0]).toMatchObject({ status: "concluded", cancelled: false });
    expect(readFileSync(file("b.raw"))).toEqual(readFileSync(file("a.raw")));
  });

  test("verbs about no job are refused with its name", async () => {
    expect(engine.can("none", "pause")).toEqual({ allowed: false, reason: "no such job" });
    await expect(engine.pause("none")).rejects.toThrow(/'none'/u);
    expect(engine.map("none", 4)).toBeUndefined();
  });
});

test("the map says which part is copied, and fills the map it is given", async () => {
  await startToReady();
  const map = engine.map("job0", 8);
  expect(map?.cellCount).toBe(8);
  for (const share of map?.copied ?? [0]) expect(share).toBe(1);
  for (const share of map?.dirty ?? [1]) expect(share).toBe(0);
  expect(engine.map("job0", 8, map)).toBe(map);
});

test("after its end the files are free: the same two are mirrored again", async () => {
  for (const id of ["job0", "job1"]) {
    await startToReady({ id, existing: id === "job1" });
    await engine.complete(id);
    const entry = engine.find(id);
    const freed = heard(() => entry?.source.parents.size === 0);
    await entry?.job.done;
    await freed;
    // The images are closed right behind the event that ends the job.
    await engine.cancelAll({ force: false });
  }
  expect(engine.list().map((job) => job.status)).toEqual(["concluded", "concluded"]);
});

describe("a review has no side effects", () => {
  test.each<[string, Partial<NewJobRequest>, string]>([
    ["job id", { id: "9" }, "id"],
    ["source", { sourcePath: "/none" }, "sourcePath"],
    ["empty source", { sourcePath: "" }, "sourcePath"],
    ["empty target", { targetPath: "" }, "targetPath"],
    ["missing target", { existing: true }, "targetPath"],
    ["granularity", { granularity: 1000 }, "granularity"],
  ])("%s", async (_name, changes, field) => {
    const before = picture(scratch.path);
    const { problems, destroys } = await engine.validate(request(changes));
    expect(problems.map((problem) => problem.field)).toEqual([field]);
    expect(destroys).toBeUndefined();
    await expect(engine.start(request(changes))).rejects.toThrow(problems[0]?.message);
    expect(picture(scratch.path)).toEqual(before);
    expect(engine.list()).toEqual([]);
  });

  test("a new target that would not hold the source's content, and cannot name it, is refused", async () => {
    for (const changes of [{}, { backingMode: "source-chain" }] as const) {
      const asked = request({ sync: "none", ...changes });
      const { problems } = await engine.validate(asked);
      expect(problems).toMatchObject([
        { field: "targetPath", message: expect.stringContaining("Sync none") },
      ]);
      await expect(engine.start(asked)).rejects.toThrow("set Format to qcow2");
      expect(existsSync(file("b.raw"))).toBe(false);
    }
  });

  test("a new target has the format that was chosen, else the one of its name, else the source's", async () => {
    expect(await madeFormat({ targetPath: "b.qcow2" })).toBe("qcow2");
    expect(await madeFormat({ targetPath: "c.qcow2", targetFormat: "raw" })).toBe("raw");
    expect(await madeFormat({ targetPath: "d.img", targetFormat: "qcow2" })).toBe("qcow2");
    expect(await madeFormat({ targetPath: "e.img" })).toBe("raw");
  });

  test("an image that another job uses is said to be in use, in words for people", async () => {
    await engine.start(request({ speed: 1024 }));
    const { problems } = await engine.validate(request({ id: "job1" }));
    expect(problems).toEqual([
      {
        field: "targetPath",
        message: expect.stringMatching(
          /b\.raw is in use by a job or an export of this program; name another/u,
        ),
      },
    ]);
  });

  test("a bitmap that does not go with the rest is a complaint about the field that is wrong", async () => {
    writeFileSync(file("b.raw"), Buffer.alloc(2 * MIB));
    const asked = { sync: "bitmap", bitmap: "since", existing: true } as const;
    const fields = async (changes: Partial<NewJobRequest>): Promise<unknown> =>
      (await engine.validate(request({ ...asked, ...changes }))).problems.map(({ field }) => field);
    await createImage(engine.graph, {
      filename: file("a.qcow2"),
      format: "qcow2",
      size: 2 * MIB,
      options: {},
      overwrite: false,
    });
    const sourcePath = file("a.qcow2");
    expect(await fields({})).toEqual(["sourcePath"]);
    expect(await fields({ sourcePath })).toEqual([]);
    expect(await fields({ sourcePath, bitmap: "" })).toEqual(["bitmap"]);
    expect(await fields({ sourcePath, sync: "full" })).toEqual(["bitmap"]);
    expect(await fields({ sourcePath, backingMode: "source-chain" })).toEqual(["backingMode"]);
    expect(await fields({ sourcePath, existing: false, targetPath: file("c.raw") })).toEqual(["existing"]);
    await expect(engine.start(request({ ...asked, sourcePath }))).rejects.toThrow(
      `source ${sourcePath} has no dirty bitmap 'since'; it has none`,
    );
  });

  test("what to do is said in the words of the form, not of a command line that nobody wrote", async () => {
    for (const [name, size] of [
      ["same", 2 * MIB],
      ["large", 3 * MIB],
      ["small", MIB],
    ] as const) {
      writeFileSync(file(`${name}.raw`), "");
      truncateSync(file(`${name}.raw`), size);
    }
    const wrong: readonly [Partial<NewJobRequest>, RegExp][] = [
      [{ targetPath: file("same.raw") }, /exists; set Existing to yes to overwrite it, or name another$/u],
      [{ existing: true }, /does not exist; set Existing to no to have it created$/u],
      [{ targetPath: file("large.raw"), existing: true }, /or set Larger target to zero or leave$/u],
      [{ targetPath: file("small.raw"), existing: true }, /resize it, or name another$/u],
      [{ sync: "top" }, /cannot be raw with Sync top: .*; set Format to qcow2$/u],
    ];
    for (const [changes, words] of wrong) {
      const { problems } = await engine.validate(request(changes));
      expect(problems).toEqual([{ field: "targetPath", message: expect.stringMatching(words) }]);
      expect(problems[0]?.message).not.toContain("--");
      await expect(engine.start(request(changes))).rejects.toThrow(problems[0]?.message);
    }
  });

  test("names what would be destroyed", async () => {
    writeFileSync(file("b.raw"), "");
    truncateSync(file("b.raw"), 2 * MIB);
    await expect(engine.validate(request({ existing: true }))).resolves.toMatchObject({
      problems: [],
      destroys: { target: file("b.raw"), size: 2 * MIB },
    });
  });
});

describe("a path that is being typed", () => {
  test.each<[string, string | undefined]>([
    ["a", ".raw"],
    ["a.raw", undefined],
    ["di", "sks/"],
    ["disks", "/"],
    ["li", "nk/"],
    ["lo", "st"],
    ["disks/", "one.qcow2"],
    [".", "hidden"],
    ["nowhere/", undefined],
    ["bad", undefined],
  ])("%j goes on with %j", async (typed, rest) => {
    mkdirSync(file("disks"));
    for (const name of ["disks/.hidden", "disks/one.qcow2", ".hidden", "bad\u001B[2J.raw"])
      writeFileSync(file(name), "");
    symlinkSync("disks", file("link"));
    symlinkSync("gone", file("lost"));
    await expect(engine.suggest(`${scratch.path}/${typed}`, "image")).resolves.toBe(rest);
  });

  test("for a new image only directories are named", async () => {
    mkdirSync(file("a.raw.d"));
    await expect(engine.suggest(file("a"), "place")).resolves.toBe(".raw.d/");
    await expect(engine.suggest(file("a.raw.d/"), "place")).resolves.toBeUndefined();
  });

  test.each(["", "nbd://localhost/a", "nbd+unix:///a?socket=/"])(
    "%j is nothing to look up",
    async (typed) => {
      await expect(engine.suggest(typed, "image")).resolves.toBeUndefined();
    },
  );
});

test("an id in use is refused, and the target made for it is removed", async () => {
  await engine.start(request({ speed: 64 * 1024 }));
  writeFileSync(file("c.raw"), randomBytes(2 * MIB));
  await expect(
    engine.start(request({ sourcePath: file("c.raw"), targetPath: file("d.raw") })),
  ).rejects.toThrow(/job0/u);
  expect(existsSync(file("d.raw"))).toBe(false);
  expect(status()).toBe("running");
});

describe("a copy of the top layer", () => {
  test.each([undefined, "source-chain", "open-chain", "leave"] as const)(
    "shows its users the layers below after the switch, with backing mode %s",
    async (backingMode) => {
      const qcow2 = { format: "qcow2", overwrite: false } as const;
      const below = { filename: file("base.qcow2"), size: MIB };
      await createImage(engine.graph, { ...qcow2, ...below, options: {} });
      await write("base.qcow2", 0x11, MIB);
      const options = { backingFile: "base.qcow2", backingFormat: "qcow2" };
      await createImage(engine.graph, { ...qcow2, filename: file("top.qcow2"), size: MIB, options });
      await write("top.qcow2", 0x22, MIB / 2);
      const users: BlockEdge[] = [];
      const ready = heard(({ event }) => event === "BLOCK_JOB_READY");
      const { job, target } = await engine.startMirror(
        {
          id: "job0",
          source: file("top.qcow2"),
          target: file("copy.qcow2"),
          existing: false,
          sync: "top",
          ...(backingMode !== undefined && { backingMode }),
          speed: 0,
          granularity: 0,
          bufferSize: 0,
          onSourceError: "report",
          onTargetError: "report",
        },
        (node) => {
          const user = { name: "guest", uses: ["read"], shares: ["read", "write", "resize"] } as const;
          users.push(engine.graph.attach(node, user));
        },
      );
      await ready;
      await job.complete();
      expect(await job.done).toMatchObject({ outcome: "completed" });
      const [user] = users;
      expect(user?.node).toBe(target);
      const content = new Uint8Array(MIB);
      await user?.read(0, [content]);
      expect(Buffer.from(content.subarray(0, MIB / 2)).equals(Buffer.alloc(MIB / 2, 0x22))).toBe(true);
      expect(Buffer.from(content.subarray(MIB / 2)).equals(Buffer.alloc(MIB / 2, 0x11))).toBe(true);
      if (user !== undefined) await engine.graph.detach(user);
    },
  );
});

async function write(name: string, fill: number, length: number): Promise<void> {
  const node = await engine.graph.open(imageSpec(file(name), "qcow2", false));
  const edge = engine.graph.attach(node, { name: "writer", uses: ["read", "write"], shares: ["read"] });
  await edge.write(0, [new Uint8Array(length).fill(fill)]);
  await engine.graph.detach(edge);
  await engine.graph.close(node);
}
