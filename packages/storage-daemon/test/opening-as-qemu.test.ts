import { lacksPeers, requirePeer, run, StorageDaemon } from "@blockmirror/peers";
import type { JsonObject } from "@blockmirror/qmp";
import { describe, it } from "vitest";

import { compare } from "./support/compare.ts";
import { qemuImg } from "./support/qemu.ts";
import type { Side } from "./support/sides.ts";

/** What becomes of a node that is opened like this; it is closed again. */
async function outcome(side: Side, options: JsonObject): Promise<readonly unknown[]> {
  const answer = await side.ask("blockdev-add", { "node-name": "a", ...options });
  const nodes = await side.client.execute("query-named-block-nodes", { flat: true });
  const node = nodes.find((each) => each["node-name"] === "a");
  if (node !== undefined) await side.run("blockdev-del", { "node-name": "a" });
  return [answer, node?.ro];
}

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-img", "qemu-io"))(
  "how nodes are opened, as by qemu-storage-daemon",
  () => {
    it("a format that is to be written needs a file that can be", async () => {
      await compare(async (side) => {
        await qemuImg("create", "-q", "-f", "qcow2", side.path("disk"), "1M");
        const file = { driver: "file", filename: side.path("disk") };
        const seen: unknown[] = [];
        for (const [own, ofFile] of [
          [{}, { "read-only": true }],
          [{ "read-only": true }, { "read-only": false }],
          [{ "read-only": true }, {}],
        ] as const) {
          const options = { driver: "qcow2", ...own, file: { ...file, ...ofFile } };
          seen.push([own, ofFile, ...(await outcome(side, options))]);
        }
        return seen;
      });
    });

    it("force-share is for readers, holds for inline children, and reads what somebody writes", async () => {
      await compare(async (side) => {
        const filename = side.path("disk");
        await qemuImg("create", "-q", "-f", "qcow2", filename, "1M");
        await run(requirePeer("qemu-io"), ["-f", "qcow2", "-c", "write -P 1 0 64k", filename]);
        const file = { driver: "file", filename };
        const holder = await StorageDaemon.start();
        await holder.execute("blockdev-add", { driver: "qcow2", "node-name": "held", file });
        const answers: unknown[] = [];
        for (const options of [
          { driver: "qcow2", "force-share": true },
          { driver: "qcow2", "force-share": true, "read-only": true },
          { driver: "qcow2", "read-only": true },
        ] as const) {
          const answer = await side.ask("blockdev-add", { ...options, "node-name": "a", file });
          await side.ask("blockdev-del", { "node-name": "a" });
          answers.push([options, answer]);
        }
        await holder.stop();
        return answers;
      });
    });

    it("checks that the other layer may leave out can be asked for", async () => {
      await compare(async (side) => {
        await qemuImg("create", "-q", "-f", "qcow2", side.path("disk"), "1M");
        const file = { driver: "file", filename: side.path("disk") };
        const answers: unknown[] = [];
        for (const check of [
          "none",
          "all",
          "some",
          {},
          { template: "cached", "active-l2": true },
          { template: "x" },
          { "active-l3": true },
          7,
        ]) {
          const options = { driver: "qcow2", file, "overlap-check": check };
          answers.push([check, ...(await outcome(side, options))]);
        }
        return answers;
      });
    });

    it("a way of doing I/O that is not there is taken where it would be", async () => {
      await compare(async (side) => {
        await qemuImg("create", "-q", "-f", "raw", side.path("disk"), "1M");
        const file = { driver: "file", filename: side.path("disk"), "node-name": "a" };
        const answers: unknown[] = [];
        for (const options of [
          { aio: "threads" },
          { aio: "io_uring" },
          { aio: "native" },
          { aio: "native", cache: { direct: true } },
          { aio: "auto" },
        ] as const) {
          answers.push([options, await side.ask("blockdev-add", { ...file, ...options })]);
          await side.ask("blockdev-del", { "node-name": "a" });
        }
        return answers;
      });
    });
  },
);
