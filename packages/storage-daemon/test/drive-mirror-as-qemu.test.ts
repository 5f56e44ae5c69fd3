import { readdir } from "node:fs/promises";
import { lacksPeers, qemuNbd } from "@blockmirror/peers";
import type { JsonObject } from "@blockmirror/qmp";
import { describe, expect, it } from "vitest";

import { compare } from "./support/compare.ts";
import { addPair } from "./support/images.ts";
import { exportOverNbd, qemuImg, qemuIo, runGuest } from "./support/qemu.ts";
import { Side } from "./support/sides.ts";

/** An overlay on a base, each with data that the other lacks, and the node `top` on both. */
async function addOverlay(side: Side): Promise<void> {
  const [base, top] = [side.path("base.qcow2"), side.path("top.qcow2")];
  await qemuImg("create", "-q", "-f", "qcow2", base, "4M");
  await qemuIo("-f", "qcow2", "-c", "write -P 1 0 1M", base);
  await qemuImg("create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top);
  // Zeroes that hide what is below have to be zeroes in the copy, too.
  await qemuIo("-f", "qcow2", "-c", "write -P 2 512k 1M", "-c", "write -z 128k 64k", top);
  await side.run("blockdev-add", {
    driver: "qcow2",
    "node-name": "top",
    file: { driver: "file", filename: top },
    backing: { driver: "qcow2", "node-name": "base", file: { driver: "file", filename: base } },
  });
}

/** What a node stands on: names and drivers from the top down. */
function chainOf(image: JsonObject): unknown[] {
  const { filename, format, "backing-image": below } = image;
  return [[filename, format], ...(below === undefined ? [] : chainOf(Object(below)))];
}

/** Where in a map another kind of extent begins: where images put their clusters is their own business. */
function kindsOf(extents: readonly JsonObject[]): unknown[] {
  const kinds = extents.map(({ depth, zero, data }) => JSON.stringify([depth, zero, data]));
  return extents.flatMap(({ start }, index) =>
    kinds[index] === kinds[index - 1] ? [] : [[start, kinds[index]]],
  );
}

interface Case {
  readonly sync: "full" | "top" | "none";
  readonly mode: "existing" | "absolute-paths";
  /** For `existing`: what the target names as its backing file. */
  readonly backing?: string;
  /** What ends the READY job. */
  readonly end: "job-complete" | "block-job-cancel";
}

/** The graph that a drive-mirror leaves behind, and where the guest's data are. */
async function mirrored(side: Side, { sync, mode, backing, end }: Case): Promise<unknown> {
  await addOverlay(side);
  const target = side.path("made.qcow2");
  if (mode === "existing") {
    const on = backing === undefined ? [] : ["-b", side.path(backing), "-F", "qcow2"];
    await qemuImg("create", "-q", "-f", "qcow2", ...on, target, "4M");
  }
  const uri = await exportOverNbd(side, "top");
  const answer = await side.ask("drive-mirror", {
    "job-id": "j",
    device: "top",
    target,
    format: "qcow2",
    "node-name": "made",
    sync,
    mode,
  });
  const seen: unknown[] = [answer];
  if ("error" in answer) return seen;
  await side.eventsUntil((word) => word === "BLOCK_JOB_READY");
  await runGuest(uri, ["write -P 3 2M 64k", "flush"]);
  await side.run(end, end === "job-complete" ? { id: "j" } : { device: "j" });
  // Ours opens what the target names before guests are held, which shows as a pause of a moment.
  const events = await side.eventsUntil((word) => word === "null");
  seen.push(events.filter((word) => word !== "standby" && word !== "ready"));
  seen.push(await side.ask("query-block-exports"));
  const nodes = await side.client.execute("query-named-block-nodes");
  const named = nodes.filter((node) => ["top", "base", "made"].includes(node["node-name"] ?? ""));
  seen.push(named.map((node) => [node["node-name"], node.ro, chainOf({ ...node.image })]));
  await side.run("nbd-server-stop");
  // What the image says of itself, and what is stored where when it is opened by that.
  const info: JsonObject = Object(JSON.parse(await qemuImg("info", "-U", "--output=json", target)));
  seen.push(info["backing-filename"], info["backing-filename-format"]);
  const extents: JsonObject[] = JSON.parse(await qemuImg("map", "-U", "--output=json", target));
  seen.push(kindsOf(extents));
  const generic: unknown = JSON.parse(JSON.stringify(seen).replaceAll(side.directory, "DIR"));
  return generic;
}

const ENDS = ["job-complete", "block-job-cancel"] as const;

const CASES: readonly Omit<Case, "end">[] = [
  { sync: "full", mode: "absolute-paths" },
  { sync: "top", mode: "absolute-paths" },
  { sync: "none", mode: "absolute-paths" },
  { sync: "full", mode: "existing" },
  { sync: "full", mode: "existing", backing: "base.qcow2" },
  { sync: "top", mode: "existing", backing: "base.qcow2" },
  { sync: "top", mode: "existing" },
  { sync: "none", mode: "existing", backing: "base.qcow2" },
];

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-img", "qemu-io"))(
  "drive-mirror, as qemu-storage-daemon's",
  () => {
    it.each(CASES.flatMap((one) => ENDS.map((end) => ({ ...one, end }))))(
      "sync $sync, mode $mode, backing file $backing: $end leaves the same images and graph",
      async (one) => {
        await compare((side) => mirrored(side, one));
      },
    );

    it("sync none, a new target: a copy that nobody is led to names the source", async () => {
      await compare((side) =>
        mirrored(side, { sync: "none", mode: "absolute-paths", end: "block-job-cancel" }),
      );
    });

    it("makes nothing where the format cannot stand on an image, and does not need one where there is none", async () => {
      await compare(async (side) => {
        await addPair(side);
        const seen: unknown[] = [];
        for (const sync of ["none", "top"]) {
          const target = side.path(`${sync}.raw`);
          seen.push(await side.ask("drive-mirror", { "job-id": sync, device: "src", target, sync }));
          seen.push(await readdir(side.directory).then((names) => names.includes(`${sync}.raw`)));
        }
        return seen;
      });
    });

    it.each([
      { name: "nbd+unix:///?socket=SOCKET", format: "raw", size: 4 },
      { name: "nbd:unix:SOCKET", format: "raw", size: 4 },
      { name: "nbd:unix:SOCKET", format: "qcow2", size: 8 },
      { name: "nbd:unix:SOCKET", format: "raw", size: 2 },
    ])("copies to an export of $size MiB by its name: $name, $format", async ({ name, format, size }) => {
      await compare(async (side) => {
        await addOverlay(side);
        const server = await qemuNbd("raw", size * 1024 * 1024);
        try {
          const target = name.replace("SOCKET", server.socket);
          const answer = await side.ask("drive-mirror", {
            "job-id": "j",
            device: "top",
            target,
            format,
            sync: "full",
            "node-name": "made",
          });
          const seen: unknown[] = [answer];
          if (!("error" in answer)) {
            await side.eventsUntil((word) => word === "BLOCK_JOB_READY");
            const nodes = await side.client.execute("query-named-block-nodes");
            const made = nodes.find((node) => node["node-name"] === "made");
            seen.push(made?.file?.replace(server.socket, "SOCKET"), made?.image["virtual-size"]);
            await side.run("job-complete", { id: "j" });
            const events = await side.eventsUntil((word) => word === "null");
            seen.push(events.filter((word) => word !== "standby" && word !== "ready"));
            await side.run("blockdev-del", { "node-name": "top" });
            const images = ["-f", "qcow2", "-F", format, side.path("top.qcow2"), server.uri];
            seen.push(await qemuImg("compare", "-U", ...images));
          }
          return seen;
        } finally {
          await server.stop();
        }
      });
    });

    it("takes what stands before a colon for a protocol, and a path for a path", async () => {
      await compare(async (side) => {
        await addPair(side);
        await qemuImg("create", "-q", "-f", "raw", side.path("a:b.raw"), "4M");
        const seen: unknown[] = [];
        for (const target of [
          "foo:bar.raw",
          "nbd:localhost",
          "nbd:unix:",
          side.path("a:b.raw"),
          "file:PATH",
        ]) {
          const mirror = { "job-id": "j", device: "src", sync: "full", mode: "existing", format: "raw" };
          const named = target.replace("PATH", side.path("a:b.raw"));
          const answer = await side.ask("drive-mirror", { ...mirror, target: named });
          seen.push(answer);
          if ("error" in answer) continue;
          await side.eventsUntil((word) => word === "BLOCK_JOB_READY");
          await side.run("block-job-cancel", { device: "j" });
          await side.eventsUntil((word) => word === "null");
        }
        return seen;
      });
    });
  },
);

describe("drive-mirror", () => {
  it("guesses no format of an export, and reaches none that needs credentials", async () => {
    await using side = await Side.ours();
    await addPair(side);
    for (const target of ["nbd://localhost/x", "nbds://localhost/x"]) {
      const mirror = { "job-id": "j", device: "src", target, sync: "full", mode: "existing" };
      const format = target.startsWith("nbds") ? { format: "raw" } : {};
      expect(await side.ask("drive-mirror", { ...mirror, ...format })).toEqual({ error: "GenericError" });
    }
    expect(await side.client.execute("query-named-block-nodes")).toHaveLength(4);
  });

  it("leads no guest to a target that would have to open the image they write to", async () => {
    await using side = await Side.ours();
    await addOverlay(side);
    const target = side.path("made.qcow2");
    await qemuImg("create", "-q", "-f", "qcow2", "-b", side.path("top.qcow2"), "-F", "qcow2", target);
    const uri = await exportOverNbd(side, "top");
    await side.run("drive-mirror", {
      "job-id": "j",
      device: "top",
      target,
      format: "qcow2",
      sync: "none",
      mode: "existing",
    });
    await side.eventsUntil((word) => word === "BLOCK_JOB_READY");
    expect(await side.ask("job-complete", { id: "j" })).toEqual({ error: "GenericError" });
    expect(await side.client.execute("query-jobs")).toMatchObject([{ id: "j", status: "ready" }]);
    await runGuest(uri, ["read -P 1 0 128k", "write -P 3 2M 64k", "flush"]);
    await side.run("block-job-cancel", { device: "j" });
    expect(await side.eventsUntil((word) => word === "null")).toContain("BLOCK_JOB_COMPLETED");
    await side.run("nbd-server-stop");
    await side.run("blockdev-del", { "node-name": "top" });
    await qemuIo("-r", "-f", "qcow2", "-c", "read -P 1 0 128k", "-c", "read -P 3 2M 64k", target);
  });

  it("does not stand in the way of the daemon's end", async () => {
    await using side = await Side.ours();
    await addPair(side);
    const target = side.path("made.qcow2");
    await side.run("drive-mirror", { "job-id": "j", device: "src", target, format: "qcow2", sync: "full" });
    await side.eventsUntil((word) => word === "BLOCK_JOB_READY");
    await side.daemon.close();
    expect(await qemuImg("info", target)).toContain("file format: qcow2");
  });
});
