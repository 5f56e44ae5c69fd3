import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { denyGate, directoryGate, type GateAnswer, type GateRequest } from "../../src/index.ts";
import { failure, makeGraph } from "../support/graphs.ts";

const named = (implicit: string, implicitFormat?: string): { driver: "layer" } & Record<string, unknown> => ({
  driver: "layer",
  nodeName: "image",
  blocks: "..",
  implicit,
  ...(implicitFormat !== undefined && { implicitFormat }),
});

describe("the default gate", () => {
  test("refuses every name, saying which and why", async () => {
    const graph = makeGraph();
    const error = await failure("BLK_DENIED", () => graph.open(named("base.raw", "raw")));
    expect(error.message).toContain("base.raw");
    expect(error.message).toContain("image");
    expect(graph.nodes()).toHaveLength(0);
    expect(await denyGate(request({}))).toHaveProperty("deny");
  });
});

describe("a gate of the program's own", () => {
  test("is told everything and decides what is opened", async () => {
    const seen: GateRequest[] = [];
    const graph = makeGraph(async (asked): Promise<GateAnswer> => {
      seen.push(asked);
      return { allow: { driver: "memory", nodeName: "chosen", size: 512 } };
    });
    const node = await graph.open(named("/images/base", "qcow2"));
    expect(node.child("backing")?.node.name).toBe("chosen");
    expect(seen).toEqual([
      {
        reference: { name: "/images/base", format: "qcow2" },
        role: "backing",
        parent: "image",
        filename: "/images/base",
        depth: 1,
        writable: false,
      },
    ]);
    expect(node.child("backing")?.info.readOnly).toBe(true);
  });

  test("a chain of names without end is refused", async () => {
    let asked = 0;
    const graph = makeGraph(async () => {
      asked += 1;
      return { allow: { driver: "layer", blocks: ".", implicit: "again" } };
    });
    await failure("EINVAL", () => graph.open(named("again")));
    expect(asked).toBe(64);
    expect(graph.nodes()).toHaveLength(0);
  });

  test.each(['json:{"driver":"file"}', "nbd://host/x", "nbd:unix:/s", "https://h/x.img", "fat:rw:/etc"])(
    "is given no file name for '%s'",
    async (name) => {
      const seen: (string | undefined)[] = [];
      const graph = makeGraph(async (asked) => {
        seen.push(asked.filename);
        return { deny: "no" };
      });
      await failure("BLK_DENIED", () => graph.open(named(name, "raw")));
      expect(seen).toEqual([undefined]);
    },
  );
});

describe("directoryGate", () => {
  let root = "";
  beforeEach(() => {
    root = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "blockmirror-gate-")));
    for (const directory of ["own", "other", "own/deep"]) fs.mkdirSync(path.join(root, directory));
    for (const file of ["own/base.raw", "own/deep/base.raw", "other/base.raw", "secret.raw"]) {
      fs.writeFileSync(path.join(root, file), "x");
    }
    fs.symlinkSync(path.join(root, "secret.raw"), path.join(root, "own/escape.raw"));
    fs.symlinkSync(path.join(root, "other"), path.join(root, "own/elsewhere"));
    fs.symlinkSync(path.join(root, "own/base.raw"), path.join(root, "own/inside.raw"));
  });
  afterEach(() => fs.rmSync(root, { recursive: true }));

  const ask = (
    relative: string,
    init: Partial<GateRequest> = {},
    directories: readonly string[] = [],
  ): Promise<GateAnswer> =>
    directoryGate(directories)(
      request({
        filename: path.resolve(root, "own", relative),
        parentFilename: path.join(root, "own/top.qcow2"),
        reference: { name: relative, format: "raw" },
        ...init,
      }),
    );

  test.each(["base.raw", "deep/base.raw", "inside.raw", "deep/../base.raw"])("allows '%s'", async (name) => {
    const filename = fs.realpathSync(path.resolve(root, "own", name));
    expect(await ask(name)).toEqual({
      allow: { driver: "raw", file: { driver: "file", filename, real: true } },
    });
  });

  test.each([
    ["outside", "../secret.raw"],
    ["beside", "../other/base.raw"],
    ["a link out of the directory", "escape.raw"],
    ["a directory link out of the directory", "elsewhere/base.raw"],
    ["the directory itself", "."],
    ["something missing outside", "../nothing"],
  ])("refuses %s", async (_what, name) => {
    expect(await ask(name)).toHaveProperty("deny");
  });

  test("refuses a sibling whose name begins like the directory's", async () => {
    fs.mkdirSync(path.join(root, "own2"));
    expect(await ask("../own2/base.raw")).toHaveProperty("deny");
  });

  test("allows directories given beside, links resolved there too", async () => {
    expect(await ask("../other/base.raw", {}, [path.join(root, "other")])).toHaveProperty("allow");
    expect(await ask("elsewhere/base.raw", {}, [path.join(root, "own/elsewhere")])).toHaveProperty("allow");
    expect(await ask("../secret.raw", {}, [path.join(root, "other")])).toHaveProperty("deny");
  });

  test("never guesses the format of a backing file; a data file has none", async () => {
    const reference = { name: "base.raw" };
    expect(await ask("base.raw", { reference })).toHaveProperty("deny");
    expect(await ask("base.raw", { reference, role: "data", writable: true })).toEqual({
      allow: { driver: "file", filename: path.join(root, "own/base.raw"), real: true },
    });
  });

  test("refuses what is not a plain file", async () => {
    const { filename: _none, ...without } = request({ reference: { name: "nbd://h", format: "raw" } });
    expect(await directoryGate([root])(without)).toHaveProperty("deny");
  });

  test("an allowed name opens read-only, and one that does not exist says so", async () => {
    const graph = makeGraph(directoryGate([root]));
    const image = await graph.open(named(path.join(root, "own/base.raw"), "raw"));
    expect(image.child("backing")?.info.readOnly).toBe(true);
    await graph.closeAll();
    await failure("ENOENT", () => graph.open(named(path.join(root, "gone.raw"), "raw")));
    await failure("EINVAL", () => graph.open(named(path.join(root, "own/base.raw"), "nosuchformat")));
    expect(graph.nodes()).toHaveLength(0);
  });
});

describe("between the decision and the opening", () => {
  let root = "";
  beforeEach(() => {
    root = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "blockmirror-gate-race-")));
    fs.mkdirSync(path.join(root, "own/deep"), { recursive: true });
    fs.mkdirSync(path.join(root, "secrets"));
    for (const file of ["own/base.raw", "own/deep/base.raw", "secrets/base.raw"]) {
      fs.writeFileSync(path.join(root, file), Buffer.alloc(1024, file));
    }
  });
  afterEach(() => fs.rmSync(root, { recursive: true }));

  test.each([
    ["the file itself", "own/base.raw", "own/base.raw", "secrets/base.raw"],
    ["a directory on the way", "own/deep/base.raw", "own/deep", "secrets"],
  ])("a link that takes the place of %s leads nowhere", async (_what, name, replaced, to) => {
    const decide = directoryGate([path.join(root, "own")]);
    const graph = makeGraph(async (asked) => {
      const answer = await decide(asked);
      fs.renameSync(path.join(root, replaced), path.join(root, "moved"));
      fs.symlinkSync(path.join(root, to), path.join(root, replaced));
      return answer;
    });
    await failure("BLK_DENIED", () => graph.open(named(path.join(root, name), "raw")));
    expect(graph.nodes()).toHaveLength(0);
  });

  test("a link that is turned round after it was allowed does not change what is opened", async () => {
    const link = path.join(root, "own/link.raw");
    fs.symlinkSync(path.join(root, "own/base.raw"), link);
    const decide = directoryGate([path.join(root, "own")]);
    const graph = makeGraph(async (asked) => {
      const answer = await decide(asked);
      fs.rmSync(link);
      fs.symlinkSync(path.join(root, "secrets/base.raw"), link);
      return answer;
    });
    const image = await graph.open(named(link, "raw"));
    expect(image.child("backing")?.info.filename).toBe(path.join(root, "own/base.raw"));
    await graph.closeAll();
  });
});

function request(init: Partial<GateRequest>): GateRequest {
  return {
    reference: { name: "base.raw", format: "raw" },
    role: "backing",
    parent: "image",
    depth: 1,
    writable: false,
    ...init,
  };
}
