import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { lacksPeers } from "@blockmirror/peers";
import { QMPClient, QmpCommandError } from "node-qemu";
import { describe, expect, it } from "vitest";

import { addPair, rawNode } from "./support/images.ts";
import { Side } from "./support/sides.ts";

/** What a promise came to: its value, or the class of the error that the daemon answered. */
async function outcome(promise: Promise<unknown>): Promise<unknown> {
  try {
    return { value: await promise };
  } catch (error) {
    if (error instanceof QmpCommandError) return { error: error.qmpClass };
    throw error;
  }
}

/** All that a program does with `node-qemu` 1.3 around a mirror, and what it sees. */
async function drive(side: Side): Promise<unknown> {
  await addPair(side);
  // QEMU's daemon serves one client at a time.
  await side.client.close();
  await using client = new QMPClient({ socketPath: side.socketPath });
  const events: string[] = [];
  client.on("rawEvent", ({ event, data }) => {
    const status =
      typeof data === "object" && data !== null && "status" in data ? ` ${String(data.status)}` : "";
    events.push(`${event}${status}`);
  });
  await client.connect();
  const found = {
    version: Object.keys(await client.queryVersion()).toSorted(),
    guestCommand: await outcome(client.queryStatus()),
    block: await client.queryBlock(),
    blockStats: await client.queryBlockStats(),
    jobs: await client.queryJobs(),
    // Its type for this command has a name for the name that no daemon sends.
    nodes: (await client.execute<readonly { readonly "node-name": string }[]>("query-named-block-nodes"))
      .map((node) => node["node-name"])
      .filter((name) => !name.startsWith("#"))
      .toSorted(),
    duplicate: await outcome(client.execute("blockdev-add", { ...rawNode(side, "src", "src.raw") })),
    // Its way out of band was never in a release of QEMU: refused with the id, so that the command alone fails.
    outOfBand: await outcome(client.executeOob("query-version")),
  };
  const ready = once(client, "BLOCK_JOB_READY");
  await client.blockdevMirror({ "job-id": "m", device: "src", target: "dst", sync: "full" });
  const [readyData]: unknown[] = await ready;
  // It sends one command at a time and takes every reply for the one in flight, without ids.
  const many = await Promise.all(Array.from({ length: 40 }, () => client.queryBlockJobs()));
  const running = {
    readyData,
    states: new Set(many.map((jobs) => jobs.map(({ device, status }) => `${device} ${status}`).join())),
    // `jobComplete` of 1.3 sends `job-finalize`.
    misnamed: await outcome(client.jobComplete("m")),
  };
  const over = new Promise<void>((resolve) => {
    client.on("JOB_STATUS_CHANGE", ({ status }) => status === "null" && resolve());
  });
  const completed = once(client, "BLOCK_JOB_COMPLETED");
  await client.blockJobComplete("m");
  const [completedData]: unknown[] = await completed;
  await over;
  const source = await readFile(side.path("src.raw"));
  return {
    ...found,
    ...running,
    completedData,
    isCopied: source.equals(await readFile(side.path("dst.raw"))),
    unknownJob: await outcome(client.jobCancel("zz")),
    unknownBlockJob: await outcome(client.blockJobCancel("zz")),
    bitmap: await outcome(client.blockDirtyBitmapAdd({ node: "dst", name: "b", granularity: 65_536 })),
    transaction: await outcome(
      client.transaction([{ type: "block-dirty-bitmap-clear", data: { node: "dst", name: "b" } }]),
    ),
    deleted: await outcome(client.execute("blockdev-del", { "node-name": "src" })),
    events,
  };
}

describe("node-qemu, a QMP client of other people", () => {
  it("drives a mirror from its start to the switch", { timeout: 60_000 }, async () => {
    await using ours = await Side.ours();
    expect(await drive(ours)).toMatchObject({
      nodes: ["dst", "src"],
      guestCommand: { error: "CommandNotFound" },
      outOfBand: { error: "GenericError" },
      states: new Set(["m ready"]),
      isCopied: true,
      unknownBlockJob: { error: "DeviceNotActive" },
    });
  });

  it.skipIf(lacksPeers("qemu-storage-daemon"))(
    "finds the same as in qemu-storage-daemon",
    { timeout: 60_000 },
    async () => {
      await using theirs = await Side.theirs();
      await using ours = await Side.ours();
      const expected = await drive(theirs);
      expect(await drive(ours)).toEqual(expected);
    },
  );
});
